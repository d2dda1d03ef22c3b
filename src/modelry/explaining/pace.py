"""How many rows an explanation gives the engine at once, so that others need not wait long."""

from __future__ import annotations

from collections.abc import Callable

QUIET_SLICE_S = 0.01
"""How long a run may take, about, while nobody else is in a hurry."""


class Pace:
    """Learns from each run how many rows the next one may have.

    What a run of one row took is the most that a row can take: more rows share what a run costs
    besides.

    Args:
        most_rows: of a run, whatever time it takes.
        slice_s: how long the next run may take.
    """

    def __init__(
        self, most_rows: int, slice_s: Callable[[], float] = lambda: QUIET_SLICE_S
    ) -> None:
        self._most = max(1, most_rows)
        self._slice_s = slice_s
        self._per_s = 1 / QUIET_SLICE_S

    @property
    def rows(self) -> int:
        """Of the next run: a power of two, as engines set up memory for each number of rows."""
        fitting = min(self._most, max(1, int(self._per_s * self._slice_s())))
        return 1 << (fitting.bit_length() - 1)

    def ran(self, rows: int, seconds: float) -> None:
        """A run of so many rows took so long in the engine."""
        found = rows / max(seconds, 1e-9)
        is_rest = found < self._per_s and 2 * rows <= self.rows
        if not is_rest:  # the few rows of a rest tell more of what a run costs besides
            self._per_s = found
