"""How far an explanation has come: tells it while it runs, and ends it when its time is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelry.domain.errors import Cancelled, InvalidInput
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.tensors import Array

EXPLAINING, CHECKING = "explaining", "checking"
TELL_S = 0.25
"""Between two reports."""
FAITHFULNESS, POINTS, STABILITY, WORDS = "faithfulness", "points", "stability", "words"
"""What the end of the time may leave out, beside the rest of an explanation."""
_WORDS = {
    FAITHFULNESS: "measuring how far it can be trusted",
    POINTS: "more than half the points of the curves that measure it",
    STABILITY: "seeing whether it stays when the input is moved a little",
    WORDS: "looking into all segments that count, word by word",
}
_SPARE = 1.05
"""Times what the check will take is kept for it: calls do not all take the same."""
_MOST_FOR_CHECKS = 2 / 3
"""Of the time, that may be kept for the check; one that takes more is left out."""


class TimeIsUp(Exception):
    """The time that was wished is over; methods that know something by then catch it."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is.

    Args:
        phase: what is done, `explaining` or `checking`.
        calls: of the model, in this phase.
        most_calls: of this phase, at most; None as long as that is not known.
    """

    phase: str
    calls: int
    most_calls: int | None

    def to_wire(self) -> dict[str, Any]:
        """As JSON types."""
        return {"phase": self.phase, "calls": self.calls, "most_calls": self.most_calls}


Tell = Callable[[Progress], None]


class Course:
    """The course of one explanation, which begins when it is made.

    Args:
        stop: ends it, for nothing.
        seconds: it may take; None for as long as it takes.
        tell: is told how far it is, a few times a second.
        clock: seconds of a clock that only goes forward.
    """

    def __init__(
        self,
        stop: StopSignal,
        seconds: float | None = None,
        tell: Tell | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stop = stop
        self.seconds = seconds
        self.left_out: list[str] = []
        """What there was no time for."""
        self._tell = tell
        self._clock = clock
        self._began = self._told_at = clock()
        self._phase = EXPLAINING
        self._calls = self._all_calls = 0.0
        self._explained = 0
        self._most: int | None = None
        self._least = 1
        self.is_cut = False
        """Whether the explanation itself ended for lack of time."""
        self._kept_calls: Sequence[int] = ()
        self._short = ""

    @property
    def is_timed(self) -> bool:
        """Whether its time is bounded."""
        return self.seconds is not None

    @property
    def took_s(self) -> float:
        """Since it began."""
        return self._clock() - self._began

    @property
    def left_s(self) -> float:
        """Until its time is over; never less than 0."""
        return max(0.0, float("inf") if self.seconds is None else self.seconds - self.took_s)

    @property
    def is_watched(self) -> bool:
        """Whether somebody wants to know how far it is, or time is bounded: then it is asked in
        small portions where that costs something.
        """
        return self.is_timed or self._tell is not None

    @property
    def explained(self) -> int:
        """How often the model was asked before the check."""
        return self._explained if self._phase == CHECKING else round(self._calls)

    def expect(self, most: int, least: int) -> None:
        """A method asks so often at most, and so often before it knows anything."""
        self._least = least
        if self._phase == EXPLAINING and self._most != most:
            self._most = most
            self._report()

    def keep(self, *calls: int) -> None:
        """Leave time for so many calls after the explaining, or for the next fewer where they are
        most of it.
        """
        self._kept_calls = calls

    def check(self, measuring: int, *, repeats: bool) -> None:
        """From now on the explanation is checked.

        Args:
            measuring: how many calls that takes.
            repeats: whether it is then made once more, of the input moved a little.
        """
        repeated = (self._most or 0) if repeats else 0
        self._explained = round(self._calls)
        self._phase, self._calls, self._kept_calls = CHECKING, 0.0, ()
        self._most = measuring + repeated
        self._report()

    def look(self) -> None:
        """See whether the model may be asked once more.

        Raises:
            Cancelled: nobody waits for the explanation any more.
            TimeIsUp: its time is over, or only enough is left for its check.
        """
        if self.stop.is_set():
            raise Cancelled("The explanation was stopped because its caller went away.")
        if self.seconds is not None and self._calls and self.left_s <= self._kept_s():
            raise TimeIsUp

    def asked(self, calls: float) -> None:
        """The model was asked so many times more; parts of a call that has several rows count."""
        self._calls += calls
        self._all_calls += calls
        if self._tell is not None and self._clock() - self._told_at >= TELL_S:
            self._report()

    def in_time(self, scores: Callable[[Array], Array], presences: Array, portion: int) -> Array:
        """The scores of presences (n, parts), or of as many of the first as there was time for.

        Of a check all are needed.

        Args:
            scores: gives them.
            presences: of the parts.
            portion: how many are asked together where time is bounded.

        Raises:
            TimeIsUp: there was not enough for a check.
        """
        if not self.is_timed:
            return scores(presences)
        found: list[Array] = []
        for start in range(0, len(presences), portion):
            try:
                found.append(scores(presences[start : start + portion]))
            except TimeIsUp:
                if self._phase == CHECKING:
                    raise  # fewer calls would say that it is less stable
                self.is_cut = True
                break
        return np.concatenate(found) if found else np.empty(0)

    def fell_short(self, calls: int, needed: int, unsure: int, maps: int) -> None:
        """What was found by the end of the time is mostly chance.

        Args:
            calls: that there were.
            needed: how many there should have been, about.
            unsure: of how many maps that is so.
            maps: how many there are.
        """
        if self._phase == EXPLAINING:
            which = "it" if maps == 1 else f"{unsure} of the {maps} maps"
            self._short = (
                f"after {calls:,} of up to about {needed:,} calls that being sure may take: "
                f"too few to trust {which}"
            )

    def fits(self, calls: int) -> bool:
        """Whether there is time for so many calls, by how long the ones before took."""
        needed_s = self._seconds_for(calls) if self._all_calls else 0.0
        return not self.is_timed or needed_s < self.left_s

    def too_few_seconds(self, method: str) -> InvalidInput:
        """What is told where there was no time for what the method needs at least."""
        needed_s = self._seconds_for(self._least)
        return InvalidInput(
            f"seconds is {self.seconds:g}; '{method}' cannot end before {self._least} calls, which "
            f"take about {needed_s:.2g} s here: in {self.took_s:.2g} s there were "
            f"{self._all_calls:.0f}. Ask with more seconds or without, or by another method.",
            param="seconds",
        )

    def remark(self) -> str:
        """What the end of the time left out, in sentences; empty where nothing."""
        told = []
        if self._short:
            told.append(f"It stopped asking as {self.seconds:g} s were given, {self._short}.")
        elif self.is_cut:
            told.append(f"It stopped asking before it was sure, as {self.seconds:g} s were given.")
        told += [f"There was no time left for {_WORDS[one]}." for one in self.left_out]
        return " ".join(told)

    def cost(self, calls: int, explaining: int) -> dict[str, Any]:
        """What it took, as JSON types.

        Args:
            calls: of the model in all.
            explaining: without those of the check.
        """
        told: dict[str, Any] = {
            "model_calls": calls,
            "explaining_calls": explaining,
            "seconds": round(self.took_s, 4),
        }
        if self.is_timed:
            told |= {"most_seconds": self.seconds, "left_out": list(self.left_out)}
        return told

    def _kept_s(self) -> float:
        most_s = _MOST_FOR_CHECKS * (self.seconds or 0.0)
        kept = (_SPARE * self._seconds_for(one) for one in self._kept_calls)
        return next((one for one in kept if one <= most_s), 0.0)

    def _seconds_for(self, calls: int) -> float:
        return calls * self.took_s / max(1.0, self._all_calls)

    def _report(self) -> None:
        if self._tell is not None:
            self._told_at = self._clock()
            calls = round(self._calls)
            most = None if self._most is None else max(calls, self._most)
            self._tell(Progress(self._phase, calls, most))


def alone() -> Course:
    """One that nobody waits for, and that takes as long as it takes."""
    return Course(StopSignal())
