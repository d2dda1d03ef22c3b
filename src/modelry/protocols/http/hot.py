"""Answers chosen routes straight from the connection, without an ASGI round trip.

A uvicorn HTTP protocol whose hot requests take part in its keep-alive, pipelining and shutdown
as if they were ordinary request/response cycles. Everything else goes to the ASGI app.
"""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from starlette.types import ASGIApp

from modelry.domain.errors import (
    HeadersTooLarge,
    MalformedBody,
    ModelryError,
    Overloaded,
    PayloadTooLarge,
)
from modelry.protocols.http.answer_headers import NO_SNIFFING
from modelry.protocols.http.errors import status_of
from modelry.protocols.http.guard import MAX_HEAD_BYTES, RequestGuard
from modelry.protocols.http.hot_exchange import HotExchange, HotHead, HotRoute
from modelry.protocols.http.keep_alive import KeepAliveProtocol
from modelry.protocols.http.limits import shorten
from modelry.protocols.http.plain_errors import error_body
from modelry.protocols.http.repeated_head import RepeatedHead, learn
from modelry.protocols.http.trace import continue_trace
from modelry.services.inference.request_ids import new_request_id

_JOIN_BELOW_BYTES = 64 * 1024
LINGER_S = 5.0
"""How long the rest of a refused body is read and dropped before the connection is closed."""
_STATUS_LINES = {
    status: f"HTTP/1.1 {status} {phrase}\r\n".encode()
    for status, phrase in {
        200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
        409: "Conflict", 413: "Content Too Large", 421: "Misdirected Request",
        422: "Unprocessable Content", 429: "Too Many Requests",
        431: "Request Header Fields Too Large", 499: "Client Closed Request",
        500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable",
        504: "Gateway Timeout",
    }.items()
}  # fmt: skip
_ON_ALL = "server: modelry\r\n{}: {}\r\n".format(*NO_SNIFFING).encode()


