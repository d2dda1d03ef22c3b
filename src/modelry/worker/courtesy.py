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
CROWDED_SHARE = 0.05
"""Of the time, in which somebody waits for a core, from which on others want the cores. Two cores
have 0.01 with nothing else to do, and 0.1 beside engines with as many threads (measured)."""
CROWDED_CORES = 0.25
"""That others use, below which only this process waits: the threads of its own engine do."""
LOOKED_AT_S = 0.05
"""How often it is asked for at most: the kernel counts in ticks of some milliseconds."""
_REMEMBERED_S = 0.5
_GAP_S = 0.1
"""A pause after which work may again be done for a moment without rests; a shorter one gives a
share of that, so that short works, one after the other with pauses, are no more of a burden."""
_FORGOTTEN_S = 2.0
_RESTS = 24.0
"""Times the work. Eight left 1.4 times the p99 of a small model, as one request in six met a run;
rests of three times the work did more harm than none (measured)."""
_LONGEST_REST_S = 0.05


class Courtesy:
    """Learns whether the machine is wanted by others.

    Nice values would not do: a thread that waits for a core may hold the interpreter's lock, for
    which the threads that answer calls would wait as long.

    Args:
        is_shared: whether others have asked the same engine within so many seconds.
        seconds: for how long, in all, somebody has waited for a core, and others have used them.
    """

    def __init__(
        self, is_shared: Callable[[float], bool], seconds: Callable[[], tuple[float, float]]
    ) -> None:
        self._is_shared = is_shared
        self._seconds = seconds
        self._shares: tuple[float, float] | None = None
        self._seen = (-math.inf, (0.0, 0.0))
        self._began = -math.inf
        self._others_are_asked = False

    def slice_s(self) -> float:
        """How long the next run may take."""
        if self._is_shared(SHARED_FOR_S):
            return SHARED_SLICE_S
        return CROWDED_SLICE_S if self._is_wanted_by_others else QUIET_SLICE_S

    @property
    def _is_wanted_by_others(self) -> bool:
        return self.is_crowded or self._others_are_asked

    def begin(self, now: float, idle_s: float, *, others_are_asked: bool = False) -> None:
        """Work begins at the time `now`, after none for so long.

        What others waited for meanwhile says nothing: it may have been who asks for this work.

        Args:
            now: the time.
            idle_s: for how long there was no work.
            others_are_asked: other engines have been asked lately, by who counts requests: a few
                small ones show in no figure of the machine, and wait for its cores all the same.
        """
        self._others_are_asked = others_are_asked
        if idle_s > _FORGOTTEN_S:
            self._shares = None
        worked_s = min(LOOKED_AT_S, now - idle_s - self._began)
        self._began = now - max(0.0, worked_s - LOOKED_AT_S / _GAP_S * idle_s)
        if idle_s > _GAP_S:
            self._seen = (now, self._seconds())

    def look(self, now: float) -> None:
        """See whether others want the cores, at the time `now`; asks seldom enough to be cheap."""
        since, before = self._seen
        passed = now - since
        if passed < LOOKED_AT_S:
            return
        seconds = self._seconds()
        self._seen = (now, seconds)
        shares = ((seconds[0] - before[0]) / passed, (seconds[1] - before[1]) / passed)
        known = self._shares or shares
        weight = 1 - math.exp(-passed / _REMEMBERED_S)
        self._shares = (
            known[0] + weight * (shares[0] - known[0]),
            known[1] + weight * (shares[1] - known[1]),
        )

    @property
    def is_crowded(self) -> bool:
        """Whether others want the cores."""
        if self._shares is None:
            return False
        waited, used = self._shares
        return waited > CROWDED_SHARE and used > CROWDED_CORES

    def rest_s(self, now: float, busy_s: float) -> float:
        """How long to rest at the time `now`, after work of so many seconds.

        What is done within a moment is no more of a burden than a request, and needs no rests.
        """
        if now - self._began < LOOKED_AT_S:
            return 0.0
        is_wanted = self._is_shared(SHARED_FOR_S) or self._is_wanted_by_others
        return min(_LONGEST_REST_S, _RESTS * busy_s) if is_wanted else 0.0
