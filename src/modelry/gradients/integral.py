"""Integrated gradients: a score's difference between a base and an input, shared among the numbers
that change on the straight way between them.

Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks", ICML 2017. The integral is
taken by Simpson's rule, on panels that are cut in two until the shares add up; see `panels`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor

from modelry.domain.errors import Cancelled, InvalidInput, NotSupported
from modelry.explaining.course import Course
from modelry.gradients.panels import POINTS, Panels
from modelry.gradients.twin import as_tensor
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.tensors import Array

FIRST_PANELS = (4, 2, 1)
"""Of each row, as many as may be."""
MOST_POINTS = 256
"""Of each row, on average."""
GAP = 0.01
"""Of the difference in score: what may be missing in the sum."""
BEND = 0.02
"""Of all shares: by how much they may differ from those by trapezoids. A sum can be right by chance
where few points were asked for; its terms are not."""
SMALLEST_GAP = 1e-5
NUMBERS_AT_ONCE = 2**20
"""Of what changes, in one run: what goes on between the layers takes a hundred times that."""
MOST_AT_ONCE = 64

Score = Callable[[Mapping[str, Tensor]], Tensor]
"""The target's scores (rows,) for tensors (rows, …) by name."""
Kept = Callable[[Mapping[str, Array]], Mapping[str, Array]]
"""What is kept of shares by tensor (n, …): sums of them, with n as it was."""


@dataclass(frozen=True, slots=True)
class Way:
    """From a base to an input, in one or more rows.

    Attributes:
        base: where it begins, by tensor (rows, …), floats.
        full: where it ends, likewise.
        fixed: tensors (rows, …) that are the same all the way.
        at_once: rows that the graph takes in one run.
        kept: of the shares at each point, as those of all points are held; all of them by default.
    """

    base: Mapping[str, Array]
    full: Mapping[str, Array]
    fixed: Mapping[str, Array]
    at_once: int = MOST_AT_ONCE
    kept: Kept = dict

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
        shares: of each number that is kept, by tensor (rows, …).
        start: the scores of the base (rows,).
        end: those of the input (rows,).
        bend: by how much the mean shares differ from those by trapezoids, in all.
        gradients: how many were computed; each is a point of the answer.
    """

    shares: Mapping[str, Array]
    start: Array
    end: Array
    bend: float
    gradients: int

    @property
    def points(self) -> int:
        """On the way of a row, on average, rounded up."""
        return -(-self.gradients // len(self.end))

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
        return self.gap <= max(GAP * abs(self.difference), self._smallest)

    @property
    def is_settled(self) -> bool:
        """Whether it is complete, and each share about what it will be."""
        total = sum(float(np.abs(one.mean(axis=0)).sum()) for one in self.shares.values())
        return self.is_complete and self.bend <= max(BEND * total, self._smallest)

    @property
    def _smallest(self) -> float:
        size = max(1.0, float(np.abs(self.end).max()), float(np.abs(self.start).max()))
        return SMALLEST_GAP * size


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
    if calls is not None and calls < POINTS * rows:
        raise InvalidInput(
            f"calls is {calls}; integrated gradients need at least {POINTS * rows} here "
            f"({POINTS} for each row of the base).",
            param="calls",
        )
    most = MOST_POINTS * rows if calls is None else min(calls, MOST_POINTS * rows)
    panels = Panels(rows, next(one for one in FIRST_PANELS if (2 * one + 1) * rows <= most))
    while True:
        asked = _ask(score, way, panels, stop)
        if course is not None:
            course.asked(asked)
        used = len(panels.points.scores)
        found = Integral(panels.shares(), *panels.ends(), panels.bend(), used)
        if found.is_settled:
            return found
        chosen = panels.worst((most - used) // 2)
        if not len(chosen):
            return found
        while len(chosen) and course is not None and not course.fits(2 * len(chosen)):
            chosen = chosen[: len(chosen) // 2]
        if not len(chosen):
            assert course is not None
            course.is_cut = True
            return found
        panels.cut(chosen)


def _ask(score: Score, way: Way, panels: Panels, stop: StopSignal) -> int:
    """What is to be found at new points; gives their number."""
    new = panels.new
    rows, places = panels.points.rows[new], panels.points.places[new]
    scores, shares = [], []
    for chosen in np.array_split(np.arange(len(rows)), -(-len(rows) // way.rows_per_run)):
        if stop.is_set():
            raise Cancelled("The explanation was stopped.")
        some_scores, some_shares = _shares(score, way, rows[chosen], places[chosen])
        scores.append(some_scores)
        shares.append(some_shares)
    together = {name: np.concatenate([one[name] for one in shares]) for name in shares[0]}
    panels.points.add(np.concatenate(scores), together)
    return len(rows)


def _shares(
    score: Score, way: Way, rows: Array, places: Array
) -> tuple[Array, Mapping[str, Array]]:
    """Scores at places (n,), and gradients times what changes, as far as they are kept."""
    held = _held(way, rows, places)
    moving = {name: held[name].requires_grad_() for name in way.full}
    scores = score(held)
    found: Sequence[Tensor | None] = [None] * len(moving)
    if scores.requires_grad:
        found = torch.autograd.grad(scores.sum(), list(moving.values()), allow_unused=True)
    shares = {}
    for name, gradient in zip(moving, found, strict=True):
        changes = (way.full[name] - way.base[name])[rows]
        shares[name] = np.zeros(changes.shape) if gradient is None else changes * gradient.numpy()
        if not np.isfinite(shares[name]).all():
            raise NotSupported(
                "The gradients of this version are no finite numbers for this input; use a method "
                "that asks the engine alone.",
                param="method",
            )
    kept = {name: np.asarray(one, np.float64) for name, one in way.kept(shares).items()}
    return scores.detach().double().numpy(), kept


def _held(way: Way, rows: Array, places: Array) -> dict[str, Tensor]:
    held = {name: as_tensor(one[rows]) for name, one in way.fixed.items()}
    for name, full in way.full.items():
        base = way.base[name][rows]
        shape = (-1, *[1] * (full.ndim - 1))
        moved = base + (full[rows] - base) * places.reshape(shape).astype(full.dtype)
        held[name] = as_tensor(moved)
    return held
