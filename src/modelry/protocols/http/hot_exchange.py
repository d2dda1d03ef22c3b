"""A hot request, its answer, and the routes that take it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from modelry.domain.errors import ModelryError
from modelry.protocols.http.errors import error_headers, status_of
from modelry.protocols.http.limits import header_lines
from modelry.services.inference.call import Call
from modelry.services.inference.request_ids import new_request_id, sound_request_id
from modelry.services.quotas.accounts import Account

if TYPE_CHECKING:
    from modelry.protocols.http.hot import HotHttpProtocol


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

    def note_refused(self, exchange: HotExchange, match: Any, error: ModelryError) -> None:
        """A request is answered with `error` and never became a `Call` that was admitted."""
        ...

    def hold_s(self, exchange: HotExchange, error: ModelryError) -> float:
        """How many seconds later `error`, which `start` raised, is to be told."""
        ...

    def render_error(self, error: ModelryError) -> bytes:
        """The JSON body that tells `error`."""
        ...


class _NoEvent:
    """Stands where uvicorn would wake a waiting ASGI task; hot requests have none."""

    def set(self) -> None:
        """Wake nobody."""


_NO_EVENT = _NoEvent()


class HotHead:
    """What the head of a hot request says.

    A client that repeats its head, but for the length of the body, gets the same object for every
    request of the connection, so that a route can keep in `memo` what follows from the head alone.
    """

    __slots__ = ("asked_id", "headers", "match", "memo", "route", "traceparent")

    def __init__(self, route: HotRoute, match: object, headers: list[tuple[bytes, bytes]]) -> None:
        self.route = route
        self.match = match
        self.headers = headers
        self.memo: Any = None
        self.traceparent = self.header(b"traceparent")
        self.asked_id = sound_request_id(self.header(b"x-request-id"))

    def header(self, name: bytes) -> bytes | None:
        """The first header called `name` (lower case), or None."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


class HotExchange:
    """One hot request and its answer; looks to uvicorn like its RequestResponseCycle."""

    __slots__ = (
        "_request_id",
        "account",
        "body",
        "call",
        "disconnected",
        "head",
        "keep_alive",
        "more_body",
        "parts",
        "protocol",
        "response_complete",
        "size",
    )

    def __init__(
        self, protocol: HotHttpProtocol, head: HotHead, body: bytes, *, keep_alive: bool
    ) -> None:
        self.protocol = protocol
        self.head = head
        self.body = body
        self.keep_alive = keep_alive
        self.call: Call | None = None
        self.account: Account | None = None
        self._request_id = head.asked_id
        self.more_body = False
        self.response_complete = False
        self.disconnected = False

    parts: list[bytes]
    size: int

    @property
    def peer(self) -> str:
        """The network address that it came from."""
        client = self.protocol.client
        return client[0] if client else ""

    message_event = _NO_EVENT

    def request_id(self) -> bytes:
        """The caller's own id of this request, or ours, made when it is first asked for."""
        found = self._request_id
        if found is None:
            found = self._request_id = new_request_id()
        return found

    def body_bytes(self) -> int:
        """Length of the body as declared, or what came of it if that is more."""
        declared = self.head.header(b"content-length") or b""
        return max(self.size, int(declared) if declared.isdigit() else 0)

    def respond(self, head: bytes, payload: bytes, status: int = 200) -> None:
        """Answer with `head` (header lines without length) and `payload`."""
        if self.response_complete:
            return
        self.response_complete = True
        self.call = None
        if self.account is not None:
            head += header_lines(self.account)
        self.protocol.finish(self, status, head, payload)

    def fail(self, error: ModelryError) -> None:
        """Answer with an error."""
        lines = [f"{name}: {value}\r\n" for name, value in error_headers(error).items()]
        head = "content-type: application/json\r\n" + "".join(lines)
        self.respond(head.encode(), self.head.route.render_error(error), status_of(error))
