"""One request on its way to a replica and back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from modelry.domain.errors import Cancelled, ModelryError
from modelry.domain.usage import counted
from modelry.runtime_api.frames import Kind
from modelry.services.inference.metering import OK, open_request
from modelry.services.inference.request_ids import current_request_id, new_request_id
from modelry.services.quotas.accounts import Account, Gates
from modelry.services.quotas.gates import NOTHING

if TYPE_CHECKING:
    from modelry.domain.access import Principal
    from modelry.services.inference.metering import OpenRequest
    from modelry.services.inference.recording import CallRecord
    from modelry.services.inference.replica_group import ReplicaGroup, ReplicaLink


_TOKENS = {
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "cached_tokens": "cached_tokens",
}
"""Units of a generation, and the words of its last event for them."""


class Call:
    """A request that a replica shall answer: subclass it to say what happens with the answer.

    Callbacks run on the event loop and must not block or raise. Exactly one of `on_result`
    and `on_error` is called, and nothing after it.

    Attributes:
        request: the request that it is a part of; None when it is one by itself.
        parameters: what the request chose, as a JSON object of numbers and switches.
        units: what it used, as the task counts; so far, while it runs.
        engine_us: its share of the time of its replica, in microseconds, once it has ended.
    """

    request: OpenRequest | None = None
    parameters: bytes = b""

    __slots__ = (
        "account",
        "body",
        "call_id",
        "deadline",
        "demand",
        "done",
        "engine_from",
        "engine_us",
        "gates",
        "group",
        "header",
        "kind",
        "link",
        "principal",
        "record",
        "started",
        "units",
        "wait_until",
    )

    def __init__(
        self, principal: Principal, kind: int, header: bytes, body: bytes | memoryview = b""
    ) -> None:
        self.principal = principal
        self.kind = kind
        self.header = header
        self.body = body
        self.call_id = 0
        self.done = False
        self.started = 0.0
        self.deadline = 0.0
        self.wait_until = 0.0
        self.group: ReplicaGroup | None = None
        self.link: ReplicaLink | None = None
        self.units: Mapping[str, int] | None = None
        self.engine_us = 0
        self.demand = NOTHING
        self.record: CallRecord | None = None

    account: Account
    """Whose limits it was admitted by; like `gates`, there from then on."""
    gates: Gates
    engine_from: float
    """What its link's `engine_clock` showed when it was sent."""

    @property
    def request_id(self) -> bytes:
        """The id of the request that this call is (part of), as its answer tells it."""
        raise NotImplementedError

    def on_event(self, header: bytes, body: bytes) -> None:
        """A part of a streamed answer came."""

    def on_result(self, header: bytes, body: bytes) -> str | None:
        """The (rest of the) answer came; the call is over.

        Returns:
            The code of the error that was told instead, where the answer could not be told.
        """
        raise NotImplementedError

    def on_error(self, error: ModelryError) -> None:
        """The call failed; it is over."""
        raise NotImplementedError

    def finish(self, header: bytes, body: bytes) -> None:
        """Deliver the result, once; used by links."""
        if self.done:
            return
        self.done = True
        status = self.on_result(header, body)
        if self.group is not None:
            self.group.record(self, status or OK)
        if self.record is not None:
            self.record.ended(self, status or OK, header, body)

    def fail(self, error: ModelryError) -> None:
        """Deliver the failure, once; used by links and groups."""
        if self.done:
            return
        self.done = True
        self.on_error(error)
        if self.group is not None:
            self.group.record(self, error.code)
        elif self.request is not None:
            self.request.ended(self, error.code)
        if self.record is not None:
            self.record.ended(self, error.code, b"", b"")

    def cancel(self) -> None:
        """The caller went away: stop the engine, answer nobody."""
        if self.done:
            return
        if self.group is not None:
            self.group.cancel(self)
        self.fail(Cancelled("The caller went away before the answer was complete."))

    def remaining_ms(self) -> int:
        """Milliseconds until the deadline, at least 1."""
        return max(1, int((self.deadline - time.monotonic()) * 1000))


