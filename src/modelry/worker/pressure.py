"""How short of cores the machine is, and who uses them."""

from __future__ import annotations

import os
import re
from pathlib import Path

PRESSURE = Path("/proc/pressure/cpu")
CORES = Path("/proc/stat")
_SOME = re.compile(rb"some .*?total=(\d+)")
_BUSY = re.compile(rb"cpu +(\d+) (\d+) (\d+) \d+ \d+ (\d+) (\d+)")


def waited_s(file: Path = PRESSURE) -> float | None:
    """For how long, in all, somebody has waited for a core; None where the kernel does not tell.

    Linux tells it since 4.20 ("Pressure Stall Information"), of the whole machine: the share of
    the cores in use on which more than one thread would run, added up over time, in seconds.

    Args:
        file: where it tells it.
    """
    told = _found(_SOME, file)
    return None if told is None else int(told[1]) / 1e6


def used_s(file: Path = CORES) -> float | None:
    """For how long, in all, cores of this machine were in use, in seconds added up over them.

    None where the kernel does not tell. It counts in ticks, of which there are 100 in a second.

    Args:
        file: where it tells it.
    """
    told = _found(_BUSY, file)
    return None if told is None else sum(map(int, told.groups())) / os.sysconf("SC_CLK_TCK")


def _found(what: re.Pattern[bytes], file: Path) -> re.Match[bytes] | None:
    try:
        return what.match(file.read_bytes())
    except OSError:
        return None
