"""Requests and answers as plain values, and the flows that are made of them.

An operation is written once, as a generator that yields what it needs done (`Effect`s) and gets
the results back; the sync and the async transport run the same generator. Nothing here does I/O.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from modelry.client.errors import ApiError, Unavailable, UnexpectedAnswer, told_error

T = TypeVar("T")

GATEWAY_STATUSES = frozenset({502, 503, 504})

Param = str | int | float | bool | None
Params = Mapping[str, Param | tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request.

    `json` or `content` is the body. `idempotent` requests may be sent again when it is unknown
    whether the server acted, or when it refused for now. `expects` are statuses from 400 on that
    the operation reads itself. `timeout_s` bounds each wait for the server's next byte (None:
    the client's default). `retries` False leaves all failures to the operation. `streams` leaves
    the body of a good answer unread.
    """

    method: str
    path: str
    params: Params = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    content: bytes | None = field(default=None, repr=False)
    idempotent: bool = False
    expects: frozenset[int] = frozenset()
    timeout_s: float | None = None
    retries: bool = True
    streams: bool = False

    def body(self) -> bytes | None:
        """The body's bytes."""
        if self.content is not None or self.json is None:
            return self.content
        return json.dumps(self.json, ensure_ascii=False, separators=(",", ":")).encode()

    def all_headers(self) -> dict[str, str]:
        """Headers, with the body's type."""
        own = {"content-type": "application/json"} if self.json is not None else {}
        return own | dict(self.headers)

    def query(self) -> dict[str, list[str]]:
        """Parameters as texts; None is left out, tuples are repeated."""
        found: dict[str, list[str]] = {}
        for name, value in self.params.items():
            values = value if isinstance(value, tuple) else (value,)
            texts = [_as_text(one) for one in values if one is not None]
            if texts:
                found[name] = texts
        return found


def _as_text(value: Param) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; header names are lower case.

    `live` is the transport's own response when the body is still to come (`Request.streams`).
    """

    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)
    live: Any = field(default=None, repr=False, compare=False)

    @property
    def is_good(self) -> bool:
        """Whether the status tells success."""
        return 200 <= self.status < 300

    @property
    def request_id(self) -> str | None:
        """Names the request in the server's log."""
        return self.headers.get("x-request-id")

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            UnexpectedAnswer: it is none.
        """
        try:
            return json.loads(self.content)
        except ValueError:
            raise self.unexpected("no JSON") from None

    def unexpected(self, what: str) -> UnexpectedAnswer:
        """An error for an answer that is not what this API gives."""
        return UnexpectedAnswer(
            f"The server answered {self.status} with {what}. Is this the URL of a Modelry server "
            "of a fitting version?",
            request_id=self.request_id,
            status=self.status,
        )

    def error(self) -> ApiError | UnexpectedAnswer:
        """The error that this answer tells."""
        try:
            told = json.loads(self.content)
        except ValueError:
            told = None
        if not isinstance(told, dict) or "error" not in told:
            return self._foreign_error()
        return told_error(
            self.status,
            told["error"],
            retry_after_s=self.retry_after_s,
            request_id=self.request_id,
        )

    def _foreign_error(self) -> ApiError | UnexpectedAnswer:
        """For an error that is not this API's own; a proxy in front of the server tells such."""
        if self.status not in GATEWAY_STATUSES:
            return self.unexpected("something that is not this API's error")
        return Unavailable(
            f"A gateway in front of the server answered {self.status}; the server may be starting.",
            retry_after_s=self.retry_after_s,
            status=self.status,
        )

    @property
    def retry_after_s(self) -> float | None:
        """Seconds of `Retry-After`, if told as a number."""
        text = self.headers.get("retry-after", "")
        return float(text) if text.isascii() and text.isdigit() else None


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Work:
    """Call a function that blocks (reads files, computes digests)."""

    function: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Attempt:
    """Send a request once, without retries; the inner effect of `Request`."""

    request: Request


@dataclass(frozen=True, slots=True)
class Follow:
    """Send a request whose answer comes bit by bit, and hand over each value; the last is kept.

    `make_parser` gives what turns bytes into values (`streams.Parser`).
    """

    request: Request
    make_parser: Callable[[], Any]
    on_value: Callable[[Any], None]


Effect = Request | Attempt | Sleep | Work | Follow
Flow = Generator[Effect, Any, T]
"""An operation; its result is the generator's return value."""


def send(request: Request) -> Flow[Answer]:
    """Send a request; the result is the answer, a failure is raised."""
    answer: Answer = yield request
    return answer


def send_json(request: Request) -> Flow[Any]:
    """Send a request and take the answer's JSON."""
    answer = yield from send(request)
    return answer.json()


def work(function: Callable[[], T]) -> Flow[T]:
    """Call a function that blocks, where it does not hold up an event loop."""
    result: T = yield Work(function)
    return result


def follow(
    request: Request, make_parser: Callable[[], Any], on_value: Callable[[Any], None]
) -> Flow[Any]:
    """Send a request whose answer comes bit by bit; the result is its last value."""
    last: Any = yield Follow(request, make_parser, on_value)
    return last


def sleep(seconds: float) -> Flow[None]:
    """Wait."""
    yield Sleep(seconds)
