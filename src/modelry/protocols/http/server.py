"""uvicorn inside our own event loop: started, drained and stopped by the bootstrap."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import socket
import ssl
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp


class _NoCutOffs(logging.Filter):
    """Keeps requests that were cut off at the end of a drain out of the log: no defect of ours."""

    def filter(self, record: logging.LogRecord) -> bool:
        failure = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        return not isinstance(failure, asyncio.CancelledError)


_NO_CUT_OFFS = _NoCutOffs()


class _Server(uvicorn.Server):
    """uvicorn's server without signal handlers: who wires the processes decides on signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """Serves an application on a bound socket.

    Args:
        application: answers everything that `protocol` does not.
        protocol: the connection class, with its hot routes.
        listener: bound to its address; this object closes it.
        drain_s: how long open requests may go on after `stop`.
        keep_alive_s: how long a connection may be idle.
        tls: how connections are encrypted; None for plain ones.
    """

    def __init__(
        self,
        application: ASGIApp,
        protocol: type[asyncio.Protocol],
        listener: socket.socket,
        *,
        drain_s: float,
        keep_alive_s: int = 5,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        config = uvicorn.Config(
            application,
            http=protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=max(1, math.ceil(drain_s)),
            timeout_keep_alive=keep_alive_s,
            backlog=2048,
            ssl_context_factory=None if tls is None else lambda _config, _default: tls,
        )
        logging.getLogger("uvicorn.error").addFilter(_NO_CUT_OFFS)
        self._server = _Server(config)
        self._listener = listener
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take connections from now on."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._listener]))
        while not self._server.started:
            if self._task.done():
                self._task.result()
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Take no more connections, let the open requests end, close."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to `host` and `port` (0 takes a free one).

    Raises:
        OSError: the port is taken, or the address is not this machine's.
    """
    (family, kind, protocol, _, address) = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except BaseException:
        listener.close()
        raise
    return listener
