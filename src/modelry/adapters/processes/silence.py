"""Whether a process that says nothing is stuck, or only gets no core to say something on."""

from __future__ import annotations

import contextlib
from pathlib import Path

STARVED_FACTOR = 20.0
"""How many times longer a process may be silent that waits for a core all the while."""
_STARVED_SHARE = 0.5
"""Of the silence: how long its threads must have waited for a core, together, to count as that."""


class Silence:
    """Judges the silence of one process.

    Args:
        pid: the process.
        allowed_s: how long it may be silent when it gets the cores that it wants.
    """

    def __init__(self, pid: int, allowed_s: float) -> None:
        self._pid = pid
        self._allowed_s = allowed_s
        self._last_heard = 0.0
        self._waited_s = 0.0

    def is_too_long(self, last_heard: float, now: float) -> bool:
        """Whether to give it up; ask more often than once in the time that is allowed.

        Args:
            last_heard: when it said something last, by the monotonic clock.
            now: by the same clock.
        """
        if last_heard != self._last_heard:
            self._last_heard, self._waited_s = last_heard, waited_s(self._pid)
        silent_s = now - last_heard
        if silent_s <= self._allowed_s:
            return False
        if silent_s > self._allowed_s * STARVED_FACTOR:
            return True
        return waited_s(self._pid) - self._waited_s < silent_s * _STARVED_SHARE


def waited_s(pid: int) -> float:
    """Seconds that the threads of a process were ready to run and got no core; 0 where unknown."""
    total = 0
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError, ValueError, IndexError):
                total += int((thread / "schedstat").read_text().split()[1])
    return total / 1e9
