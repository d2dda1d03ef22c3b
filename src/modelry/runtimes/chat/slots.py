"""Slots: how many choices the engine generates at once.

More would queue inside the engine, where a waiting request cannot be cancelled.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from modelry.domain.errors import Cancelled, ModelFailed
from modelry.runtime_api.engine import StopSignal


class Slots:
    """Gives out slots in the order of asking; a request for several waits until all are free."""

    def __init__(self, count: int) -> None:
        self._free = self._count = count
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()
        self._closed = False

    @property
    def is_closed(self) -> bool:
        """Whether running calls should end and new ones are refused."""
        return self._closed

    @property
    def wanted(self) -> int:
        """How many slots are taken, and how many calls wait for some."""
        return self._count - self._free + len(self._waiting)

    @contextmanager
    def taken(self, count: int, stop: StopSignal) -> Iterator[None]:
        """Hold `count` slots (at most as many as there are) for the `with` block.

        Raises:
            Cancelled: `stop` was raised while waiting.
            ModelFailed: the engine was closed.
        """
        self._take(count, stop)
        try:
            yield
        finally:
            with self._changed:
                self._free += count
                self._changed.notify_all()

    def _take(self, count: int, stop: StopSignal) -> None:
        ticket = object()
        stop.subscribe(self._wake)
        with self._changed:
            self._waiting.append(ticket)
            try:
                while not (self._waiting[0] is ticket and self._free >= count):
                    self._refuse(stop)
                    self._changed.wait()
                self._refuse(stop)
                self._free -= count
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def _refuse(self, stop: StopSignal) -> None:
        if self._closed:
            raise ModelFailed("The model is being unloaded; try again later.")
        if stop.is_set():
            raise Cancelled("The request was stopped before the engine began with it.")

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def close(self, timeout_s: float) -> bool:
        """Refuse what waits, and wait for what runs; whether all have ended in time."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            while self._free < self._count:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
        return True
