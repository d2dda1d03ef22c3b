"""The time that a study may take, over all its attempts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from modelry.explaining.contract import LEAST_SECONDS, MOST_SECONDS
from modelry.explaining.course import TimeIsUp

_SHARE_OF_ROWS = 2 / 3
"""Of the time, that rows may take where more is wished than their explanations."""


class Allowance:
    """Tells how much of the time is left; counted from when it is made.

    Args:
        seconds: that there are in all; None for as long as it takes.
        wants_more: whether something is wished beside the rows.
        clock: seconds of a clock that only goes forward.

    Attributes:
        spent_before: by attempts before this one.
    """

    def __init__(
        self,
        seconds: float | None,
        *,
        wants_more: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.seconds = seconds
        self.spent_before = 0.0
        self._share = _SHARE_OF_ROWS if wants_more else 1.0
        self._clock = clock
        self._began = clock()
        self._rows = 0
        self._rows_s = 0.0

    @property
    def is_bounded(self) -> bool:
        """Whether there is an end to it."""
        return self.seconds is not None

    @property
    def took_s(self) -> float:
        """By all attempts."""
        return self.spent_before + self._clock() - self._began

    @property
    def left_s(self) -> float:
        """Until the end; never less than 0."""
        return max(0.0, float("inf") if self.seconds is None else self.seconds - self.took_s)

    def check(self) -> None:
        """See whether there is any left.

        Raises:
            TimeIsUp: there is none.
        """
        if self.is_bounded and not self.left_s:
            raise TimeIsUp

    def check_row(self) -> None:
        """See whether one more row fits, by how long the ones before took.

        Raises:
            TimeIsUp: it does not.
        """
        if self.seconds is None or not self._rows:
            self.check()
        elif self.took_s + self._rows_s / self._rows > self._share * self.seconds:
            raise TimeIsUp

    def explained(self, seconds: float) -> None:
        """The explanation of a row took so long."""
        self._rows += 1
        self._rows_s += seconds

    def of_one(self) -> float | None:
        """The seconds that an explanation may take."""
        return max(LEAST_SECONDS, min(MOST_SECONDS, self.left_s)) if self.is_bounded else None


def is_whole(explanation: dict[str, Any]) -> bool:
    """Whether an explanation was not cut for lack of time."""
    stopped = explanation["parameters"].get("stopped")
    return stopped != "seconds" and not explanation["cost"].get("left_out")
