"""How one tree grows: questions by histograms of gradients over binned cells.

As gradient boosting does it since XGBoost (Chen and Guestrin, 2016) and LightGBM (Ke et al., 2017),
level by level; missing cells go to the side where they gain more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from modelry.training.recipes.tabular.trees import LEAF, Cells, Floats, Tree

Integers = npt.NDArray[np.int64]
BINS = 256
"""Of each column; the last one is for missing cells."""
MISSING_BIN = BINS - 1
LEAST_CURVATURE = 1e-3
"""Of a leaf: the sum of second derivatives that its answer is divided by."""
LEAST_GAIN = 1e-7
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class Binned:
    """Cells as numbers of bins, and where the bins of each column end."""

    places: npt.NDArray[np.int32]
    """(n, columns): column x BINS + bin, so that one count covers all columns."""
    cuts: list[npt.NDArray[np.float32]]

    @classmethod
    def of(cls, cells: Cells) -> Binned:
        """Cut every column into bins of about as many rows each, at most 255."""
        places = np.empty(cells.shape, np.int32)
        cuts = []
        for at in range(cells.shape[1]):
            column = cells[:, at]
            missing = np.isnan(column)
            ends = _cuts(column[~missing])
            places[:, at] = np.searchsorted(ends, column, side="left") + at * BINS
            places[missing, at] = MISSING_BIN + at * BINS
            cuts.append(ends)
        return cls(places, cuts)


def _cuts(values: Cells) -> npt.NDArray[np.float32]:
    """Thresholds between different values; a cell up to a threshold lies left of it."""
    distinct = np.unique(values)
    if len(distinct) > MISSING_BIN:
        shares = np.linspace(0, 1, MISSING_BIN + 1)[1:-1]
        distinct = np.unique(np.quantile(values, shares, method="lower"))
    lower, upper = distinct[:-1], distinct[1:]
    middle = (lower / 2 + upper / 2).astype(np.float32)
    return np.where((lower <= middle) & (middle < upper), middle, lower)  # neighbours: no middle


@dataclass(frozen=True, slots=True)
class Growth:
    """How trees may grow; see the recipe's parameters."""

    depth: int
    least_rows: int
    leaf_penalty: float
    rate: float


@dataclass(slots=True)
class _Nodes:
    """The nodes of a growing tree."""

    column: list[int]
    threshold: list[float]
    missing_left: list[bool]
    left: list[int]
    right: list[int]

    @classmethod
    def root(cls) -> _Nodes:
        return cls([LEAF], [0.0], [False], [0], [0])

    def split(self, node: int, column: int, threshold: float, *, missing_left: bool) -> None:
        self.column[node], self.threshold[node] = column, threshold
        self.missing_left[node] = missing_left
        self.left[node], self.right[node] = len(self.column), len(self.column) + 1
        for _ in range(2):
            self.column.append(LEAF)
            self.threshold.append(0.0)
            self.missing_left.append(False)
            self.left.append(0)
            self.right.append(0)


@dataclass(frozen=True, slots=True)
class Slopes:
    """First and second derivatives of the loss by each row's answer, (n,) each."""

    first: Floats
    second: Floats


def grow(binned: Binned, slopes: Slopes, rows: Integers, columns: Integers, growth: Growth) -> Tree:
    """Grow one tree down the slope of a loss.

    Args:
        binned: the cells of all rows.
        slopes: of all rows.
        rows: those that it is grown on.
        columns: those that it may ask about.
        growth: its bounds.
    """
    growing = _Growing(
        binned=binned,
        places=binned.places[np.ix_(rows, columns)],
        slope=slopes.first[rows],
        curvature=slopes.second[rows],
        columns=columns,
        growth=growth,
        node=np.zeros(len(rows), np.int32),
    )
    level = [0]
    for _ in range(growth.depth):
        if not level:
            break
        level = growing.split_level(level)
    return growing.tree()


