"""RISE: what the score is on average while a cell of the image can be seen, behind random masks.

Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models",
BMVC 2018. With several targets, such as the objects of a detection, all share the same masks:
Petsiuk et al., "Black-box Explanation of Object Detectors via Saliency Maps", CVPR 2021 (D-RISE).
"""

from __future__ import annotations

import numpy as np

from modelry.explaining.contract import Attribution, Scores, Wish
from modelry.explaining.course import TimeIsUp
from modelry.explaining.images import ImageParts
from modelry.explaining.settling import TRUSTED, Asked, agreement, agreements, needed
from modelry.explaining.smoothing import smoothed
from modelry.runtime_api.tensors import Array

USUAL_CALLS = 1000
KEPT = (0.5, 0.75, 0.9)
"""The share of the image that masks keep: more, where the target is never seen behind masks."""
SETTLED = 0.95
"""How well the weights must agree with those of endless asking for no more to be asked."""
_UNSEEN = "No mask left enough to be seen for the answer to be found again."
_BLOCK = 128
_TIMED_BLOCK = 32
_PORTIONS_OF_BLOCK = 4
_PORTIONS = 16
_LEAST_BLOCKS = 2
_NOTHING = 1e-12
"""Of a mean, what rounding leaves."""


def rise(scores: Scores, parts: ImageParts, wish: Wish) -> Attribution:
    """The mean score while a cell can be seen, less the mean of all masks.

    Raises:
        InvalidInput: the wish leaves too few calls.
        TimeIsUp: the time suffices for no mask.
    """
    most = wish.bounded(USUAL_CALLS, _LEAST_BLOCKS * _BLOCK, parts.count)
    wish.course.expect(most, 1 + _TIMED_BLOCK)
    random = np.random.default_rng(wish.seed)
    whole = scores(np.ones((1, parts.count)))
    shares = iter(KEPT)
    kept = next(shares)
    means = _Means(parts.count, whole.size)
    done, is_settled = 1, False
    agreed: float | None = None
    while done < most and not is_settled:
        masks = _masks(parts.grid, min(_BLOCK, most - done), random, parts.mask_cells, kept)
        # the whole image's score is 0 here: a model that always says the same gives zeros
        found = wish.course.in_time(scores, masks, _TIMED_BLOCK)
        if len(found):
            means.add(masks[: len(found)], (found - whole).reshape(len(found), -1))
            done += len(found)
        if len(found) < len(masks):
            break
        if means.count < _LEAST_BLOCKS * _BLOCK - 1:
            continue
        if not means.is_seen and done < most and (more := next(shares, None)) is not None:
            kept, means = more, _Means(parts.count, whole.size)
            continue
        agreed = agreement(means.estimates()) if means.is_seen else 0.0
        is_settled = agreed >= SETTLED
    if not means.count:
        raise TimeIsUp
    if wish.course.is_cut:
        each = agreements(means.estimates()) if means.is_seen else [0.0] * whole.size
        agreed = min(each)
        if agreed < TRUSTED:
            unsure = sum(one < TRUSTED for one in each)
            in_all = needed(done, most, agreed, SETTLED)
            wish.course.fell_short(done, in_all, unsure, whole.size)
    asked = Asked(done, most, agreed, is_settled=is_settled, is_cut=wish.course.is_cut)
    shape = (parts.count, *whole.shape[1:])
    return Attribution(
        means.weights().reshape(shape),
        {**asked.to_wire(), "kept": kept, "mask_cells": parts.mask_cells},
        interval=means.half_widths().reshape(shape),
        remark="" if means.is_seen else _UNSEEN,
    )


class _Means:
    """Means of scores, weighted by how well each cell could be seen, portion by portion."""

    def __init__(self, parts: int, targets: int) -> None:
        self._seen = np.zeros((_PORTIONS, parts))
        self._sums = np.zeros((_PORTIONS, parts, targets))
        self._squares = np.zeros((parts, targets))
        self._counts = np.zeros(_PORTIONS)
        self._totals = np.zeros((_PORTIONS, targets))
        self._next = 0

    def add(self, masks: Array, found: Array) -> None:
        """Count masks (n, parts) with their scores (n, targets)."""
        for some in np.array_split(np.arange(len(masks)), min(len(masks), _PORTIONS_OF_BLOCK)):
            at = self._next % _PORTIONS
            self._seen[at] += masks[some].sum(axis=0)
            self._sums[at] += masks[some].T @ found[some]
            self._counts[at] += len(some)
            self._totals[at] += found[some].sum(axis=0)
            self._next += 1
        self._squares += masks.T @ found**2

    @property
    def count(self) -> int:
        """How many masks were counted."""
        return int(self._counts.sum())

    @property
    def is_seen(self) -> bool:
        """Whether masks made a difference to each target, or none at all.

        An object that no mask lets the model see has the same score behind all of them, which is
        not that of the whole image.
        """
        used = self._counts > 0
        means = self._totals[used] / self._counts[used][:, None]
        is_same = np.ptp(means, axis=0) <= _NOTHING * np.abs(means).max(axis=0)
        return bool((~is_same | (means == 0).all(axis=0)).all())

    def estimates(self) -> Array:
        """The weights by each portion (portions, parts, targets)."""
        used = self._counts > 0
        counts = self._counts[used][:, None, None]
        seen = np.maximum(self._seen[used], 1e-9)[:, :, None]
        found: Array = self._sums[used] / seen - self._totals[used][:, None] / counts
        return found

    def weights(self) -> Array:
        """Per cell and target, less the mean of all masks."""
        means = self._means()
        weights = means - self._totals.sum(axis=0) / max(1.0, self._counts.sum())
        cleaned: Array = np.where(np.abs(weights) > _NOTHING * np.abs(means), weights, 0.0)
        return cleaned

    def half_widths(self) -> Array:
        """Of the intervals of the weights, at 95 %."""
        seen = np.maximum(self._seen.sum(axis=0), 1e-9)[:, None]
        variance = np.maximum(0, self._squares / seen - self._means() ** 2)
        half: Array = 1.96 * np.sqrt(variance / np.maximum(seen, 1))
        return half

    def _means(self) -> Array:
        seen = np.maximum(self._seen.sum(axis=0), 1e-9)[:, None]
        means: Array = self._sums.sum(axis=0) / seen
        return means


def _masks(
    grid: tuple[int, int], count: int, random: np.random.Generator, cells: int, kept: float
) -> Array:
    """Random smooth masks (count, parts)."""
    coarse = random.random((count, cells + 1, cells + 1)) < kept
    return smoothed(coarse.astype(np.float64), grid, random)
