"""Answers chosen routes straight from the connection, without an ASGI round trip.

A uvicorn HTTP protocol whose hot requests take part in its keep-alive, pipelining and shutdown
as if they were ordinary request/response cycles. Everything else goes to the ASGI app.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from typing import Any, Protocol

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from modelry.domain.errors import ModelryError, PayloadTooLarge
from modelry.protocols.http.errors import error_headers, status_of
from modelry.protocols.http.trace import continue_trace, request_id_of
from modelry.services.inference.call import Call

_REQUEST_PREFIX = "req_" + os.urandom(6).hex()
_request_numbers = itertools.count()
_JOIN_BELOW_BYTES = 64 * 1024
LINGER_S = 5.0
"""How long the rest of a refused body is read and dropped before the connection is closed."""
_STATUS_LINES = {
    status: f"HTTP/1.1 {status} {phrase}\r\n".encode()
    for status, phrase in {
        200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
        409: "Conflict", 413: "Content Too Large", 422: "Unprocessable Content",
        429: "Too Many Requests", 499: "Client Closed Request", 500: "Internal Server Error",
        502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
    }.items()
}  # fmt: skip


class HotRoute(Protocol):
    """A route that is answered without the ASGI app."""

    max_body_bytes: int

    def match(self, url: bytes) -> object | None:
        """What `start` needs to know of this URL, or None when it is another route's."""
        ...

    def admit_large(self, exchange: HotExchange, match: Any) -> None:
        """Refuse a request of more than one read before the rest of its body is kept.

        Raises:
            ModelryError: told to the caller by `render_error`.
        """
        ...

    def start(self, exchange: HotExchange, match: Any) -> None:
        """Answer the complete request, now or later through a `Call`.

        Raises:
            ModelryError: told to the caller by `render_error`.
        """
        ...

    def render_error(self, error: ModelryError) -> bytes:
        """The JSON body that tells `error`."""
        ...