@dataclass(slots=True)
class _Growing:
    """A tree while it grows; `node` is where each of its rows is."""

    binned: Binned
    places: npt.NDArray[np.int32]
    slope: Floats
    curvature: Floats
    columns: Integers
    growth: Growth
    node: npt.NDArray[np.int32]
    nodes: _Nodes = field(default_factory=_Nodes.root)

    def split_level(self, level: list[int]) -> list[int]:
        """Split the nodes of a level where it gains something; gives those of the next one."""
        gains, best = _best_splits(self._sums(level), self.growth)
        following: list[int] = []
        for at, parent in enumerate(level):
            which, cut, missing_left = best[at]
            column = int(self.columns[which])
            if not gains[at] > LEAST_GAIN:
                continue
            cuts = self.binned.cuts[column]
            # beyond the last cut lie the missing cells alone
            threshold = float(cuts[cut]) if cut < len(cuts) else LARGEST
            self.nodes.split(parent, column, threshold, missing_left=missing_left)
            here = self.node == parent
            bins = self.places[here, which] - column * BINS
            goes_left = np.where(bins == MISSING_BIN, missing_left, bins <= cut)
            children = self.nodes.left[parent], self.nodes.right[parent]
            self.node[here] = np.where(goes_left, *children)
            following += children
        return following

    def _sums(self, level: list[int]) -> list[Floats]:
        """Slopes, curvatures and rows in each bin: (nodes of the level, columns, bins) each."""
        order = np.full(len(self.nodes.column), -1, np.int32)
        order[level] = np.arange(len(level), dtype=np.int32)
        at = order[self.node]
        inside = at >= 0
        width = len(self.binned.cuts) * BINS
        keys = (self.places[inside] + (at[inside] * width)[:, None]).reshape(-1)
        each = self.places.shape[1]
        return [
            np.bincount(keys, np.repeat(weights[inside], each), len(level) * width)
            .reshape(len(level), -1, BINS)[:, self.columns]
            .astype(np.float64)
            for weights in (self.slope, self.curvature, np.ones(len(self.node)))
        ]

    def tree(self) -> Tree:
        """The tree as it is now."""
        nodes = self.nodes
        column = np.array(nodes.column, np.int32)
        total = np.bincount(self.node, self.slope, len(column))
        curved = np.bincount(self.node, self.curvature, len(column)) + self.growth.leaf_penalty
        value = -self.growth.rate * total / np.maximum(curved, LEAST_CURVATURE)
        value[column != LEAF] = 0.0
        return Tree(
            column,
            np.array(nodes.threshold, np.float32),
            np.array(nodes.missing_left, np.bool_),
            np.array(nodes.left, np.int32),
            np.array(nodes.right, np.int32),
            value.astype(np.float32),
        )


def _best_splits(
    sums: Sequence[Floats], growth: Growth
) -> tuple[Floats, list[tuple[int, int, bool]]]:
    """Per node the largest gain, and its column, bin, and where missing cells go."""
    whole = [one.sum(axis=2) for one in sums]
    parent = _score(whole[0], whole[1], growth.leaf_penalty)[..., None]
    ways = []
    for missing_left in (False, True):
        left = [np.cumsum(one[..., :MISSING_BIN], axis=2) for one in sums]
        if missing_left:
            left = [part + one[..., MISSING_BIN:] for part, one in zip(left, sums, strict=True)]
        right = [total[..., None] - part for total, part in zip(whole, left, strict=True)]
        gain = (
            _score(left[0], left[1], growth.leaf_penalty)
            + _score(right[0], right[1], growth.leaf_penalty)
            - parent
        )
        fits = (left[2] >= growth.least_rows) & (right[2] >= growth.least_rows)
        fits &= (left[1] > LEAST_CURVATURE) & (right[1] > LEAST_CURVATURE)
        ways.append(np.where(fits, gain, -np.inf))
    # of equal gains the first counts: missing cells go right
    gains = np.stack(ways, axis=1).reshape(len(whole[0]), -1)
    chosen = gains.argmax(axis=1)
    shape = (2, sums[0].shape[1], MISSING_BIN)
    found = [tuple(map(int, np.unravel_index(one, shape))) for one in chosen]
    return gains[np.arange(len(gains)), chosen], [(c, b, bool(way)) for way, c, b in found]


def _score(slope: Any, curvature: Any, penalty: float) -> Any:
    return slope**2 / (curvature + penalty + 1e-12)
