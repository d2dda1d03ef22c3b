"""What a process used, as the kernel counts it, up to its very end."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from modelry.domain.usage import Compute

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_AFTER_NAME = b") "
_UTIME = 11
"""Of the fields after the name: time in user mode, in the kernel, and the same of children."""
_SCHEDULED = 2
"""Kind of a process's clock: the time for which its threads had a core."""
_LOOK_EVERY_S = 0.005


class ProcessMeter:
    """Measures a child process of this one, which nobody else may wait for meanwhile.

    The kernel keeps the times of a process that has ended until somebody has waited for it. So
    its end is looked for without waiting for it, and its times are read in between.

    Args:
        pid: of the child.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._begun = time.monotonic()
        self._told = Compute()
        self._cpu_us = 0

    def has_ended(self) -> bool:
        """Whether the process has ended; leaves it to be waited for."""
        how = os.WEXITED | os.WNOHANG | os.WNOWAIT
        try:
            return os.waitid(os.P_PID, self._pid, how) is not None
        except ChildProcessError:
            return True

    def await_end(self, timeout_s: float) -> bool:
        """Wait for its end, and leave it to be waited for; whether it came."""
        deadline = time.monotonic() + timeout_s
        while not self.has_ended():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            time.sleep(min(_LOOK_EVERY_S, left_s))
        return True

    def more(self) -> Compute:
        """What it used since the last time; after it was waited for, its processor time stays."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            self._cpu_us = max(self._cpu_us, _cpu_us(self._pid))
        engine_us = round((time.monotonic() - self._begun) * 1e6)
        used = Compute(engine_us, self._cpu_us)
        more, self._told = used - self._told, used
        return more


def _cpu_us(pid: int) -> int:
    """Processor time of a process, of all its threads and of its children that have ended.

    Its own by its clock, as what is told in ticks may be nothing for a hundredth of a second.
    """
    stat = Path(f"/proc/{pid}/stat").read_bytes()
    fields = stat[stat.rindex(_AFTER_NAME) + len(_AFTER_NAME) :].split()
    own, children = (
        sum(int(one) for one in fields[at : at + 2]) * 1_000_000 // _TICKS_PER_S
        for at in (_UTIME, _UTIME + 2)
    )
    with contextlib.suppress(OSError):
        own = max(own, time.clock_gettime_ns(_clock_of(pid)) // 1000)
    return own + children


def _clock_of(pid: int) -> int:
    """The number of a process's clock, as `clock_getcpuclockid` of the C library makes it."""
    return (~pid << 3) | _SCHEDULED
