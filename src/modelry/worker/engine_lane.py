"""Runs engine calls, one batch at a time, by whichever thread brings work to an idle engine.

There is no engine thread and no timer: handing work to another thread costs more than a small
model takes. A thread that finds the engine busy leaves its work behind; the busy one takes all
that has queued up meanwhile, up to the cap, as its next batch.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Hashable, Sequence
from typing import Any, ClassVar

from modelry.domain.errors import Cancelled, ModelryError
from modelry.runtime_api.engine import StopSignal
from modelry.worker.calls import OpenCalls, as_told, too_late


class Work:
    """What one call wants of the engine; subclasses say how it is run.

    Attributes:
        call_id: the call that is answered.
        deadline: monotonic time at which its time is over.
        key: works with equal keys may be run together; None never.
        rows: how many rows of a batch it takes.
        is_cancelled: its caller went away.
        batch: the stop signal of the run that it is part of, while it runs.
        is_background: it is for work that stands back, such as an explanation.
    """

    is_background: ClassVar[bool] = False

    __slots__ = ("batch", "call_id", "deadline", "is_cancelled", "key", "rows")

    def __init__(self, call_id: int, deadline: float, key: Hashable, rows: int) -> None:
        self.call_id = call_id
        self.deadline = deadline
        self.key = key
        self.rows = rows
        self.is_cancelled = False
        self.batch: StopSignal | None = None

    def run_together(self, works: Sequence[Any], stop: StopSignal) -> Sequence[bytes | None]:
        """Run `works`, of which this is the first and all have its key.

        Returns:
            For each work the frame that answers its call, or None if it is answered elsewhere.

        Raises:
            ModelryError: the run failed.
        """
        raise NotImplementedError


class EngineLane:
    """The queue in front of an engine that does one thing at a time.

    Args:
        calls: where works are answered.
        max_rows: rows of a batch, at most; a work with more is run alone.
    """

    def __init__(self, calls: OpenCalls, max_rows: int) -> None:
        self.max_rows = max_rows
        self._calls = calls
        self._waiting: deque[Work] = deque()
        self._engine = threading.Lock()
        self._mutex = threading.Lock()
        self._running: Sequence[Work] = ()
        self._stop = StopSignal()
        self._started = 0.0
        self._wanted_at = -math.inf

    def add(self, *works: Work) -> None:
        """Queue `works`; `run` follows."""
        self._waiting.extend(works)

    def run(self) -> None:
        """Run what waits, unless another thread is at it already."""
        # A thread that has released the engine looks at the queue again, and one that has queued
        # something looks at the engine afterwards: nothing is left behind.
        while self._waiting and self._engine.acquire(blocking=False):
            try:
                while self._waiting:
                    self._run_batch()
            finally:
                self._engine.release()

    def is_wanted(self, within_s: float) -> bool:
        """Whether a call has been run lately, work in the background aside, or something waits."""
        return bool(self._waiting) or time.monotonic() - self._wanted_at < within_s

    def busy_s(self, now: float) -> float:
        """How long the running engine call has been running; 0 when none is."""
        return now - self._started if self._running else 0.0

    def cancel(self, work: Work) -> None:
        """The caller of `work` went away."""
        with self._mutex:
            work.is_cancelled = True
            stop = work.batch
            is_wanted = any(not one.is_cancelled for one in self._running)
        if stop is None:
            self._drop(work, _cancelled())
        elif not is_wanted:
            stop.set()

    def expire(self, now: float) -> None:
        """Answer waiting works whose time is over; stop a run that nobody waits for any more."""
        with self._mutex:
            running, stop = self._running, self._stop
        if running and all(work.is_cancelled or work.deadline < now for work in running):
            stop.set()
        late = [work for work in tuple(self._waiting) if work.deadline < now]
        for work in late:
            self._drop(work, too_late())

    def _drop(self, work: Work, error: ModelryError) -> None:
        """Answer a work that need not run; a thread that has just taken it answers nobody."""
        with contextlib.suppress(ValueError):
            self._waiting.remove(work)
        self._calls.fail(work.call_id, error)

    def _take(self, now: float) -> list[Work]:
        """The next batch; works that nobody waits for are left out."""
        waiting, cap = self._waiting, self.max_rows
        batch: list[Work] = []
        others: list[Work] = []
        rows = 0
        key: Hashable = None
        while waiting and rows < cap:
            work = waiting.popleft()
            if work.is_cancelled or work.deadline < now:
                self._calls.fail(work.call_id, _cancelled() if work.is_cancelled else too_late())
            elif not batch:
                batch.append(work)
                key, rows = work.key, work.rows
                if key is None:
                    break
            elif (work.key is key or work.key == key) and rows + work.rows <= cap:
                batch.append(work)
                rows += work.rows
            else:
                others.append(work)
        if others:
            waiting.extendleft(reversed(others))
        return batch

    def _run_batch(self) -> None:
        now = time.monotonic()
        with self._mutex:
            batch = self._take(now)
            if not batch:
                return
            stop = StopSignal()
            for work in batch:
                work.batch = stop
            self._stop, self._started, self._running = stop, now, batch
        if not batch[0].is_background:
            self._wanted_at = now
        try:
            frames = batch[0].run_together(batch, stop)
        except BaseException as error:  # noqa: BLE001 - an engine may raise anything
            self._running = ()
            self._one_by_one(batch, error, stop)
            return
        self._running = ()
        self._calls.answer_all(batch, frames)

    def _one_by_one(self, batch: list[Work], error: BaseException, stop: StopSignal) -> None:
        """After a failed run: one bad request must not fail those that ran with it."""
        if len(batch) == 1 or stop.is_set():
            for work in batch:
                self._calls.fail(work.call_id, _told(work, error, stop))
            return
        for work in reversed(batch):
            work.batch = None
            work.key = None
            self._waiting.appendleft(work)


def _told(work: Work, error: BaseException, stop: StopSignal) -> ModelryError:
    if stop.is_set():
        return _cancelled() if work.is_cancelled else too_late()
    return as_told(error)


def _cancelled() -> ModelryError:
    return Cancelled("The run was stopped because its caller went away.")
