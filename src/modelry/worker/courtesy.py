"""How work in the background stands back: short runs and rests while others want the machine."""

from __future__ import annotations

import math
from collections.abc import Callable

from modelry.explaining.pace import QUIET_SLICE_S

SHARED_SLICE_S = 0.0005
"""How long a run may take, about, while others ask the same engine: so long do they wait for it."""
CROWDED_SLICE_S = 0.002
"""And while other processes want the cores."""
SHARED_FOR_S = 1.0
"""An engine that was asked so lately will be asked again."""
CROWDED_PER_S = 30
"""How often in a second on a core it is taken away, from which on others want the cores."""
_RESTS_WHEN_SHARED = 1.0
_RESTS_WHEN_CROWDED = 3.0
_REMEMBERED_S = 0.1
_LONGEST_REST_S = 0.05
_LEAST_CPU_S = 1e-4


class Courtesy:
    """Learns from each run whether the machine is wanted by others.

    Nice values would not do: a thread that waits for a core may hold the interpreter's lock, for
    which the threads that answer calls would wait as long.

    Args:
        is_shared: whether others have asked the same engine within so many seconds.
    """

    def __init__(self, is_shared: Callable[[float], bool]) -> None:
        self._is_shared = is_shared
        self._taken_per_s = 0.0
        self._took_s = 0.0

    def slice_s(self) -> float:
        """How long the next run may take."""
        if self._is_shared(SHARED_FOR_S):
            return SHARED_SLICE_S
        return CROWDED_SLICE_S if self._taken_per_s > CROWDED_PER_S else QUIET_SLICE_S

    def ran(self, took_s: float, cpu_s: float, taken: int) -> None:
        """A run took so long, had cores for so long, and so many times one was taken away."""
        share = 1 - math.exp(-took_s / _REMEMBERED_S)
        self._taken_per_s += share * (taken / max(cpu_s, _LEAST_CPU_S) - self._taken_per_s)
        self._took_s = took_s

    @property
    def rest_s(self) -> float:
        """How long to rest after the last run."""
        rests = _RESTS_WHEN_SHARED if self._is_shared(SHARED_FOR_S) else 0.0
        if self._taken_per_s > CROWDED_PER_S:
            rests = _RESTS_WHEN_CROWDED
        return min(_LONGEST_REST_S, rests * self._took_s)
