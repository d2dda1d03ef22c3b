"""Whether scores mean what they say: of answers with score 0.8, are 80 % right?

Source: C. Guo et al., On Calibration of Modern Neural Networks (ICML 2017), equal-width bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from modelry.runtime_api.tensors import Array

BINS = 15


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers with scores in (low, high]: how many, their mean score, the share that is right."""

    low: float
    high: float
    rows: int
    score: float
    accuracy: float


def reliability(scores: Array, right: Array, bins: int = BINS) -> list[Bin]:
    """The answers by score; bins without any are left out.

    Args:
        scores: of each answer, 0..1; shape (rows,).
        right: whether it is right, 0 or 1; shape (rows,).
        bins: of equal width.
    """
    places = np.clip(np.ceil(scores * bins).astype(int) - 1, 0, bins - 1)
    found = []
    for at in range(bins):
        within = places == at
        rows = int(within.sum())
        if rows:
            found.append(
                Bin(at / bins, (at + 1) / bins, rows, float(scores[within].mean()),
                    float(right[within].mean()))
            )  # fmt: skip
    return found


def expected_calibration_error(scores: Array, right: Array, bins: int = BINS) -> float:
    """Mean distance between score and accuracy over the bins, by rows; NaN for no rows."""
    if len(scores) == 0:
        return float("nan")
    table = reliability(scores, right, bins)
    return sum(one.rows * abs(one.score - one.accuracy) for one in table) / len(scores)
