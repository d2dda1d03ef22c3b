"""One HTTP connection to hot routes, without a socket."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from modelry.protocols.http.hot import HotRoute, hot_protocol


class KeptTransport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else default

    def is_closing(self) -> bool:
        return self.closed

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class HotConnection:
    """Feeds bytes to a connection and takes the answers."""

    def __init__(self, *routes: HotRoute, app: Any = None, keep_alive_s: float = 5) -> None:
        config = uvicorn.Config(
            app or _not_found,
            http=hot_protocol(routes),
            ws="none",
            interface="asgi3",
            log_config=None,
            timeout_keep_alive=keep_alive_s,  # type: ignore[arg-type] # a short one, for tests
        )
        config.load()
        self._open(config, ServerState())

    @classmethod
    def beside(cls, other: HotConnection) -> HotConnection:
        """Another connection to the same server."""
        made = cls.__new__(cls)
        made._open(other.protocol.config, other.protocol.server_state)
        return made

    def _open(self, config: uvicorn.Config, state: ServerState) -> None:
        self.transport = KeptTransport()
        self.protocol: Any = config.http_protocol_class(  # type: ignore[operator] # a class
            config=config, server_state=state, app_state={}
        )
        self.protocol.connection_made(self.transport)

    def feed(self, data: bytes) -> None:
        self.protocol.data_received(data)

    def answers(self) -> list[tuple[int, bytes]]:
        """Status and payload of what was written since the last time."""
        written, self.transport.written = self.transport.written, b""
        found: list[tuple[int, bytes]] = []
        while written:
            head, _, rest = written.partition(b"\r\n\r\n")
            length = int(re.search(rb"\r\ncontent-length: (\d+)", head)[1])  # type: ignore[index]
            found.append((int(head.split()[1]), rest[:length]))
            written = rest[length:]
        return found

    def lose(self) -> None:
        self.protocol.connection_lost(None)


def post(url: str, body: bytes, *lines: str) -> bytes:
    head = [f"POST {url} HTTP/1.1", "Host: x", *lines, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(head).encode() + body


async def _not_found(scope: Any, receive: Any, send: Any) -> None:
    start = {"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]}
    await send(start)
    await send({"type": "http.response.body", "body": b""})
