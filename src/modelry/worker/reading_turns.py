"""Whose turn it is to read the socket, among two threads."""

from __future__ import annotations

import threading
import time


class ReadingTurns:
    """A lock whose holder lends it while it runs the engine.

    While it is lent, the watcher may pass it on to the other thread; the holder learns that when
    it takes it back. Without a slow run nothing is passed on, and no thread is woken up.
    """

    def __init__(self) -> None:
        self._reading = threading.Lock()
        self._mutex = threading.Lock()
        self._lent_at = 0.0
        self._is_lent = False

    def wait(self) -> None:
        """Wait until it is this thread's turn."""
        self._reading.acquire()  # released by `pass_on`, possibly in another thread

    def lend(self) -> None:
        """The holder goes on to something that may take long."""
        self._lent_at = time.monotonic()
        self._is_lent = True

    def take_back(self) -> bool:
        """Whether it is still the holder's turn."""
        with self._mutex:
            mine, self._is_lent = self._is_lent, False
        return mine

    def pass_on(self) -> None:
        """Let the other thread read (or see that all is over)."""
        with self._mutex:
            self._is_lent = False
            if self._reading.locked():
                self._reading.release()

    def pass_on_if_lent_since(self, moment: float) -> None:
        """Let the other thread read if the holder has been away since before `moment`."""
        with self._mutex:
            if self._is_lent and self._lent_at < moment:
                self._is_lent = False
                self._reading.release()
