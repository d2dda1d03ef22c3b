"""Calls that run in a thread each, on engines that work on several at once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from modelry.domain.errors import Cancelled, ModelryError
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.frames import Frame
from modelry.worker.calls import OpenCalls, as_told, too_late


class ThreadedCall:
    """One running call."""

    __slots__ = ("call_id", "deadline", "is_late", "started", "stop")

    def __init__(self, call_id: int, deadline: float) -> None:
        self.call_id = call_id
        self.deadline = deadline
        self.stop = StopSignal()
        self.is_late = False
        self.started: float | None = None

    def expire(self, now: float) -> None:
        """Stop it when its time is over."""
        if now > self.deadline and not self.stop.is_set():
            self.is_late = True
            self.stop.set()


class ThreadedCalls:
    """Runs calls, up to the engine's slots at once; subclasses say how one is answered.

    Args:
        slots: how many run at once.
        calls: where calls are answered.
        name: of the threads.
    """

    def __init__(self, slots: int, calls: OpenCalls, name: str) -> None:
        self._calls = calls
        self._pool = ThreadPoolExecutor(slots, thread_name_prefix=name)
        self._running: dict[int, ThreadedCall] = {}

    def start(self, frame: Frame, deadline: float) -> ThreadedCall:
        """Start the call of a frame."""
        call = ThreadedCall(frame.call_id, deadline)
        self._running[frame.call_id] = call
        self._calls.add(call)
        self._pool.submit(self._run, call, frame)
        return call

    def expire(self, now: float) -> None:
        """Stop calls whose time is over."""
        for call in tuple(self._running.values()):
            call.expire(now)

    def busy_s(self, now: float) -> float:
        """How long the oldest call has been running; 0 when none is."""
        started = [one.started for one in tuple(self._running.values()) if one.started is not None]
        return now - min(started) if started else 0.0

    def answer(self, frame: Frame, call: ThreadedCall) -> tuple[bytes, bytes]:
        """Do what the call's frame asks for.

        Returns:
            Header and body of the RESULT frame.

        Raises:
            ModelryError: the call failed.
        """
        raise NotImplementedError

    def _run(self, call: ThreadedCall, frame: Frame) -> None:
        call.started = time.monotonic()
        call.expire(call.started)
        failure: ModelryError | None = None
        told = (b"{}", b"")
        try:
            if call.stop.is_set():
                raise Cancelled("The call was stopped before it began.")
            told = self.answer(frame, call)
        except BaseException as error:  # noqa: BLE001 - an engine may raise anything
            failure = as_told(error)
        if call.is_late:
            failure = too_late()
        # first: when the gateway has the answer it may send the next call, or DRAIN
        self._running.pop(call.call_id, None)
        if failure is None:
            self._calls.answer(call.call_id, *told)
        else:
            self._calls.fail(call.call_id, failure)
