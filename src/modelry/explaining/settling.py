"""When enough was asked: asking as often again would give the parts the same order.

What is asked in random portions gives as many estimates of the same weights. Drawing the portions
anew with replacement (Efron, "Bootstrap Methods", 1979) shows how far the mean of all may lie from
what endless asking would give.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from modelry.runtime_api.tensors import Array

LEAST_PORTIONS = 4
TRUSTED = math.sqrt(0.5)
"""Below this agreement, more of what tells the parts apart is chance than not."""
_DRAWN = 200
_LOW = 0.05
"""The share of the draws that may agree less than what is told."""


@dataclass(frozen=True, slots=True)
class Asked:
    """How often the engine was asked, and why no more.

    Args:
        calls: how often.
        most: how often it might have been.
        agreement: at the end, where portions were compared.
        is_complete: all that the method asks for was asked.
        is_settled: the order of the parts was, before everything was asked.
        is_cut: the time was over before.
    """

    calls: int
    most: int
    agreement: float | None = None
    is_complete: bool = False
    is_settled: bool = False
    is_cut: bool = False

    def to_wire(self) -> dict[str, Any]:
        """As parameters of an explanation."""
        stopped = "complete" if self.is_complete else "settled" if self.is_settled else "calls"
        if self.is_cut and stopped == "calls":
            stopped = "seconds"
        told: dict[str, Any] = {"calls": self.calls, "most_calls": self.most, "stopped": stopped}
        return told if self.agreement is None else {**told, "agreement": round(self.agreement, 4)}


def needed(calls: int, most: int, agreed: float, settled: float) -> int:
    """About how many calls it would take in all for an agreement of `settled`; `most` at most.

    The noise of a mean falls as the calls that it is of grow.
    """
    if agreed <= 0:
        return most
    times = (1 / agreed**2 - 1) / (1 / settled**2 - 1)
    return min(most, max(calls, math.ceil(calls * times)))


def agreement(estimates: Array, of: int | None = None) -> float:
    """The least of `agreements`."""
    return min(agreements(estimates, of))


def agreements(estimates: Array, of: int | None = None) -> Sequence[float]:
    """How well, at least, the mean of the estimates agrees with what endless asking would give.

    Agreement is Pearson's correlation of the weights, so that parts which change places count by
    how much they differ: those that do nothing have no order that could settle.

    Args:
        estimates: (portions, parts), or (portions, parts, targets), independent of each other.
        of: how many portions there are in all, where they are not endless: agreement is then with
            the mean of these.

    Returns:
        For each target the bound that 95 % of the draws keep; 1 where all estimates are the same,
        0 with fewer than `LEAST_PORTIONS`.
    """
    portions = len(estimates)
    columns = estimates.reshape(portions, estimates.shape[1], -1).transpose(2, 0, 1)
    if portions < LEAST_PORTIONS:
        return [0.0] * len(columns)
    left = 1.0 if of is None else 1 - portions / of
    return [_of_target(one, left) for one in columns]


def _of_target(estimates: Array, left: float) -> float:
    mean = estimates.mean(axis=0)
    if np.ptp(estimates, axis=0).max() == 0:
        return 1.0
    drawn = mean + np.sqrt(left) * (_draws(len(estimates)) @ estimates - mean)
    ours = mean - mean.mean()
    theirs = drawn - drawn.mean(axis=1, keepdims=True)
    lengths = np.sqrt((ours**2).sum() * (theirs**2).sum(axis=1))
    found = np.divide(theirs @ ours, lengths, out=np.zeros(len(drawn)), where=lengths > 0)
    return float(np.quantile(found, _LOW))


@cache
def _draws(portions: int) -> Array:
    """How much each portion counts in each draw (draws, portions)."""
    random = np.random.default_rng(portions)
    drawn: Array = random.multinomial(portions, [1 / portions] * portions, _DRAWN) / portions
    return drawn
