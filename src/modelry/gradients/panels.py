"""Simpson's rule on ways that are cut into panels, where every point stays a point of the answer.

A panel has points at its begin, middle and end. Cut in two it keeps all three, and gets two more:
so what was computed before counts in each later answer, and points lie close where shares bend.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from modelry.runtime_api.tensors import Array

POINTS = 3
"""Of one panel alone."""
NARROWEST = 2.0**-12
"""Of the whole way; what is not told apart by then is a step, which no gradient tells of."""
LEAST_CUT = 4
"""Panels at once, if there are as many: few points in one run take as long as some more."""
_WORTH_CUTTING = 0.05
"""Of how wrong the worst panel is."""
_SIMPSON = np.array([1, 4, 1]) / 6
_BEND = np.array([-1, 2, -1]) / 12
"""By how much Simpson's rule is above the trapezoids of the same points."""


@dataclass(slots=True)
class Points:
    """Places on the ways, and what was found there.

    Attributes:
        rows: of which way each is (n,).
        places: on it, from 0 to 1 (n,).
        scores: there (n,).
        shares: gradients times what changes, in as much detail as is kept, by tensor (n, …).
    """

    rows: Array
    places: Array
    scores: Array = field(default_factory=lambda: np.empty(0))
    shares: dict[str, Array] = field(default_factory=dict)

    def add(self, scores: Array, shares: Mapping[str, Array]) -> None:
        """What was found at the next points."""
        self.scores = np.concatenate([self.scores, scores])
        self.shares = {
            name: np.concatenate([self.shares[name], one]) if name in self.shares else one
            for name, one in shares.items()
        }

    @property
    def slopes(self) -> Array:
        """How fast scores change there (n,)."""
        slopes = np.zeros(len(self.places))
        for one in self.shares.values():
            slopes += one.reshape(len(one), -1).sum(axis=1)
        return slopes


class Panels:
    """The ways of several rows, cut alike to begin with.

    Args:
        rows: how many ways there are.
        each: panels of each.
    """

    def __init__(self, rows: int, each: int) -> None:
        count = 2 * each + 1
        self.points = Points(
            np.repeat(np.arange(rows), count), np.tile(np.linspace(0, 1, count), rows)
        )
        begins = (np.arange(rows)[:, None] * count + np.arange(0, count - 1, 2)).reshape(-1)
        self._corners = begins[:, None] + np.arange(POINTS)
        self.rows = rows

    @property
    def new(self) -> slice:
        """The points of which nothing is known yet."""
        return slice(len(self.points.scores), len(self.points.places))

    def ends(self) -> tuple[Array, Array]:
        """The scores at both ends of each way (rows,)."""
        points = self.points
        found = []
        for place in (0.0, 1.0):
            at = np.flatnonzero(points.places == place)
            scores = np.empty(self.rows)
            scores[points.rows[at]] = points.scores[at]
            found.append(scores)
        return found[0], found[1]

    def shares(self) -> dict[str, Array]:
        """Of each number, by tensor (rows, …): the integrals."""
        weights = self._weights(_SIMPSON)
        return {name: self._by_row(one, weights) for name, one in self.points.shares.items()}

    def bend(self) -> float:
        """By how much the mean shares are other ones by trapezoids, in all numbers together."""
        weights = self._weights(_BEND) / self.rows
        shares = self.points.shares.values()
        return float(sum(np.abs(np.tensordot(weights, one, 1)).sum() for one in shares))

    def worst(self, most: int) -> Array:
        """The panels to be cut next, at most so many: those that are farthest from right.

        Half of that is how much shares bend within, and half by how much a panel's slopes miss the
        difference in score between its ends.
        """
        wide = self._widths >= 2 * NARROWEST
        wrong = _share(self._bends()) + _share(self._gaps())
        order = np.argsort(-wrong, kind="stable")
        order = order[wide[order] & (wrong[order] > _WORTH_CUTTING * wrong.max())]
        found: Array = order[: min(most, max(LEAST_CUT, len(wide) // 4))]
        return found

    def cut(self, chosen: Array) -> None:
        """Cut panels in two, with a new point in the middle of each."""
        points, corners = self.points, self._corners[chosen]
        first = len(points.places) + np.arange(len(chosen))
        second = first + len(chosen)
        places = points.places[corners]
        points.rows = np.concatenate([points.rows, *[points.rows[corners[:, 0]]] * 2])
        points.places = np.concatenate(
            [points.places, places[:, :2].mean(axis=1), places[:, 1:].mean(axis=1)]
        )
        begin, middle, end = corners.T
        halves = [np.stack([begin, first, middle], 1), np.stack([middle, second, end], 1)]
        self._corners = np.concatenate([np.delete(self._corners, chosen, axis=0), *halves])

    @property
    def _widths(self) -> Array:
        ends = self.points.places[self._corners]
        widths: Array = ends[:, 2] - ends[:, 0]
        return widths

    def _weights(self, rule: Array) -> Array:
        weights = np.zeros(len(self.points.places))
        np.add.at(weights, self._corners, self._widths[:, None] * rule)
        return weights

    def _by_row(self, shares: Array, weights: Array) -> Array:
        weighted = shares * weights.reshape(-1, *[1] * (shares.ndim - 1))
        total = np.zeros((self.rows, *shares.shape[1:]))
        np.add.at(total, self.points.rows, weighted)
        return total

    def _bends(self) -> Array:
        total = np.zeros(len(self._corners))
        for one in self.points.shares.values():
            bent = np.tensordot(one[self._corners], _BEND, ([1], [0]))
            total += np.abs(bent).reshape(len(bent), -1).sum(axis=1)
        return total * self._widths

    def _gaps(self) -> Array:
        points = self.points
        risen = points.scores[self._corners[:, 2]] - points.scores[self._corners[:, 0]]
        told = points.slopes[self._corners] @ _SIMPSON * self._widths
        gaps: Array = np.abs(risen - told)
        return gaps


def _share(values: Array) -> Array:
    total = float(values.sum())
    return values / total if total > 0 else values