class DoorCall(Call):
    """A call that is part of the request that is being answered where it is made."""

    __slots__ = ("_request_id", "parameters", "request")

    def __init__(
        self, principal: Principal, kind: int, header: bytes, body: bytes | memoryview = b""
    ) -> None:
        super().__init__(principal, kind, header, body)
        self._request_id = current_request_id.get().encode() or new_request_id()
        self.request = open_request.get()
        self.parameters = b""

    @property
    def request_id(self) -> bytes:
        """See `Call.request_id`."""
        return self._request_id


class RawCall(DoorCall):
    """A call whose one answer, header and body as they come, is awaited."""

    __slots__ = ("_future",)

    def __init__(
        self, principal: Principal, kind: int, header: bytes, body: bytes | memoryview = b""
    ) -> None:
        super().__init__(principal, kind, header, body)
        self._future: asyncio.Future[tuple[bytes, bytes]] = (
            asyncio.get_running_loop().create_future()
        )

    def on_result(self, header: bytes, body: bytes) -> None:
        """Hand the answer to who waits for it."""
        if not self._future.done():
            self._future.set_result((header, body))

    def on_error(self, error: ModelryError) -> None:
        """Hand the failure to who waits for it."""
        if not self._future.done():
            self._future.set_exception(error)

    async def answer(self) -> tuple[bytes, bytes]:
        """Wait for the answer; leaving early (task cancelled) cancels the call.

        Raises:
            ModelryError: the call failed.
        """
        try:
            return await self._future
        except asyncio.CancelledError:
            self.cancel()
            raise


class ItemsCall(RawCall):
    """A call on items of a task, whose answer's header tells what it used."""

    __slots__ = ("answer_header",)

    answer_header: dict[str, Any]

    def on_result(self, header: bytes, body: bytes) -> None:
        """Read the usage, then hand the answer on."""
        self.answer_header = orjson.loads(header)
        self.units = counted(self.answer_header.get("usage"))
        super().on_result(header, body)


class StreamedCall(DoorCall):
    """A call whose answer comes in events."""

    __slots__ = ("_arrived", "_items", "_tokens")

    _END = object()

    def __init__(self, principal: Principal, header: bytes) -> None:
        super().__init__(principal, Kind.GENERATE, header)
        self._tokens = {"input_tokens": 0, "output_tokens": 0, "cached_tokens": 0}
        self._items: list[object] = []
        self._arrived = asyncio.Event()

    def on_event(self, header: bytes, body: bytes) -> None:  # noqa: ARG002 - events have no body
        """Queue the event for the reader."""
        event = orjson.loads(header)
        if self.record is not None:
            self.record.event(event)
        tokens = self._tokens
        self.units = tokens
        if "usage" in event:
            usage = event["usage"]
            told = {name: usage.get(word) for name, word in _TOKENS.items()}
            tokens.update(counted(told))
        elif "prompt_tokens" in event:
            tokens.update(counted({"input_tokens": event["prompt_tokens"]}))
            return  # for the meter alone: an answer tells its tokens at its end
        elif "finished" not in event:
            # a piece is one token or more: what a caller that leaves early has had by then
            tokens["output_tokens"] += 1
        self._push(event)

    def on_result(self, header: bytes, body: bytes) -> None:  # noqa: ARG002 - an end mark only
        """End the stream."""
        self._push(self._END)

    def on_error(self, error: ModelryError) -> None:
        """End the stream with the failure."""
        self._push(error)

    def _push(self, item: object) -> None:
        self._items.append(item)
        self._arrived.set()

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """The events in order; leaving early cancels the call.

        Raises:
            ModelryError: the call failed, possibly after some events.
        """
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                items, self._items = self._items, []
                for item in items:
                    if item is self._END:
                        return
                    if isinstance(item, ModelryError):
                        raise item
                    yield item  # type: ignore[misc] # only dicts are left
        finally:
            self.cancel()
