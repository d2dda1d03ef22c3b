"""The calls that the gateway waits for, each of which is answered exactly once."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Protocol

from modelry.domain.errors import DeadlineExceeded, ModelFailed, ModelryError
from modelry.runtime_api.frames import Kind, encode, encode_error
from modelry.worker.connection import FrameSender

_EVENT = int(Kind.EVENT)
_RESULT = int(Kind.RESULT)


class OpenCall(Protocol):
    """What every kind of call has."""

    @property
    def call_id(self) -> int:
        """The gateway's number for it."""
        ...


class OpenCalls:
    """Keeps the open calls by id, and sends their answers.

    Args:
        sender: where answers go.
        on_idle: called after an answer that left no call open; may be called by any thread.
    """

    def __init__(self, sender: FrameSender, on_idle: Callable[[], None]) -> None:
        self._sender = sender
        self._open: dict[int, OpenCall] = {}
        self._on_idle = on_idle

    def __len__(self) -> int:
        return len(self._open)

    def add(self, *calls: OpenCall) -> None:
        """Calls that must be answered from now on."""
        for call in calls:
            self._open[call.call_id] = call

    def find(self, call_id: int) -> OpenCall | None:
        """The open call of that id."""
        return self._open.get(call_id)

    def answer(self, call_id: int, header: bytes, body: bytes = b"") -> None:
        """Answer with a result."""
        self._send(call_id, encode(_RESULT, call_id, header, body))

    def event(self, call_id: int, header: bytes) -> None:
        """Tell something of a call that is not answered yet."""
        if call_id in self._open:
            self._sender.send(encode(_EVENT, call_id, header))

    def fail(self, call_id: int, error: ModelryError) -> None:
        """Answer with an error."""
        self._send(call_id, encode_error(call_id, error))

    def _send(self, call_id: int, frame: bytes) -> None:
        if self._open.pop(call_id, None) is not None:
            self._sender.send(frame)
            if not self._open:
                self._on_idle()

    def answer_all(self, calls: Iterable[OpenCall], frames: Iterable[bytes | None]) -> None:
        """Answer calls at once, each with its whole frame; those answered before are left.

        Calls whose frame is None stay open.
        """
        pop = self._open.pop
        due = [
            frame
            for call, frame in zip(calls, frames, strict=True)
            if frame is not None and pop(call.call_id, None) is not None
        ]
        if due:
            self._sender.send(*due)
            if not self._open:
                self._on_idle()


def deadline_of(timeout_ms: int, now: float) -> float:
    """Monotonic time at which a call's time is over; infinity when it has no limit."""
    return now + timeout_ms / 1000 if timeout_ms else float("inf")


def too_late() -> DeadlineExceeded:
    """What a call is told whose deadline has passed."""
    return DeadlineExceeded(
        "The request's time ran out before the model had answered; ask for less at once, or "
        "raise the deployment's deadline."
    )


def as_told(error: BaseException, *, loading: bool = False) -> ModelryError:
    """`error` in words for the caller; what is not meant for callers goes to stderr."""
    if isinstance(error, ModelryError):
        return error
    if isinstance(error, MemoryError):
        what, advice = (
            ("while it was loaded", "") if loading else ("on this input", "send less at once, or ")
        )
        return ModelFailed(
            f"The model ran out of memory {what}; {advice}raise the deployment's memory limit."
        )
    log(f"an engine call failed unexpectedly: {type(error).__name__}")
    traceback.print_exception(error, file=sys.stderr)
    what = "could not be loaded" if loading else "failed on this input"
    return ModelFailed(f"The model {what} ({type(error).__name__}); the replica's log says more.")


def log(message: str) -> None:
    """A line in the replica's log."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} worker: {message}\n")
    sys.stderr.flush()
