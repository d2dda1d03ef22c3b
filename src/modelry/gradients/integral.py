"""Integrated gradients: a score's difference between a base and an input, shared among the numbers
that change on the straight way between them.

Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks", ICML 2017. The integral is
taken with Gauss and Legendre's points, of which there are more until the shares add up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor

from modelry.domain.errors import Cancelled, InvalidInput, NotSupported
from modelry.explaining.course import Course
from modelry.gradients.twin import as_tensor
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.tensors import Array

FIRST_POINTS = 16
MOST_POINTS = 256
LEAST_POINTS = 4
GAP = 0.01
"""Of the difference in score: what may be missing in the sum."""
SMALLEST_GAP = 1e-5
NUMBERS_AT_ONCE = 2**20
"""Of what changes, in one run: what goes on between the layers takes a hundred times that."""
MOST_AT_ONCE = 64

Score = Callable[[Mapping[str, Tensor]], Tensor]
"""The target's scores (rows,) for tensors (rows, …) by name."""


@dataclass(frozen=True, slots=True)
class Way:
    """From a base to an input, in one or more rows.

    Attributes:
        base: where it begins, by tensor (rows, …), floats.
        full: where it ends, likewise.
        fixed: tensors (rows, …) that are the same all the way.
        at_once: rows that the graph takes in one run.
    """

    base: Mapping[str, Array]
    full: Mapping[str, Array]
    fixed: Mapping[str, Array]
    at_once: int = MOST_AT_ONCE

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(next(iter(self.full.values())))

    @property
    def rows_per_run(self) -> int:
        """Rows that are run at once."""
        numbers = sum(prod(one.shape[1:]) for one in self.full.values())
        return max(1, min(self.at_once, MOST_AT_ONCE, NUMBERS_AT_ONCE // max(1, numbers)))


@dataclass(frozen=True, slots=True)
class Integral:
    """What came of it.

    Attributes:
        shares: of each number, by tensor (rows, …).
        start: the scores of the base (rows,).
        end: those of the input (rows,).
        points: on the way, for each row.
        gradients: how many were computed in all.
    """

    shares: Mapping[str, Array]
    start: Array
    end: Array
    points: int
    gradients: int

    @property
    def difference(self) -> float:
        """What the shares should add up to, on average over the rows."""
        return float((self.end - self.start).mean())

    @property
    def sum(self) -> float:
        """What they add up to."""
        return sum(float(one.sum()) for one in self.shares.values()) / len(self.end)

    @property
    def gap(self) -> float:
        """What is missing."""
        return abs(self.sum - self.difference)

    @property
    def is_complete(self) -> bool:
        """Whether so little is missing that the shares can be taken for the whole."""
        return self.gap <= self._allowed

    @property
    def next_points(self) -> int:
        """How many are likely to be enough: at least twice as many.

        Where a score bends, what is missing shrinks with the square of the points at best, so that
        those that are left out here would not have been enough.
        """
        times = max(2.0, math.sqrt(self.gap / self._allowed))
        doublings = math.ceil(math.log2(min(times, MOST_POINTS)))
        return self.points << doublings

    @property
    def _allowed(self) -> float:
        return max(GAP * abs(self.difference), SMALLEST_GAP * self._size)

    @property
    def _size(self) -> float:
        return max(1.0, float(np.abs(self.end).max()), float(np.abs(self.start).max()))


def integrated(
    score: Score, way: Way, calls: int | None, stop: StopSignal, course: Course | None = None
) -> Integral:
    """Share the difference in score.

    Args:
        score: of tensors.
        way: along which.
        calls: gradients that may be computed; None for as many as it takes, within reason.
        stop: ends it early.
        course: has no more points taken where there is no time for them; they are its calls.

    Raises:
        InvalidInput: so few gradients tell nothing.
        NotSupported: the gradients are no numbers.
        Cancelled: `stop` was raised.
    """
    rows = way.rows
    if calls is not None and calls < LEAST_POINTS * rows:
        raise InvalidInput(
            f"calls is {calls}; integrated gradients need at least {LEAST_POINTS * rows} here "
            f"({LEAST_POINTS} for each row of the base).",
            param="calls",
        )
    start, end = (_scores(score, way, one, stop) for one in (0.0, 1.0))
    points = FIRST_POINTS if calls is None else min(FIRST_POINTS, calls // rows)
    used = 0
    while True:
        shares = _shares(score, way, points, stop)
        used += points * rows
        if course is not None:
            course.asked(points * rows)
        found = Integral(shares, start, end, points, used)
        most = MOST_POINTS if calls is None else min(MOST_POINTS, (calls - used) // rows)
        if found.is_complete or points * 2 > most:
            return found
        least, points = points * 2, found.next_points
        while points > least and (points > most or not _has_time(course, points * rows)):
            points //= 2
        if course is not None and not _has_time(course, points * rows):
            course.is_cut = True
            return found


def _has_time(course: Course | None, gradients: int) -> bool:
    return course is None or course.fits(gradients)


def _scores(score: Score, way: Way, at: float, stop: StopSignal) -> Array:
    found = []
    with torch.no_grad():
        for start in range(0, way.rows, way.rows_per_run):
            _check(stop)
            rows = np.arange(start, min(start + way.rows_per_run, way.rows))
            held = _held(way, rows, np.full(len(rows), at))
            found.append(score(held).to(torch.float64).numpy())
    scores: Array = np.concatenate(found)
    return scores


def _shares(score: Score, way: Way, points: int, stop: StopSignal) -> dict[str, Array]:
    nodes, weights = np.polynomial.legendre.leggauss(points)
    places, weights = (nodes + 1) / 2, weights / 2
    which = np.repeat(np.arange(way.rows), points)
    steps = np.tile(np.arange(points), way.rows)
    total = {name: np.zeros(one.shape) for name, one in way.full.items()}
    for start in range(0, len(which), way.rows_per_run):
        _check(stop)
        chosen = slice(start, start + way.rows_per_run)
        rows, step = which[chosen], steps[chosen]
        for name, gradient in _gradients(score, way, rows, places[step]).items():
            weighted = gradient * weights[step].reshape(-1, *[1] * (gradient.ndim - 1))
            np.add.at(total[name], rows, weighted)
    return {name: (way.full[name] - way.base[name]) * one for name, one in total.items()}


def _gradients(score: Score, way: Way, rows: Array, places: Array) -> dict[str, Array]:
    held = _held(way, rows, places)
    moving = {name: held[name].requires_grad_() for name in way.full}
    total = score(held).sum()
    if not total.requires_grad:
        return {name: np.zeros(tuple(one.shape)) for name, one in moving.items()}
    found: Sequence[Tensor | None] = torch.autograd.grad(
        total, list(moving.values()), allow_unused=True
    )
    gradients = {
        name: np.zeros(tuple(one.shape)) if gradient is None else gradient.double().numpy()
        for (name, one), gradient in zip(moving.items(), found, strict=True)
    }
    if not all(np.isfinite(one).all() for one in gradients.values()):
        raise NotSupported(
            "The gradients of this version are no finite numbers for this input; use a method "
            "that asks the engine alone.",
            param="method",
        )
    return gradients


def _held(way: Way, rows: Array, places: Array) -> dict[str, Tensor]:
    held = {name: as_tensor(one[rows]) for name, one in way.fixed.items()}
    for name, full in way.full.items():
        base = way.base[name][rows]
        shape = (-1, *[1] * (full.ndim - 1))
        moved = base + (full[rows] - base) * places.reshape(shape).astype(full.dtype)
        held[name] = as_tensor(moved)
    return held


def _check(stop: StopSignal) -> None:
    if stop.is_set():
        raise Cancelled("The explanation was stopped.")
