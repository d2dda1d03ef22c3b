"""How sure a metric is, as far as the rows tell: percentile bootstrap.

Source: B. Efron, R. Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from modelry.runtime_api.tensors import Array

CONFIDENCE = 0.95
RESAMPLES = 1000
LEAST_RESAMPLES = 200
_MOST_DRAWS = 50_000_000
"""Rows drawn in all; large splits, whose intervals are narrow anyway, are drawn fewer times."""


def bootstrap(
    columns: Sequence[Array],
    statistic: Callable[..., float],
    *,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> tuple[float, float]:
    """The interval of `statistic` over rows that are drawn anew, the same for the same seed.

    Args:
        columns: arrays with one entry per row; `statistic` gets them, resampled alike.
        statistic: gives a number; resamples for which it gives NaN are left out.
        seed: of the drawing.
        confidence: share of the resamples within the interval.

    Returns:
        Lower and upper bound; NaN where there are no rows.
    """
    rows = len(columns[0])
    if rows == 0:
        return float("nan"), float("nan")
    resamples = int(np.clip(_MOST_DRAWS // rows, LEAST_RESAMPLES, RESAMPLES))
    chosen = np.random.default_rng(seed)
    found = np.empty(resamples)
    for at in range(resamples):
        drawn = chosen.integers(0, rows, rows)
        found[at] = statistic(*(column[drawn] for column in columns))
    tail = (1 - confidence) / 2
    low, high = (
        np.nanquantile(found, [tail, 1 - tail]) if not np.isnan(found).all() else (np.nan,) * 2
    )
    return float(low), float(high)
