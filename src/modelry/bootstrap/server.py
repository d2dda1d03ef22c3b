"""Runs an installation behind its doors, from start to the last request."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager

import uvloop

from modelry.adapters.tls.issuing import EVERYWHERE
from modelry.bootstrap.descriptors import raise_limit
from modelry.bootstrap.doors import build_doors
from modelry.bootstrap.installation import STARTER_PRINCIPAL, Installation
from modelry.bootstrap.observer import ServerAddress, StartObserver, Unwatched
from modelry.bootstrap.upkeep import Upkeep
from modelry.domain.errors import Conflict, ModelNotReady
from modelry.protocols.http.server import HttpServer, bind
from modelry.protocols.oip.grpc_server import GrpcServer, start_grpc_server
from modelry.settings import Settings

log = logging.getLogger(__name__)

CUT_OFF_S = 1.0
"""How long the answers to requests that were cut off may take to be sent."""


def serve(settings: Settings, observer: StartObserver | None = None) -> None:
    """Serve until SIGINT or SIGTERM, then drain; a second signal ends at once.

    Args:
        settings: what the operator chose.
        observer: told how the start goes.

    Raises:
        ModelryError: the data folder, database or owner key cannot be used, or a port is taken.
    """
    # a core file would put keys and decrypted files on the disk
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _log_as(settings.log_level.upper())
    raise_limit()
    uvloop.run(_run(settings, observer or Unwatched()))


def _log_as(level: str) -> None:
    """Our log to stderr; libraries only tell what is wrong."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in ("alembic", "asyncio", "grpc", "httpcore2", "httpx2", "huggingface_hub", "uvicorn"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


async def _run(settings: Settings, observer: StartObserver) -> None:
    stop = _stop_on_signals()
    async with AsyncExitStack() as stack:
        with _listening_on(settings.host, settings.port, "port"):
            listener = stack.enter_context(bind(settings.host, settings.port))
        installation = Installation(settings, observer.fetching)
        stack.callback(installation.close)
        certificate = installation.certificate
        scheme = "https" if certificate else "http"
        # no certificate is for "everywhere"
        is_named = certificate is None or settings.host.strip("[]") not in EVERYWHERE
        shown_host = settings.host if is_named else "localhost"
        upkeep = Upkeep(installation)
        http_url = f"{scheme}://{_joined(shown_host, listener.getsockname()[1])}"
        doors = build_doors(installation, upkeep.readiness, http_url)
        await installation.counts.run()  # or budgets would begin anew with each start
        upkeep.start()
        stack.push_async_callback(upkeep.stop)
        await installation.access.start()
        stack.push_async_callback(installation.access.stop)
        installation.quarantine.start()
        stack.callback(installation.quarantine.stop)
        stack.push_async_callback(installation.deployments.stop, settings.drain_s)
        await installation.deployments.start()
        installation.jobs.runner.start()
        stack.push_async_callback(asyncio.to_thread, installation.jobs.runner.stop)
        with _listening_on(settings.host, settings.grpc_port, "grpc_port"):
            bind(settings.host, settings.grpc_port).close()  # gRPC would not say what is wrong
            grpc_server, grpc_port = await start_grpc_server(
                doors.servicer,
                _joined(settings.host, settings.grpc_port),
                settings.max_body_bytes,
                certificate.pair if certificate else None,
            )
        http_server = HttpServer(
            doors.application,
            doors.protocol,
            listener,
            drain_s=settings.drain_s + CUT_OFF_S,
            tls=certificate.context if certificate else None,
        )
        await http_server.start()
        if certificate is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, certificate.refresh)
        stack.push_async_callback(_drain, installation, http_server, grpc_server)
        address = ServerAddress(
            http_url=http_url,
            grpc_address=_joined(shown_host, grpc_port),
            ca_file=certificate.ca_file if certificate else None,
        )
        owner = installation.owner_key
        is_made = owner is not None and settings.owner_key is None
        observer.listening(address, owner.token if owner and is_made else None)
        starting = asyncio.create_task(_set_up_starters(installation, observer, address))
        stack.callback(starting.cancel)
        stack.callback(installation.stop_fetching)
        stack.callback(installation.jobs.runner.begin_to_stop)
        await stop.wait()
        observer.stopping(installation.inference.open_requests(), settings.drain_s)


async def _drain(
    installation: Installation, http_server: HttpServer, grpc_server: GrpcServer
) -> None:
    """Close the doors to new requests; those that take too long are told so, then cut off."""
    drain_s = installation.settings.drain_s
    closing = asyncio.gather(http_server.stop(), grpc_server.stop(drain_s + CUT_OFF_S))
    await asyncio.wait({closing}, timeout=drain_s)
    if not closing.done():
        error = ModelNotReady(
            "The server stopped before the answer was complete; send it again.", retry_after_s=5
        )
        installation.inference.cut_off(error)
        if installation.direct_explanations is not None:
            installation.direct_explanations.cut_off(error)
    await closing


async def _set_up_starters(
    installation: Installation, observer: StartObserver, address: ServerAddress
) -> None:
    try:
        if installation.settings.starter:
            await installation.starters.set_up(STARTER_PRINCIPAL, observer.starter_failed)
    except Exception:  # a defect of ours; the server itself works
        log.exception("the starter models could not be set up")
    routes = installation.inference.models(STARTER_PRINCIPAL)
    observer.ready(address, [route.deployment.name for route in routes])


def _stop_on_signals() -> asyncio.Event:
    """An event that the first signal sets. The second ends the process: workers end with it,
    and what is on disk survives that at any point.
    """
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            log.warning("ended at once by a second signal")
            os._exit(130)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    return stop


@contextmanager
def _listening_on(host: str, port: int, setting: str) -> Iterator[None]:
    """Tell a port that cannot be had by the setting that chose it."""
    try:
        yield
    except OSError as error:
        flag = f"--{setting.replace('_', '-')}"
        reason = "it is taken" if error.errno == errno.EADDRINUSE else str(error.strerror or error)
        raise Conflict(
            f"Cannot listen on {_joined(host, port)}: {reason}. Choose another one with --host and "
            f"{flag} (MODELRY_HOST, MODELRY_{setting.upper()}); 0 takes a free port.",
            param=setting,
        ) from None


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"
