"""Shapley values of the parts of one input: exact for few parts, by KernelSHAP for more.

Lundberg and Lee, "A Unified Approach to Interpreting Model Predictions", NeurIPS 2017; sampling
in pairs and whole sizes first: Covert and Lee, "Improving KernelSHAP", AISTATS 2021.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np

from modelry.explaining.contract import Attribution, Parts, Scores, Wish
from modelry.explaining.course import Course
from modelry.explaining.settling import TRUSTED, Asked, agreement, needed
from modelry.runtime_api.tensors import Array

EXACT_PARTS = 10
"""Up to so many parts all their 2^n subsets are asked."""
SETTLED = 0.99
"""How well the values must agree with those of endless asking for no more to be asked."""
_PORTIONS = 8
_SHARE_OF_SIZE = 0.25


def usual_calls(parts: int) -> int:
    """As many as SHAP's KernelExplainer takes by itself; all subsets where those are few."""
    return 2**parts if parts <= EXACT_PARTS else 2 * parts + 2048


def shapley(scores: Scores, parts: Parts, wish: Wish) -> Attribution:
    """The Shapley value of each part; their sum is the score less that of nothing.

    Args:
        scores: of subsets of the parts.
        parts: of the input.
        wish: bounds the calls.

    Raises:
        InvalidInput: the wish leaves too few calls.
        TimeIsUp: the time does not suffice for the subsets that are always asked.
    """
    count = parts.count
    calls = wish.bounded(usual_calls(count), min(2**count, 2 * count + 2), count)
    if count <= EXACT_PARTS and calls >= 2**count:
        wish.course.expect(2**count, 2**count)
        return _exact(scores, count)
    return _kernel(scores, count, calls, np.random.default_rng(wish.seed), wish.course)


def _exact(scores: Scores, parts: int) -> Attribution:
    numbers = np.arange(2**parts)
    subsets = (numbers[:, None] >> np.arange(parts)) & 1
    found = scores(subsets.astype(np.float64))
    sizes = subsets.sum(axis=1)
    factor = np.array(
        [
            math.factorial(size) * math.factorial(parts - size - 1) / math.factorial(parts)
            for size in range(parts)
        ]
    )
    weights = np.zeros(parts)
    for part in range(parts):
        without = numbers[subsets[:, part] == 0]
        gains = found[without | (1 << part)] - found[without]
        weights[part] = float((factor[sizes[without]] * gains).sum())
    return Attribution(weights, _told(Asked(2**parts, 2**parts, is_complete=True)))


