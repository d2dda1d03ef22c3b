"""Whether groups of rows are answered alike: how often a class is said, and how rightly.

One class is looked at, the favourable one. All is computed from counts of rows `(…, groups, 2, 2)`:
by group, by whether the row is of that class (0 no, 1 yes), by whether the answer says so. A group
that has no rows of a kind has no rate of it, and is left out where that rate is compared.

Sources: C. Dwork et al., Fairness Through Awareness (ITCS 2012) for demographic parity; M. Hardt,
E. Price, N. Srebro, Equality of Opportunity in Supervised Learning (NeurIPS 2016) for equalised
odds. The numbers are defined as Fairlearn's of the same names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from modelry.metrics.intervals import CONFIDENCE, RESAMPLES
from modelry.runtime_api.tensors import Array


@dataclass(frozen=True, slots=True)
class GroupRates:
    """Of each group, shape (…, groups); NaN where a group has no such rows.

    Attributes:
        selection: share of its rows for which the class is said.
        true_positive: likewise of its rows that are of the class.
        false_positive: likewise of its rows that are not.
        accuracy: share of its rows that are answered rightly, as to that class.
    """

    selection: Array
    true_positive: Array
    false_positive: Array
    accuracy: Array


def group_counts(groups: Array, is_of: Array, is_said: Array, count: int) -> Array:
    """The counts of rows, shape (count, 2, 2).

    Args:
        groups: the number of each row's group, shape (rows,).
        is_of: whether each row is of the class.
        is_said: whether its answer is that class.
        count: how many groups there are.
    """
    places = (groups * 2 + is_of.astype(np.int64)) * 2 + is_said.astype(np.int64)
    counts: Array = np.bincount(places, minlength=count * 4).reshape(count, 2, 2)
    return counts


def rates(counts: Array) -> GroupRates:
    """The rates of each group."""
    rows, by_truth = counts.sum(axis=(-2, -1)), counts.sum(axis=-1)
    return GroupRates(
        selection=_share(counts[..., 1].sum(axis=-1), rows),
        true_positive=_share(counts[..., 1, 1], by_truth[..., 1]),
        false_positive=_share(counts[..., 0, 1], by_truth[..., 0]),
        accuracy=_share(counts[..., 0, 0] + counts[..., 1, 1], rows),
    )


def demographic_parity_difference(counts: Array) -> Array:
    """How far apart the groups' selection rates are: 0 when the class is said equally often."""
    return _spread(rates(counts).selection)


def demographic_parity_ratio(counts: Array) -> Array:
    """The least selection rate by the greatest: 1 when the class is said equally often.

    NaN where it is said of no row.
    """
    found = rates(counts).selection
    return np.where(
        _compared(found),
        _share(np.fmin.reduce(found, axis=-1), np.fmax.reduce(found, axis=-1)),
        np.nan,
    )


def equalised_odds_difference(counts: Array) -> Array:
    """The larger of how far apart true and false positive rates are: 0 when errors are alike."""
    found = rates(counts)
    return np.fmax(_spread(found.true_positive), _spread(found.false_positive))


def interval(
    statistic: Callable[[Array], Array], counts: Array, *, seed: int = 0
) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval over rows that are drawn anew.

    Drawing rows is drawing counts from a multinomial distribution, which takes as long for a
    million rows as for ten.

    Args:
        statistic: one of those above.
        counts: shape (groups, 2, 2).
        seed: of the drawing.

    Returns:
        Lower and upper bound; NaN where no drawing has a number.
    """
    rows = int(counts.sum())
    if rows == 0:
        return float("nan"), float("nan")
    drawn = np.random.default_rng(seed).multinomial(rows, counts.ravel() / rows, RESAMPLES)
    found = statistic(drawn.reshape(RESAMPLES, *counts.shape))
    if np.isnan(found).all():
        return float("nan"), float("nan")
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(found, [tail, 1 - tail])
    return float(low), float(high)


def _share(part: Array, whole: Array) -> Array:
    found: Array = np.divide(
        part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0
    )
    return found


def _spread(values: Array) -> Array:
    """The greatest less the least, over those groups that have one; NaN for fewer than two."""
    found: Array = np.where(
        _compared(values),
        np.fmax.reduce(values, axis=-1) - np.fmin.reduce(values, axis=-1),
        np.nan,
    )
    return found


def _compared(values: Array) -> Array:
    found: Array = (~np.isnan(values)).sum(axis=-1) >= 2
    return found
