"""How far an explanation can be trusted: against random ones, and under a little noise.

Deletion takes the parts away, those that did most first, and insertion brings them back to an
empty input; the area under the curve of scores tells how well the order is chosen (Petsiuk et
al., "RISE", BMVC 2018). The same with the parts in random order tells what any order would do.

How well an order is chosen is told by insertion less deletion. An order backwards has the same
with the other sign, as it passes the same inputs, so that each random order counts as two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from modelry.explaining.contract import Scores
from modelry.runtime_api.tensors import Array

STEPS = 12
"""Points of a curve, at most, beside its beginning."""
RANDOM_ORDERS = 12
FEW_PARTS = 40
SIGNIFICANT = 0.05
_LEAST_SUBSETS = 6
_MOST_CERTAIN = 1 - 1e-9


@dataclass(frozen=True, slots=True)
class Faithfulness:
    """Areas under the curves of scores, 0..1 of their way.

    Args:
        deletion: lower is better.
        insertion: higher is better.
        random_deletion: mean, and the bounds within which 95 % of random orders lie.
        random_insertion: likewise.
        is_better_than_random: `p_value` is below 0.05. Of few parts a random order is often the
            right one by chance, and few orders tell little; there it is also so where both areas
            are beyond the means, and `prediction` is above 0.
        calls: how often the model was asked for this.
        stability: how alike the order of the parts is when the input is moved a little, as
            Spearman's correlation; None where it cannot be moved.
        p_value: how often a random order would do as well: of these and random ones, forwards and
            backwards, the share with at least this insertion less deletion (a permutation test).
        prediction: how well the sum of the weights of the parts that are there goes with the score,
            over the inputs of the random orders: Pearson's correlation, and the bounds of 95 %. It
            is measured of few parts, and where few orders are asked (Park et al., "TRAK", ICML
            2023, of ranks).
    """

    deletion: float
    insertion: float
    random_deletion: tuple[float, float, float]
    random_insertion: tuple[float, float, float]
    is_better_than_random: bool
    calls: int
    stability: float | None = None
    prediction: tuple[float, float, float] | None = None
    p_value: float | None = None

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Faithfulness:
        """What `to_wire` wrote, also as JSON."""
        read: dict[str, Any] = {
            name: tuple(one) if isinstance(one, list) else one for name, one in wire.items()
        }
        return cls(**read)

    def to_wire(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)


Guess = Callable[[np.random.Generator], Array]
"""Weights (parts,) of somebody who knows the parts, but not the model."""


@dataclass(frozen=True, slots=True)
class RandomOrders:
    """What the order of weights is compared with.

    Args:
        seed: of the random orders.
        guess: gives what is ordered at random, where neighbours belong together: areas by regions
            cannot be compared with those by single parts, which destroy any picture sooner.
        steps: points of a curve.
        pairs: of random orders of which the second is the first one backwards: deleting in one
            passes the same inputs as inserting in the other, which halves what is asked; None
            takes orders that have nothing to do with each other.
    """

    seed: int
    guess: Guess | None = None
    steps: int = STEPS
    pairs: int | None = None

    @property
    def coarser(self) -> RandomOrders:
        """The same with half the points: areas are less exact, those of random orders alike."""
        return replace(self, steps=self.steps // 2)

    def calls(self, parts: int, targets: int = 1) -> int:
        """How often the model is asked at most to measure the weights of so many targets."""
        orders = targets + (RANDOM_ORDERS if self.pairs is None else 2 * self.pairs)
        return 2 * orders * (min(self.steps, parts) + 1)

    def drawn(self, parts: int) -> list[Array]:
        """The orders of so many parts."""
        random = np.random.default_rng(self.seed)
        guess = self.guess or _any_weights(parts)
        count = RANDOM_ORDERS if self.pairs is None else self.pairs
        orders: list[Array] = [np.argsort(-guess(random), kind="stable") for _ in range(count)]
        if self.pairs is None:
            return orders
        return [one for order in orders for one in (order, order[::-1])]


def measure(scores: Scores, weights: Array, against: RandomOrders) -> Faithfulness:
    """Compare the order of `weights` (parts,) with random orders.

    Args:
        scores: of presences (n, parts).
        weights: of the parts.
        against: the random orders.
    """
    (found,) = measure_each(scores, weights[:, None], against)
    return found


def measure_each(scores: Scores, weights: Array, against: RandomOrders) -> list[Faithfulness]:
    """Compare the order of the weights for each target with random orders, the same for all.

    Args:
        scores: of presences (n, parts): (n,), or (n, targets).
        weights: (parts, targets).
        against: the random orders.
    """
    parts, targets = weights.shape
    orders = [np.argsort(-weights[:, at], kind="stable") for at in range(targets)]
    chosen, pairs = against.drawn(parts), against.pairs
    orders += chosen
    ends = np.unique(np.linspace(0, parts, min(against.steps, parts) + 1).round().astype(int))
    curves = [_presences(order, ends) for order in orders]
    stacked = np.concatenate([one for pair in curves for one in pair])
    values = scores(stacked).reshape(len(stacked), targets)
    found = values.reshape(len(orders), 2, len(ends), targets)
    areas = np.trapezoid(found, ends / parts, axis=2)  # (orders, 2, targets)
    own, others = areas[:targets], areas[targets:]
    calls = 2 * (1 + len(chosen)) * len(ends)
    if pairs is None:  # in the pairs each has its own backwards
        others = np.concatenate([others, others[:, ::-1]])
    checked = [_against(own[at, :, at], others[:, :, at], calls) for at in range(targets)]
    if parts <= FEW_PARTS or pairs is not None:
        first = 2 * targets * len(ends)  # behind those of the weights' own orders
        checked = [
            _with_prediction(one, _prediction(stacked[first:], values[first:, at], weights[:, at]))
            for at, one in enumerate(checked)
        ]
    has_order = np.ptp(weights, axis=0) > 0
    return [
        one if is_so else replace(one, p_value=1.0, is_better_than_random=False)
        for one, is_so in zip(checked, has_order.tolist(), strict=True)
    ]


def _any_weights(parts: int) -> Guess:
    return lambda random: random.random(parts)


def _with_prediction(
    checked: Faithfulness, prediction: tuple[float, float, float] | None
) -> Faithfulness:
    is_ahead = (
        checked.deletion < checked.random_deletion[0]
        and checked.insertion > checked.random_insertion[0]
        and prediction is not None
        and prediction[1] > 0
    )
    is_better = checked.is_better_than_random or is_ahead
    return replace(checked, prediction=prediction, is_better_than_random=is_better)


def _prediction(
    presences: Array, scores: Array, weights: Array
) -> tuple[float, float, float] | None:
    """The correlation of weights with scores, and its bounds by Fisher's transformation."""
    unique, first = np.unique(presences, axis=0, return_index=True)
    is_inner = ~np.isin(unique.sum(axis=1), (0, len(weights)))
    sums, found = unique[is_inner] @ weights, scores[first][is_inner]
    if len(found) < _LEAST_SUBSETS or min(np.ptp(sums), np.ptp(found)) == 0:
        return None
    correlation = float(np.corrcoef(sums, found)[0, 1])
    middle = np.arctanh(np.clip(correlation, -_MOST_CERTAIN, _MOST_CERTAIN))
    half = 1.96 / math.sqrt(len(found) - 3)
    return correlation, float(np.tanh(middle - half)), float(np.tanh(middle + half))


def _presences(order: Array, ends: Array) -> tuple[Array, Array]:
    """Deletion and insertion of the parts in an order, a row per end."""
    place = np.empty(len(order), int)
    place[order] = np.arange(len(order))
    inserted = (place[None, :] < ends[:, None]).astype(np.float64)
    return 1 - inserted, inserted


def _against(own: Array, others: Array, calls: int) -> Faithfulness:
    """Areas (deletion, insertion) of one order beside those of random ones (orders, 2), each also
    backwards: deleting in an order passes the same inputs as inserting in it backwards.
    """
    means, spreads = others.mean(axis=0), 1.96 * others.std(axis=0, ddof=1)
    deletion, insertion = (
        (float(mean), float(mean - spread), float(mean + spread))
        for mean, spread in zip(means, spreads, strict=True)
    )
    is_as_good = others[:, 1] - others[:, 0] >= own[1] - own[0]
    p_value = (1 + int(is_as_good.sum())) / (1 + len(others))
    return Faithfulness(
        deletion=float(own[0]),
        insertion=float(own[1]),
        random_deletion=deletion,
        random_insertion=insertion,
        is_better_than_random=p_value < SIGNIFICANT,
        calls=calls,
        p_value=p_value,
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
