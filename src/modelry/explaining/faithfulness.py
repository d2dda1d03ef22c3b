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
    parts = len(weights)
    random = np.random.default_rng(seed)
    orders = [np.argsort(-weights, kind="stable")]
    orders += [random.permutation(parts) for _ in range(RANDOM_ORDERS)]
    ends = np.unique(np.linspace(0, parts, min(STEPS, parts) + 1).round().astype(int))
    curves = [_presences(order, ends) for order in orders]
    stacked = np.concatenate([one for pair in curves for one in pair])
    found = scores(stacked).reshape(len(orders), 2, len(ends))
    areas = np.trapezoid(found, ends / parts, axis=2)
    deletion, insertion = _against(areas[:, 0]), _against(areas[:, 1])
    return Faithfulness(
        deletion=float(areas[0, 0]),
        insertion=float(areas[0, 1]),
        random_deletion=deletion,
        random_insertion=insertion,
        is_better_than_random=bool(areas[0, 0] < deletion[1] and areas[0, 1] > insertion[2]),
        calls=len(stacked),
    )


def _presences(order: Array, ends: Array) -> tuple[Array, Array]:
    """Deletion and insertion of the parts in an order, a row per end."""
    place = np.empty(len(order), int)
    place[order] = np.arange(len(order))
    inserted = (place[None, :] < ends[:, None]).astype(np.float64)
    return 1 - inserted, inserted


def _against(areas: Array) -> tuple[float, float, float]:
    others = areas[1:]
    mean, spread = float(others.mean()), 1.96 * float(others.std(ddof=1))
    return mean, mean - spread, mean + spread


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
