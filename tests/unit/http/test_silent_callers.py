"""Connections whose caller falls silent are closed, and those that wait for an answer are not."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from modelry.protocols.http.hot import hot_protocol
from modelry.protocols.http.server import HttpServer, bind

pytestmark = pytest.mark.anyio
SILENCE_S = 0.2


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Reads the body, thinks longer than a caller may be silent, answers."""
    while (await receive()).get("more_body"):
        pass
    if scope["path"] == "/endless":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for at in range(64):  # more than all buffers in between take
            more = {"body": bytes(2**20), "more_body": at < 63}
            await send({"type": "http.response.body", **more})
        return
    await asyncio.sleep(SILENCE_S * 3)
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def protocol() -> Any:
    class Watched(hot_protocol(())):  # type: ignore[misc] # made at run time
        lost: Any = None
        silence_s = SILENCE_S

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            if self.lost is not None:
                self.lost.set()

    return Watched


@pytest.fixture
async def port(protocol: Any) -> AsyncIterator[int]:
    listener = bind("127.0.0.1", 0)
    server = HttpServer(application, protocol, listener, drain_s=1, keep_alive_s=1)
    await server.start()
    yield listener.getsockname()[1]
    await server.stop()


async def closed_after(port: int, *parts: bytes, pause_s: float = 0.0) -> float:
    """Seconds until the server closes a connection after the last part."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await asyncio.sleep(pause_s)
    started = time.monotonic()
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    return time.monotonic() - started


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ],
)
async def test_unfinished_requests_are_given_up(port: int, sent: bytes) -> None:
    assert await closed_after(port, sent) < SILENCE_S * 5


async def test_a_slow_caller_that_goes_on_is_waited_for_and_answered(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nabcd"
    for at in range(0, len(request), 6):
        writer.write(request[at : at + 6])
        await asyncio.sleep(SILENCE_S / 2)
    async with asyncio.timeout(5):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    ("limit", "start"),
    [
        ("head_s", b"GET / HTTP/1.1\r\nA: "),
        ("slow_body_s", b"POST / HTTP/1.1\r\nContent-Length: 9999\r\n\r\n"),
    ],
)
async def test_a_caller_that_drips_bytes_is_given_up(
    port: int, protocol: Any, limit: str, start: bytes
) -> None:
    setattr(protocol, limit, SILENCE_S)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(start)

    async def drip() -> None:
        while True:
            writer.write(b"a")
            await asyncio.sleep(SILENCE_S / 10)

    dripping = asyncio.create_task(drip())
    async with asyncio.timeout(5):
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    dripping.cancel()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_a_caller_that_takes_no_answer_is_given_up(port: int, protocol: Any) -> None:
    protocol.unread_s = SILENCE_S
    _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    lost = protocol.lost = asyncio.Event()
    writer.write(b"GET /endless HTTP/1.1\r\n\r\n")
    async with asyncio.timeout(8):
        await lost.wait()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
