"""The check of an explanation, as far as there is time for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from modelry.explaining.course import FAITHFULNESS, POINTS, STABILITY, Course, TimeIsUp
from modelry.explaining.faithfulness import Faithfulness

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Check:
    """How an explanation can be checked.

    Args:
        measure: compares the weights of each target with random ones; None where there is no time.
        measuring: how many calls that takes at most.
        coarser: the same with fewer calls, where there is such a way.
        coarsely: how many calls that takes at most.
        repeat: makes the explanation again of the input moved a little, and tells by target how
            alike it is; None where it cannot be moved.
        repeating: how many calls that takes, about.
    """

    measure: Callable[[], Sequence[Faithfulness] | None]
    measuring: int
    coarser: Callable[[], Sequence[Faithfulness] | None] | None = None
    coarsely: int = 0
    repeat: Callable[[], Sequence[float]] | None = None
    repeating: int = 0


def checked(check: Check, course: Course) -> list[Faithfulness] | None:
    """How far the weights of each target can be trusted; None where there was no time for it.

    Whether it is better than random comes first: that tells more than how stable it is.
    """
    course.check(check.measuring, repeats=check.repeat is not None)
    found = _in_time(check.measure, check.measuring, course)
    if found is None and check.coarser is not None:
        found = _in_time(check.coarser, check.coarsely, course)
        if found is not None:
            course.left_out.append(POINTS)
    if found is None:
        course.left_out.append(FAITHFULNESS)
        return None
    if check.repeat is None:
        return list(found)
    alike = _in_time(check.repeat, check.repeating, course)
    if alike is None:
        course.left_out.append(STABILITY)
        return list(found)
    return [
        replace(one, stability=round(stability, 4))
        for one, stability in zip(found, alike, strict=True)
    ]


def _in_time(ask: Callable[[], T | None], calls: int, course: Course) -> T | None:
    if not course.fits(calls):
        return None
    try:
        return ask()
    except TimeIsUp:
        return None