class HotExchange:
    """One hot request and its answer; looks to uvicorn like its RequestResponseCycle."""

    __slots__ = (
        "call",
        "disconnected",
        "headers",
        "keep_alive",
        "match",
        "message_event",
        "more_body",
        "parts",
        "protocol",
        "response_complete",
        "route",
        "size",
    )

    def __init__(
        self, protocol: HotHttpProtocol, route: HotRoute, match: object, *, keep_alive: bool
    ) -> None:
        self.protocol = protocol
        self.route = route
        self.match = match
        self.headers = protocol.headers
        self.keep_alive = keep_alive
        self.parts: list[bytes] = []
        self.size = 0
        self.call: Call | None = None
        self.response_complete = False
        self.disconnected = False
        self.more_body = True
        self.message_event = _NO_EVENT

    def header(self, name: bytes) -> bytes | None:
        """The first header called `name` (lower case), or None."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    @property
    def body(self) -> bytes:
        """The complete body."""
        return self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)

    def body_bytes(self) -> int:
        """Length of the body as declared, or what came of it if that is more."""
        declared = self.header(b"content-length") or b""
        return max(self.size, int(declared) if declared.isdigit() else 0)

    def respond(self, head: bytes, payload: bytes, status: int = 200) -> None:
        """Answer with `head` (header lines without length) and `payload`."""
        if self.response_complete:
            return
        self.response_complete = True
        self.call = None
        self.protocol.finish(self, status, head, payload)

    def fail(self, error: ModelryError) -> None:
        """Answer with an error."""
        lines = [f"{name}: {value}\r\n" for name, value in error_headers(error).items()]
        head = "content-type: application/json\r\n" + "".join(lines)
        self.respond(head.encode(), self.route.render_error(error), status_of(error))


class _NoEvent:
    """Stands where uvicorn would wake a waiting ASGI task; hot requests have none."""

    def set(self) -> None:
        """Wake nobody."""


_NO_EVENT = _NoEvent()


class HotHttpProtocol(HttpToolsProtocol):
    """uvicorn's httptools protocol with hot routes; subclassed by `hot_protocol`."""

    hot_routes: tuple[HotRoute, ...] = ()

    def on_message_begin(self) -> None:
        """Parser callback; the ASGI scope is built later, for those that need one."""
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        """Parser callback: take a hot request, or hand it to uvicorn."""
        previous: Any = self.cycle  # uvicorn types it as always there; at first it is None
        is_free = previous is None or previous.response_complete
        if is_free and not self.expect_100_continue and self.parser.get_method() == b"POST":
            for route in self.hot_routes:
                match = route.match(self.url)
                if match is not None:
                    keep_alive = (
                        self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
                    )
                    self.cycle = HotExchange(self, route, match, keep_alive=keep_alive)  # type: ignore[assignment] # stands in for a cycle
                    return
        url, headers, expect_100 = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect_100
        self.headers.extend(headers)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Parser callback."""
        cycle: Any = self.cycle
        if type(cycle) is not HotExchange:
            super().on_body(body)
        elif not cycle.response_complete:
            cycle.size += len(body)
            cycle.parts.append(body)
            if len(cycle.parts) == 2 or cycle.size > cycle.route.max_body_bytes:
                self._admit_large(cycle)

    def _admit_large(self, cycle: HotExchange) -> None:
        """See that a caller may send this much before more of it is kept in memory."""
        limit = cycle.route.max_body_bytes
        try:
            cycle.route.admit_large(cycle, cycle.match)
            if cycle.body_bytes() > limit:
                raise PayloadTooLarge(f"The body is larger than the limit of {limit} bytes.")
        except ModelryError as error:
            cycle.keep_alive = False
            cycle.parts.clear()
            cycle.fail(error)

    def on_message_complete(self) -> None:
        """Parser callback: the request is complete."""
        cycle: Any = self.cycle
        if type(cycle) is not HotExchange:
            super().on_message_complete()
            return
        cycle.more_body = False
        if cycle.response_complete:
            self.transport.close()
            return
        try:
            cycle.route.start(cycle, cycle.match)
        except ModelryError as error:
            cycle.fail(error)
        except Exception:  # noqa: BLE001 - the last resort: a defect is logged and told
            self._defect(cycle)

    def _defect(self, cycle: HotExchange) -> None:
        from modelry.protocols.http.endpoint import log, unexpected

        request_id = request_id_of(cycle.header(b"x-request-id"))
        log.exception("request %s failed", request_id)
        cycle.fail(unexpected(request_id))

    def finish(self, exchange: HotExchange, status: int, head: bytes, payload: bytes) -> None:
        """Write an exchange's answer; the next request of the connection may follow."""
        transport = self.transport
        if exchange.disconnected or transport.is_closing():
            return
        asked_id = parent = None
        for name, value in exchange.headers:
            if name == b"x-request-id":
                asked_id = value
            elif name == b"traceparent":
                parent = value
        if asked_id is None:
            request_id = f"{_REQUEST_PREFIX}{next(_request_numbers):x}"
        else:
            request_id = request_id_of(asked_id)
        close = b"" if exchange.keep_alive else b"connection: close\r\n"
        trace = b"" if parent is None else b"traceparent: %s\r\n" % continue_trace(parent).encode()
        lines = b"%sserver: modelry\r\nx-request-id: %s\r\n%s%s%scontent-length: %d\r\n\r\n" % (
            _STATUS_LINES[status],
            request_id.encode(),
            trace,
            close,
            head,
            len(payload),
        )
        if len(payload) < _JOIN_BELOW_BYTES:
            transport.write(lines + payload)
        else:
            transport.writelines((lines, payload))
        if exchange.keep_alive:
            self.on_response_complete()
        else:
            self.server_state.total_requests += 1
            if exchange.more_body:  # to close on unread bytes would take the answer with it
                self.loop.call_later(LINGER_S, transport.close)
            else:
                transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Transport callback: a caller that went away stops its engine call."""
        cycle: Any = self.cycle
        if type(cycle) is HotExchange and not cycle.response_complete:
            cycle.disconnected = True
            if cycle.call is not None:
                cycle.call.cancel()
        super().connection_lost(exc)


def hot_protocol(routes: tuple[HotRoute, ...]) -> type[asyncio.Protocol]:
    """A protocol class for `uvicorn.Config(http=…)` that answers `routes` itself."""
    return type("ModelryHttpProtocol", (HotHttpProtocol,), {"hot_routes": routes})
