"""How short of cores the machine is."""

from __future__ import annotations

import re
from pathlib import Path

FILE = Path("/proc/pressure/cpu")
_SOME = re.compile(rb"some .*?total=(\d+)")


def waited_s(file: Path = FILE) -> float | None:
    """For how long, in all, somebody has waited for a core; None where the kernel does not tell.

    Linux tells it since 4.20 ("Pressure Stall Information"), of the whole machine: the share of
    the cores in use on which more than one thread would run, added up over time, in seconds.

    Args:
        file: where it tells it.
    """
    try:
        told = _SOME.match(file.read_bytes())
    except OSError:
        return None
    return None if told is None else int(told[1]) / 1e6