class HotHttpProtocol(KeepAliveProtocol):
    """uvicorn's httptools protocol with hot routes; subclassed by `hot_protocol`."""

    hot_routes: tuple[HotRoute, ...] = ()
    guard: RequestGuard | None = None
    most_connections: int | None = None
    _repeated: RepeatedHead | None = None
    _begun = 0
    _is_given_up = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Transport callback: take a connection, unless there are as many as may be."""
        super().connection_made(transport)
        most = self.most_connections
        if most is not None and len(self.connections) > most:
            self._give_up(
                Overloaded(f"The server has {most} connections, the most that it takes at once."),
                linger_s=0,
            )

    def data_received(self, data: bytes) -> None:
        """Transport callback: answer a repeated request at once, have others parsed."""
        repeated = self._repeated
        is_at_start = self._is_between_requests
        if repeated is not None and is_at_start and self.cycle.response_complete:
            body = repeated.body_of(data)
            head = repeated.head
            if body is not None and len(body) <= head.route.max_body_bytes:
                if not self.transport.is_closing():
                    self.cycle = exchange = HotExchange(self, head, body, keep_alive=True)  # type: ignore[assignment] # stands in for a cycle
                    self._start(exchange)
                return
        if self._is_given_up:
            return
        self._begun = 0
        super().data_received(data)
        if self._is_in_head and self._came_bytes > MAX_HEAD_BYTES:
            self._give_up(
                HeadersTooLarge(f"The request's headers take more than {MAX_HEAD_BYTES} bytes.")
            )
        if is_at_start and self._is_between_requests and self._begun == 1:
            cycle: Any = self.cycle
            if type(cycle) is HotExchange and cycle.keep_alive:
                self._repeated = learn(data, cycle.head, len(cycle.body))

    def on_message_begin(self) -> None:
        """Parser callback; the ASGI scope is built later, for those that need one."""
        self._begin()
        self._begun += 1
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        """Parser callback: refuse a request, take a hot one, or hand it to uvicorn."""
        self._is_in_head = False
        method, guard = self.parser.get_method(), self.guard
        is_of_program = True
        if guard is not None:
            version = self.parser.get_http_version()
            try:
                is_of_program = guard.check(method, self.url, version, self.headers)
            except ModelryError as error:
                self._hand_to(guard.refusal(self.url, error))
                return
        previous: Any = self.cycle  # uvicorn types it as always there; at first it is None
        is_free = previous is None or previous.response_complete
        if is_of_program and is_free and not self.expect_100_continue and method == b"POST":
            for route in self.hot_routes:
                match = route.match(self.url)
                if match is not None:
                    self._take(HotHead(route, match, self.headers))
                    return
        self._hand_to(self.app)

    def _hand_to(self, app: ASGIApp) -> None:
        url, headers, expect_100 = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect_100
        self.headers.extend(headers)
        served, self.app = self.app, app
        try:
            super().on_headers_complete()
        finally:
            self.app = served

    def _take(self, head: HotHead) -> None:
        keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        exchange = HotExchange(self, head, b"", keep_alive=keep_alive)
        exchange.more_body = True
        exchange.parts = []
        exchange.size = 0
        self.cycle = exchange  # type: ignore[assignment] # stands in for a cycle

    def on_body(self, body: bytes) -> None:
        """Parser callback."""
        cycle: Any = self.cycle
        if type(cycle) is not HotExchange:
            super().on_body(body)
        elif not cycle.response_complete:
            cycle.size += len(body)
            cycle.parts.append(body)
            if len(cycle.parts) == 2 or cycle.size > cycle.head.route.max_body_bytes:
                self._admit_large(cycle)

    def _admit_large(self, exchange: HotExchange) -> None:
        """See that a caller may send this much before more of it is kept in memory."""
        route, match = exchange.head.route, exchange.head.match
        limit = route.max_body_bytes
        try:
            route.admit_large(exchange, match)
            if exchange.body_bytes() > limit:
                raise PayloadTooLarge(f"The body is larger than the limit of {limit} bytes.")
        except ModelryError as error:
            exchange.keep_alive = False
            exchange.parts.clear()
            route.note_refused(exchange, match, error)
            exchange.fail(error)

    def on_message_complete(self) -> None:
        """Parser callback: the request is complete."""
        cycle: Any = self.cycle
        if type(cycle) is not HotExchange:
            super().on_message_complete()
            return
        self._is_between_requests = True
        cycle.more_body = False
        if cycle.response_complete:
            self.transport.close()
            return
        parts = cycle.parts
        cycle.body = parts[0] if len(parts) == 1 else b"".join(parts)
        self._start(cycle)

    def _start(self, exchange: HotExchange) -> None:
        head = exchange.head
        try:
            head.route.start(exchange, head.match)
        except ModelryError as error:
            head.route.note_refused(exchange, head.match, error)
            hold_s = head.route.hold_s(exchange, error)
            if hold_s > 0:
                shorten(error, hold_s)
                self.loop.call_later(hold_s, exchange.fail, error)
            else:
                exchange.fail(error)
        except Exception:  # noqa: BLE001 - the last resort: a defect is logged and told
            self._defect(exchange)

    def _defect(self, exchange: HotExchange) -> None:
        from modelry.protocols.http.endpoint import log, unexpected

        request_id = exchange.request_id().decode()
        log.exception("request %s failed", request_id)
        error = unexpected(request_id)
        if exchange.call is None:
            exchange.head.route.note_refused(exchange, exchange.head.match, error)
        exchange.fail(error)

    def finish(self, exchange: HotExchange, status: int, head: bytes, payload: bytes) -> None:
        """Write an exchange's answer; the next request of the connection may follow."""
        transport = self.transport
        if exchange.disconnected or transport.is_closing():
            return
        parent = exchange.head.traceparent
        lines = b"%s%sx-request-id: %s\r\n%s%s%scontent-length: %d\r\n\r\n" % (
            _STATUS_LINES[status],
            _ON_ALL,
            exchange.request_id(),
            b"" if parent is None else b"traceparent: %s\r\n" % continue_trace(parent).encode(),
            b"" if exchange.keep_alive else b"connection: close\r\n",
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

    def send_400_response(self, msg: str) -> None:
        """Parser callback of uvicorn: what came is no HTTP."""
        del msg
        self._give_up(MalformedBody("What was sent is not a well-formed HTTP/1.1 request."))

    def _give_up(self, error: ModelryError, linger_s: float = LINGER_S) -> None:
        """Tell what is wrong with bytes that are no request, and read no more of them."""
        self._is_given_up = True
        cycle: Any = self.cycle
        if not self.transport.is_closing() and (cycle is None or cycle.response_complete):
            payload = orjson.dumps(error_body(error))
            self.transport.write(
                b"%s%scontent-type: application/json\r\nx-request-id: %s\r\n"
                b"connection: close\r\ncontent-length: %d\r\n\r\n%s"
                % (
                    _STATUS_LINES[status_of(error)],
                    _ON_ALL,
                    new_request_id(),
                    len(payload),
                    payload,
                )
            )
        self.loop.call_later(linger_s, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Transport callback: a caller that went away stops its engine call."""
        cycle: Any = self.cycle
        self._repeated = None
        if type(cycle) is HotExchange and not cycle.response_complete:
            cycle.disconnected = True
            if cycle.call is not None:
                cycle.call.cancel()
        super().connection_lost(exc)


def hot_protocol(
    routes: tuple[HotRoute, ...],
    guard: RequestGuard | None = None,
    most_connections: int | None = None,
) -> type[asyncio.Protocol]:
    """A protocol class for `uvicorn.Config(http=…)` that answers `routes` itself.

    Args:
        routes: what it answers.
        guard: what it checks of every request, hot or not; None checks nothing.
        most_connections: how many there may be at once; None for any number.
    """
    return type(
        "ModelryHttpProtocol",
        (HotHttpProtocol,),
        {"hot_routes": routes, "guard": guard, "most_connections": most_connections},
    )
