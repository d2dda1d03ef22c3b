"""RISE: what the score is on average while a cell of the image can be seen, behind random masks.

Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models",
BMVC 2018.
"""

from __future__ import annotations

import numpy as np

from modelry.explaining.contract import Attribution, Scores, Wish
from modelry.explaining.images import ImageParts
from modelry.runtime_api.tensors import Array

USUAL_CALLS = 1000
MASK_CELLS = 5
KEPT = 0.5
_BLOCK = 128
_LEAST_BLOCKS = 4
_AGREED = 0.95
"""How well two halves of the masks must agree (Pearson) for no more to be needed."""


def rise(scores: Scores, parts: ImageParts, wish: Wish) -> Attribution:
    """The mean score while a cell can be seen, less the mean of all masks.

    Raises:
        InvalidInput: the wish leaves too few calls.
    """
    calls = wish.bounded(USUAL_CALLS, 2 * _BLOCK, parts.count)
    random = np.random.default_rng(wish.seed)
    halves = [_Means(parts.count), _Means(parts.count)]
    done = 0
    while done < calls:
        block = min(_BLOCK, calls - done)
        masks = _masks(parts.grid, block, random)
        halves[(done // _BLOCK) % 2].add(masks, scores(masks))
        done += block
        if done >= _LEAST_BLOCKS * _BLOCK and _agree(*halves):
            break
    joined = halves[0].joined(halves[1])
    told = {"calls": done, "kept": KEPT, "mask_cells": MASK_CELLS}
    return Attribution(joined.weights(), told, interval=joined.half_widths())


class _Means:
    """Means of scores, weighted by how well each cell could be seen."""

    def __init__(self, parts: int) -> None:
        self.seen = np.full(parts, 1e-9)
        self.sums = np.zeros(parts)
        self.squares = np.zeros(parts)
        self.count = 0
        self.total = 0.0

    def add(self, masks: Array, found: Array) -> None:
        """Count masks (n, parts) with their scores (n,)."""
        self.seen += masks.sum(axis=0)
        self.sums += found @ masks
        self.squares += found**2 @ masks
        self.count += len(found)
        self.total += float(found.sum())

    def joined(self, other: _Means) -> _Means:
        """Both together."""
        both = _Means(len(self.seen))
        for name, value in vars(self).items():
            setattr(both, name, value + getattr(other, name))
        return both

    def weights(self) -> Array:
        """Per cell, less the mean of all."""
        weights: Array = self.sums / self.seen - self.total / self.count
        return weights

    def half_widths(self) -> Array:
        """Of the intervals of the weights, at 95 %."""
        variance = np.maximum(0, self.squares / self.seen - (self.sums / self.seen) ** 2)
        half: Array = 1.96 * np.sqrt(variance / np.maximum(self.seen, 1))
        return half


def _agree(first: _Means, second: _Means) -> bool:
    ours, theirs = first.weights(), second.weights()
    if ours.std() == 0 or theirs.std() == 0:
        return True
    return float(np.corrcoef(ours, theirs)[0, 1]) >= _AGREED


def _masks(grid: tuple[int, int], count: int, random: np.random.Generator) -> Array:
    """Random smooth masks (count, cells): coarse ones, shifted by a part of a coarse cell."""
    coarse = random.random((count, MASK_CELLS + 1, MASK_CELLS + 1)) < KEPT
    shift = random.random((2, count))
    rows, columns = (_between(size, at) for size, at in zip(grid, shift, strict=True))
    masks: Array = rows @ coarse.astype(np.float64) @ columns.transpose(0, 2, 1)
    return masks.reshape(count, -1)


def _between(size: int, shift: Array) -> Array:
    """Linear weights (n, size, MASK_CELLS + 1) of a coarse axis on a shifted fine one."""
    places = (np.arange(size) + 0.5) / size * MASK_CELLS
    at = places[None, :] + shift[:, None] - 0.5
    distance = np.abs(at[:, :, None] - np.arange(MASK_CELLS + 1))
    weights = np.maximum(0, 1 - distance)
    found: Array = weights / weights.sum(axis=2, keepdims=True)
    return found
