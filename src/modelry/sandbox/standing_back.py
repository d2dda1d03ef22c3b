"""How work stands back behind serving where cores are short: `stand_back`.

Niceness alone does little. Where the kernel groups processes by session (autogroup, as most
distributions have it outside of containers), it counts within a session only, and a process of
work has one of its own. And kernels from 6.6 on let a thread use up its slice, 3 ms on a large
machine, however nice it is, before one that wakes up takes its place: that is most of the time
that a small model needs.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import time
from pathlib import Path

from modelry.sandbox.kernel import Refused, call, machine

SLICE_NS = 5_000_000
"""Longer than the slices of others, which by default are 2.8 ms at most: from 6.12 on, a thread
that wakes up with a shorter slice runs at once. Not much longer, or the turns of work, which a
slice sets apart as well, would be too rare under load for its signs of life."""
_AUTOGROUP = Path("/proc/self/autogroup")
_AUTOGROUP_TRIES, _AUTOGROUP_PAUSE_S = 20, 0.05
"""The kernel takes ten of these writes a second, of all processes."""
_SET_ATTRIBUTES = {"x86_64": 314, "aarch64": 274}
_GET_ATTRIBUTES = {"x86_64": 315, "aarch64": 275}
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")
"""`struct sched_attr` in its first version: its size, policy, flags, niceness, priority, and
runtime (of a fair policy: the slice), deadline and period in nanoseconds."""


def stand_back(niceness: int) -> None:
    """Have this thread, and those that it starts, wait for others; what is refused is left.

    Args:
        niceness: how far, 0 (not at all) to 19.
    """
    if niceness <= 0:
        return
    with contextlib.suppress(OSError):
        os.nice(niceness)
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    _lighten_session(nice)
    if not _lengthen_slice(nice):
        _run_when_idle()


def _lighten_session(nice: int) -> None:
    """Give the session the weight of its niceness, if it is this process's own."""
    if os.getsid(0) != os.getpid():
        return
    for _ in range(_AUTOGROUP_TRIES):
        try:
            _AUTOGROUP.write_text(str(nice))
        except BlockingIOError:
            time.sleep(_AUTOGROUP_PAUSE_S)
        except OSError:
            return
        else:
            return


def _lengthen_slice(nice: int) -> bool:
    """Ask for slices of `SLICE_NS`; whether the kernel knows such a thing."""
    name = machine()
    if name not in _SET_ATTRIBUTES:
        return False
    size = _ATTRIBUTES.size
    wanted = _ATTRIBUTES.pack(size, os.SCHED_BATCH, 0, nice, 0, SLICE_NS, 0, 0)
    given = ctypes.create_string_buffer(size)
    try:
        call("sched_setattr", _SET_ATTRIBUTES[name], 0, ctypes.create_string_buffer(wanted), 0)
        call("sched_getattr", _GET_ATTRIBUTES[name], 0, given, size, 0)
    except Refused:
        return False
    return bool(_ATTRIBUTES.unpack(given.raw)[5] == SLICE_NS)


def _run_when_idle() -> None:
    """What older kernels have: others run at once, at the price of a very small share."""
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
