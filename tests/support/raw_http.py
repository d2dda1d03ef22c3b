"""HTTP by hand: requests that no client library would send, and what comes back."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.support.server import Running


@dataclass
class RawAnswer:
    """An answer as it came; status 0 stands for a connection that was closed without one."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def connect(server: Running, timeout_s: float = 20.0) -> socket.socket:
    """A connection to the HTTP port."""
    address = urlsplit(server.url)
    return socket.create_connection((address.hostname, address.port), timeout=timeout_s)


def head(server: Running, method: str, path: str, *lines: str, key: bool = True) -> bytes:
    """A request up to its body."""
    host = f"Host: {urlsplit(server.url).netloc}"
    authorization = [f"Authorization: Bearer {server.key}"] if key else []
    return "\r\n".join(
        [
            f"{method} {path} HTTP/1.1",
            host,
            *authorization,
            *lines,
            "",
            "",
        ]
    ).encode()


def read_answer(connection: socket.socket) -> RawAnswer:
    """The next answer on a connection."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = _read(connection)
        if not part:
            return RawAnswer(0, {}, received)
        received += part
    raw_head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = raw_head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    wanted = headers.get("content-length")
    while wanted is None or len(body) < int(wanted):
        part = _read(connection)
        if not part:
            break
        body += part
    return RawAnswer(int(first.split(" ")[1]), headers, body)


def _read(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionError:
        return b""


def send(server: Running, request: bytes, timeout_s: float = 20.0) -> RawAnswer:
    """The answer to a request that is sent as it is."""
    with connect(server, timeout_s) as connection:
        try:
            connection.sendall(request)
        except ConnectionError:
            return RawAnswer(0, {}, b"")
        return read_answer(connection)
