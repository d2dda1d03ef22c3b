"""How far an explanation can be trusted: against random ones, and under a little noise.

Deletion takes the parts away, those that did most first, and insertion brings them back to an
empty input; the area under the curve of scores tells how well the order is chosen (Petsiuk et
al., "RISE", BMVC 2018). The same with the parts in random order tells what any order would do.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from modelry.explaining.contract import Scores
from modelry.runtime_api.tensors import Array

STEPS = 12
"""Points of a curve, at most, beside its beginning."""
RANDOM_ORDERS = 12


@dataclass(frozen=True, slots=True)
class Faithfulness:
    """Areas under the curves of scores, 0..1 of their way.

    Args:
        deletion: lower is better.
        insertion: higher is better.
        random_deletion: mean, and the bounds within which 95 % of random orders lie.
        random_insertion: likewise.
        is_better_than_random: beyond the bounds of both.
        calls: how often the model was asked for this.
        stability: how alike the order of the parts is when the input is moved a little, as
            Spearman's correlation; None where it cannot be moved.
    """

    deletion: float
    insertion: float
    random_deletion: tuple[float, float, float]
    random_insertion: tuple[float, float, float]
    is_better_than_random: bool
    calls: int
    stability: float | None = None

    def to_wire(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)


def measure(scores: Scores, weights: Array, seed: int) -> Faithfulness:
    """Compare the order of `weights` (parts,) with random orders.

    Args:
        scores: of presences (n, parts).
        weights: of the parts.
        seed: of the random orders.
    """
    (found,) = measure_each(scores, weights[:, None], seed)
    return found


def measure_each(scores: Scores, weights: Array, seed: int) -> list[Faithfulness]:
    """Compare the order of the weights for each target with random orders, the same for all.

    Args:
        scores: of presences (n, parts): (n,), or (n, targets).
        weights: (parts, targets).
        seed: of the random orders.
    """
    parts, targets = weights.shape
    random = np.random.default_rng(seed)
    orders = [np.argsort(-weights[:, at], kind="stable") for at in range(targets)]
    orders += [random.permutation(parts) for _ in range(RANDOM_ORDERS)]
    ends = np.unique(np.linspace(0, parts, min(STEPS, parts) + 1).round().astype(int))
    curves = [_presences(order, ends) for order in orders]
    stacked = np.concatenate([one for pair in curves for one in pair])
    found = scores(stacked).reshape(len(orders), 2, len(ends), targets)
    areas = np.trapezoid(found, ends / parts, axis=2)  # (orders, 2, targets)
    own, others = areas[:targets], areas[targets:]
    return [
        _against(own[at, :, at], others[:, :, at], 2 * (1 + RANDOM_ORDERS) * len(ends))
        for at in range(targets)
    ]


def _presences(order: Array, ends: Array) -> tuple[Array, Array]:
    """Deletion and insertion of the parts in an order, a row per end."""
    place = np.empty(len(order), int)
    place[order] = np.arange(len(order))
    inserted = (place[None, :] < ends[:, None]).astype(np.float64)
    return 1 - inserted, inserted


def _against(own: Array, others: Array, calls: int) -> Faithfulness:
    """Areas (deletion, insertion) of one order beside those of random ones (orders, 2)."""
    means, spreads = others.mean(axis=0), 1.96 * others.std(axis=0, ddof=1)
    deletion, insertion = (
        (float(mean), float(mean - spread), float(mean + spread))
        for mean, spread in zip(means, spreads, strict=True)
    )
    return Faithfulness(
        deletion=float(own[0]),
        insertion=float(own[1]),
        random_deletion=deletion,
        random_insertion=insertion,
        is_better_than_random=bool(own[0] < deletion[1] and own[1] > insertion[2]),
        calls=calls,
    )


def rank_agreement(first: Array, second: Array) -> float:
    """Spearman's correlation of two sets of weights; 1 where both are all the same."""
    ranks = [_ranks(one) for one in (first, second)]
    spreads = [float(one.std()) for one in ranks]
    if min(spreads) == 0:
        return 1.0 if max(spreads) == 0 else 0.0
    centred = [one - one.mean() for one in ranks]
    return float((centred[0] * centred[1]).mean() / (spreads[0] * spreads[1]))


def _ranks(values: Array) -> Array:
    """Ranks from 0 on; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return ((ends - counts) + (ends - 1)).astype(np.float64)[inverse] / 2
