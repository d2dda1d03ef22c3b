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
from modelry.runtime_api.tensors import Array

EXACT_PARTS = 10
"""Up to so many parts all their 2^n subsets are asked."""


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
    """
    count = parts.count
    calls = wish.bounded(usual_calls(count), min(2**count, 2 * count + 2), count)
    if count <= EXACT_PARTS and calls >= 2**count:
        return _exact(scores, count)
    return _kernel(scores, count, calls, np.random.default_rng(wish.seed))


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
    return Attribution(weights, {"calls": 2**parts, "is_exact": True})


def _kernel(scores: Scores, parts: int, calls: int, random: np.random.Generator) -> Attribution:
    subsets, importance, is_whole = _subsets(parts, calls - 2, random)
    ends = scores(np.array([[0.0] * parts, [1.0] * parts]))
    nothing, everything = float(ends[0]), float(ends[1])
    found = scores(subsets)
    weights = _solved(subsets, importance, found - nothing, everything - nothing)
    told: dict[str, Any] = {"calls": len(subsets) + 2, "is_exact": is_whole}
    return Attribution(weights, told, interval=_interval(subsets, importance, found, ends))


def _subsets(parts: int, calls: int, random: np.random.Generator) -> tuple[Array, Array, bool]:
    """Subsets with their weights: whole sizes while the calls last, then samples in pairs."""
    sizes = np.arange(1, parts)
    per_size = (parts - 1) / (sizes * (parts - sizes))
    per_size /= per_size.sum()
    chosen: list[Array] = []
    importance: list[Array] = []
    left = set(sizes.tolist())
    for size in range(1, parts // 2 + 1):
        mirror = parts - size
        both = {size, mirror}
        count = math.comb(parts, size) * len(both)
        if count > calls:
            break
        weight = sum(per_size[one - 1] for one in both) / count
        rows = np.zeros((math.comb(parts, size), parts))
        for at, members in enumerate(combinations(range(parts), size)):
            rows[at, list(members)] = 1
        block = rows if size == mirror else np.concatenate([rows, 1 - rows])
        chosen.append(block)
        importance.append(np.full(count, weight))
        calls -= count
        left -= both
    if left and calls >= 2:
        drawn = _drawn(sorted(left), per_size, parts, calls // 2, random)
        chosen.append(drawn)
        share = sum(per_size[size - 1] for size in left)
        importance.append(np.full(len(drawn), share / len(drawn)))
    return np.concatenate(chosen), np.concatenate(importance), not left


def _drawn(
    sizes: list[int], per_size: Array, parts: int, pairs: int, random: np.random.Generator
) -> Array:
    odds = np.array([per_size[size - 1] for size in sizes])
    drawn_sizes = random.choice(sizes, size=pairs, p=odds / odds.sum())
    ranks = random.random((pairs, parts)).argsort(axis=1).argsort(axis=1)
    rows = (ranks < drawn_sizes[:, None]).astype(np.float64)
    return np.concatenate([rows, 1 - rows])


def _solved(subsets: Array, importance: Array, gains: Array, total: float) -> Array:
    """Weighted least squares under the constraint that the weights add up to `total`."""
    last = subsets[:, -1:]
    design = subsets[:, :-1] - last
    aim = gains - last[:, 0] * total
    root = np.sqrt(importance)[:, None]
    found, *_ = np.linalg.lstsq(design * root, aim * root[:, 0], rcond=None)
    return np.append(found, total - found.sum())


def _interval(subsets: Array, importance: Array, found: Array, ends: Array) -> Array | None:
    """Half-widths at 95 % from ten parts of the samples; None where too few were drawn."""
    groups = 10
    if len(subsets) < 2 * groups * subsets.shape[1]:
        return None
    pairs = np.arange(len(subsets)) % groups
    solved = [
        _solved(
            subsets[pairs == group],
            importance[pairs == group],
            found[pairs == group] - ends[0],
            float(ends[1] - ends[0]),
        )
        for group in range(groups)
    ]
    spread: Array = 1.96 * np.std(solved, axis=0, ddof=1) / math.sqrt(groups)
    return spread
