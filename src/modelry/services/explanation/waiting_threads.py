"""Threads that wait for processes, so that the event loop does not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue


class WaitingThreads:
    """Runs what blocks, in threads that stay for more: the loop waits until a new one has begun.

    There are as many as were ever needed at once. The server's end does not wait for them.

    Args:
        name: of the threads.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = threading.Lock()
        self._free = 0

    def run(self, work: Callable[[], None]) -> None:
        """Begin `work`, which must not raise, in a thread.

        Raises:
            RuntimeError: no thread can be started; the work is not begun later, either.
        """
        with self._lock:
            is_one_free = self._free > 0
            if is_one_free:
                self._free -= 1
        if not is_one_free:
            threading.Thread(target=self._serve, name=self._name, daemon=True).start()
        self._work.put(work)

    def _serve(self) -> None:
        while True:
            self._work.get()()
            with self._lock:
                self._free += 1
