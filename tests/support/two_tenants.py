"""A server with two tenants beside its own, and a way to send very many requests to it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.support.operating import Operator
from tests.support.raw_http import RawAnswer, connect
from tests.support.server import Running, server

ACME, GLOBEX = "acme", "globex"
AT_ONCE = 64
"""Requests that are sent before their answers are read."""


@dataclass
class World:
    """A running server: who runs it, and the owners of two tenants."""

    running: Running
    platform: Operator
    acme: Operator
    globex: Operator
    database_url: str


@contextlib.contextmanager
def two_tenants(data: Path, database_url: str, **settings: str) -> Iterator[World]:
    """A server without limits, so that only isolation stands in the way."""
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(
            server(data, key_quota="{}", database_url=database_url, **settings)
        )
        platform = stack.enter_context(Operator(running))
        owners = []
        for tenant_id in (ACME, GLOBEX):
            body = {"tenant_id": tenant_id, "name": tenant_id.capitalize()}
            token = platform.call("POST", "/tenants", json=body)["owner"]["token"]
            owners.append(stack.enter_context(Operator(replace(running, key=token))))
        yield World(running, platform, *owners, database_url)


def request_bytes(
    operator: Operator, method: str, path: str, body: bytes = b"", *headers: str
) -> bytes:
    """A request as it goes over the wire."""
    lines = [
        f"{method} {path} HTTP/1.1",
        f"Host: {urlsplit(operator.server.url).netloc}",
        f"Authorization: Bearer {operator.server.key}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + body


def pipelined(operator: Operator, requests: Sequence[bytes]) -> Iterator[RawAnswer]:
    """The answers to `requests`, in order, over one connection."""
    with connect(operator.server, timeout_s=60) as connection:
        reader = _Reader(connection)
        for start in range(0, len(requests), AT_ONCE):
            chunk = requests[start : start + AT_ONCE]
            connection.sendall(b"".join(chunk))
            for _ in chunk:
                yield reader.answer()


class _Reader:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = b""

    def answer(self) -> RawAnswer:
        while (end := self._received.find(b"\r\n\r\n")) < 0:
            self._more()
        first, *lines = self._received[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in lines)}
        status = int(first.split(" ")[1])
        size = 0 if status == 204 else int(headers["content-length"])
        while len(self._received) < end + 4 + size:
            self._more()
        body = self._received[end + 4 : end + 4 + size]
        self._received = self._received[end + 4 + size :]
        return RawAnswer(status, headers, body)

    def _more(self) -> None:
        part = self._connection.recv(1 << 20)
        assert part, "the connection was closed"
        self._received += part


VOLATILE = ("date", "x-request-id", "traceparent", "content-length")


def told(answer: RawAnswer, ids: Iterable[str]) -> tuple[Any, ...]:
    """What an answer tells, with the ids that the caller sent itself blanked out."""
    body = answer.body.decode("utf-8", "replace")
    for one in sorted(ids, key=len, reverse=True):
        body = body.replace(one, "<id>")
    headers = {
        name: value
        for name, value in answer.headers.items()
        if name not in VOLATILE and not name.startswith("x-ratelimit")
    }
    request_id = answer.headers.get("x-request-id")
    if request_id:
        body = body.replace(request_id, "<request>")
    return answer.status, headers, body
