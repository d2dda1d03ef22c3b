"""Web servers on loopback that tests fetch from, with the vices of real ones."""

from __future__ import annotations

import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_RANGE = re.compile(r"bytes=(\d+)-")


@dataclass
class Served:
    """What is answered at one path.

    `cuts` says after how many bytes of the body the connection ends, answer by answer; later
    ones are whole. `extra_length` is added to the Content-Length. `statuses` are answered first.
    """

    content: bytes = b""
    etag: str | None = '"v1"'
    headers: dict[str, str] = field(default_factory=dict)
    head_headers: dict[str, str] = field(default_factory=dict)
    location: str | None = None
    status: int = 200
    statuses: list[int] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    extra_length: int = 0
    is_chunked: bool = False
    knows_ranges: bool = True
    before_body: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Seen:
    """A request that came in."""

    method: str
    path: str
    headers: dict[str, str]


class Place:
    """A server's paths and what was asked of it."""

    def __init__(self) -> None:
        self.paths: dict[str, Served] = {}
        self.seen: list[Seen] = []
        self.url = ""

    def gets(self, path: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.method == "GET" and seen.path == path]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    place: Place

    def log_message(self, *_: Any) -> None:
        """Silence."""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.place.seen.append(Seen(self.command, self.path, headers))
        served = self.place.paths.get(self.path, Served(status=404, etag=None))
        status = served.statuses.pop(0) if with_body and served.statuses else served.status
        start, status = self._start(served, headers, status)
        body = served.content[start:] if status in (200, 206) else b""
        self.send_response(status)
        if status == 206:
            total = len(served.content)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if status == 416:
            self.send_header("Content-Range", f"bytes */{len(served.content)}")
        if served.etag:
            self.send_header("ETag", served.etag)
        if served.location:
            self.send_header("Location", served.location)
        for name, value in (served.headers | ({} if with_body else served.head_headers)).items():
            self.send_header(name, value)
        if served.is_chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(body) + served.extra_length))
        # kept connections would keep threads of the server
        self.send_header("Connection", "close")
        self.end_headers()
        if with_body:
            self._send(served, body)

    def _start(self, served: Served, headers: dict[str, str], status: int) -> tuple[int, int]:
        found = _RANGE.fullmatch(headers.get("range", ""))
        same = headers.get("if-range") in (None, served.etag)
        if found is None or status != 200 or not served.knows_ranges or not same:
            return 0, status
        start = int(found[1])
        return (start, 206) if start < len(served.content) else (0, 416)

    def _send(self, served: Served, body: bytes) -> None:
        served.before_body()
        cut = served.cuts.pop(0) if served.cuts and body else None
        sent = body if cut is None else body[:cut]
        if served.is_chunked:
            for at in range(0, len(sent), 4096):
                piece = sent[at : at + 4096]
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n" if cut is None else b"")
        else:
            self.wfile.write(sent)


class _Server(ThreadingHTTPServer):
    daemon_threads = False

    def handle_error(self, *_: Any) -> None:
        """Clients of these tests go away in the middle."""


@contextmanager
def place_on_loopback(certificate: Path | None = None) -> Iterator[Place]:
    """A running place; over TLS with a file of certificate and key if one is given."""
    place = Place()
    handler = type("Handler", (_Handler,), {"place": place})
    server = _Server(("127.0.0.1", 0), handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    scheme, host = ("http", "127.0.0.1") if certificate is None else ("https", "localhost")
    place.url = f"{scheme}://{host}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield place
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