def _kernel(
    scores: Scores, parts: int, most: int, random: np.random.Generator, course: Course
) -> Attribution:
    ends = scores(np.array([[0.0] * parts, [1.0] * parts]))
    nothing, total = float(ends[0]), float(ends[1] - ends[0])
    whole, importance, left = _whole_sizes(parts, most - 2)
    course.expect(most, 2 + len(whole))
    whole_sums = _Sums.of(whole, importance, scores(whole) - nothing, total)
    done = 2 + len(whole)
    if not left:
        return Attribution(whole_sums.solved(total), _told(Asked(done, most, is_complete=True)))
    drawing = _Drawing(left, parts, random)
    portions = [_Sums.empty(parts) for _ in range(_PORTIONS)]
    pairs = _PORTIONS * max(4, math.ceil(parts / _PORTIONS))
    agreed, is_settled = None, False
    while done + 2 * _PORTIONS <= most and not is_settled:
        count = min(pairs, (most - done) // (2 * _PORTIONS) * _PORTIONS)
        drawn = drawing.pairs(count)
        known = course.in_time(scores, drawn.reshape(-1, parts), 2 * _PORTIONS)
        is_cut = len(known) < 2 * count
        count = len(known) // 2
        if not count:
            break
        drawn, found = drawn[:count], known.reshape(count, 2) - nothing
        for at, portion in enumerate(portions):
            some = drawn[at::_PORTIONS].reshape(-1, parts)
            portion.add(some, np.ones(len(some)), found[at::_PORTIONS].reshape(-1), total)
        done += 2 * count
        agreed = agreement(np.stack(_estimates(whole_sums, portions, drawing.share, total)))
        is_settled = agreed >= SETTLED
        if is_cut:
            break
        pairs = (done - 2 - len(whole)) // (4 * _PORTIONS) * _PORTIONS  # half as many again
    if agreed is None:
        return Attribution(whole_sums.solved(total), _told(Asked(done, most, is_cut=course.is_cut)))
    if course.is_cut and agreed < TRUSTED:
        course.fell_short(done, needed(done, most, agreed, SETTLED), 1, 1)
    estimates = _estimates(whole_sums, portions, drawing.share, total)
    together = whole_sums.with_share(_Sums.together(portions), drawing.share)
    return Attribution(
        together.solved(total),
        _told(Asked(done, most, agreed, is_settled=is_settled, is_cut=course.is_cut)),
        interval=1.96 * np.std(estimates, axis=0, ddof=1) / math.sqrt(_PORTIONS),
    )


def _told(asked: Asked) -> dict[str, Any]:
    return {**asked.to_wire(), "is_exact": asked.is_complete}


def _estimates(whole: _Sums, portions: list[_Sums], share: float, total: float) -> list[Array]:
    """The weights by all that was drawn, as a mean over portions: the jackknife's pseudo-values.

    A portion's own weights would not do: with few drawn subsets those that all portions share
    decide, so that portions agree on what is wrong.
    """
    count = len(portions)
    drawn = _Sums.together(portions)
    weights = whole.with_share(drawn, share).solved(total)
    without = [whole.with_share(drawn.less(one), share).solved(total) for one in portions]
    centre = np.mean(without, axis=0)
    return [weights + (count - 1) * (centre - one) for one in without]


class _Sums:
    """Weighted least squares under the constraint that the weights add up, as its two sums.

    Args:
        squares: (parts - 1, parts - 1), of the subsets with themselves.
        products: (parts - 1,), of the subsets with what they gained.
        importance: of all subsets.
    """

    def __init__(self, squares: Array, products: Array, importance: float) -> None:
        self.squares = squares
        self.products = products
        self.importance = importance

    @classmethod
    def empty(cls, parts: int) -> _Sums:
        """Of no subsets."""
        return cls(np.zeros((parts - 1, parts - 1)), np.zeros(parts - 1), 0.0)

    @classmethod
    def of(cls, subsets: Array, importance: Array, gains: Array, total: float) -> _Sums:
        """Of these alone; see `add`."""
        made = cls.empty(subsets.shape[1])
        made.add(subsets, importance, gains, total)
        return made

    @classmethod
    def together(cls, others: list[_Sums]) -> _Sums:
        """Of all of them."""
        made = cls.empty(len(others[0].products) + 1)
        for one in others:
            made.squares += one.squares
            made.products += one.products
            made.importance += one.importance
        return made

    def less(self, other: _Sums) -> _Sums:
        """Of these without those of a part of them."""
        return _Sums(
            self.squares - other.squares,
            self.products - other.products,
            self.importance - other.importance,
        )

    def add(self, subsets: Array, importance: Array, gains: Array, total: float) -> None:
        """Count subsets (n, parts) with what they gained (n,) of `total`."""
        last = subsets[:, -1:]
        design = subsets[:, :-1] - last
        weighted = design * importance[:, None]
        self.squares += weighted.T @ design
        self.products += weighted.T @ (gains - last[:, 0] * total)
        self.importance += float(importance.sum())

    def with_share(self, drawn: _Sums, share: float) -> _Sums:
        """These and what was drawn, which then has so much importance together."""
        factor = share / drawn.importance
        return _Sums(
            self.squares + factor * drawn.squares,
            self.products + factor * drawn.products,
            self.importance + share,
        )

    def solved(self, total: float) -> Array:
        """The weights, which add up to `total`."""
        found = np.linalg.solve(self.squares, self.products)
        weights: Array = np.append(found, total - found.sum())
        return weights


def _per_size(parts: int) -> Array:
    """How much all subsets of a size together count, by size less 1."""
    sizes = np.arange(1, parts)
    per_size = (parts - 1) / (sizes * (parts - sizes))
    shares: Array = per_size / per_size.sum()
    return shares


def _whole_sizes(parts: int, calls: int) -> tuple[Array, Array, list[int]]:
    """All subsets of the smallest and largest sizes with their importance, and the sizes left.

    The first size is always there: with it the weights can be solved for. Further ones are where
    they take a quarter of the calls that are usual, or all sizes fit: drawing tells sooner.
    """
    usual = min(calls, usual_calls(parts))
    per_size = _per_size(parts)
    is_all = 2**parts - 2 <= calls
    chosen: list[Array] = []
    importance: list[Array] = []
    left = set(range(1, parts))
    for size in range(1, parts // 2 + 1):
        mirror = parts - size
        both = {size, mirror}
        count = math.comb(parts, size) * len(both)
        if size > 1 and not is_all and count > usual * _SHARE_OF_SIZE:
            break
        members = np.array(list(combinations(range(parts), size)))
        rows = np.zeros((len(members), parts))
        np.put_along_axis(rows, members, 1, axis=1)
        chosen.append(rows if size == mirror else np.concatenate([rows, 1 - rows]))
        importance.append(np.full(count, sum(per_size[one - 1] for one in both) / count))
        usual -= count
        left -= both
    return np.concatenate(chosen), np.concatenate(importance), sorted(left)


class _Drawing:
    """Draws subsets of some sizes, each with its complement; `share` is their importance."""

    def __init__(self, sizes: list[int], parts: int, random: np.random.Generator) -> None:
        odds = np.array([_per_size(parts)[size - 1] for size in sizes])
        self.share = float(odds.sum())
        self._odds = odds / self.share
        self._sizes = sizes
        self._parts = parts
        self._random = random

    def pairs(self, count: int) -> Array:
        """So many pairs (count, 2, parts)."""
        sizes = self._random.choice(self._sizes, size=count, p=self._odds)
        ranks = self._random.random((count, self._parts)).argsort(axis=1).argsort(axis=1)
        rows = (ranks < sizes[:, None]).astype(np.float64)
        return np.stack([rows, 1 - rows], axis=1)
