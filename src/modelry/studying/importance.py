"""What counts over many rows: the mean size of each part's weight, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from modelry.explaining.faithfulness import rank_agreement
from modelry.metrics.intervals import CONFIDENCE, RESAMPLES
from modelry.runtime_api.tensors import Array
from modelry.studying.parts import PartTable

MOST_TOLD = 30
FEW = 8
"""Parts that are told of a class or of a slice."""
LEAST_ROWS = 5
"""Of fewer rows, neither a slice nor its agreement with others is told."""


def importance(table: PartTable, seed: int) -> dict[str, Any]:
    """The parts by their mean absolute weight over all rows, greatest first.

    Each has its 95 % bootstrap interval over rows, the mean of its weight with its sign where an
    input has it, and in how many inputs that is. Of images the means are told as a `grid`, too.
    """
    sizes = np.abs(table.weights)
    means = sizes.mean(axis=0)
    low, high = _intervals(sizes, seed)
    order = np.argsort(-means, kind="stable")[:MOST_TOLD]
    counts = table.present.sum(axis=0)
    signed = table.weights.sum(axis=0) / np.maximum(counts, 1)
    told: dict[str, Any] = {
        "kind": table.kind,
        "rows": len(sizes),
        "parts": [
            {
                "name": table.names[at],
                "weight": float(means[at]),
                "low": float(low[at]),
                "high": float(high[at]),
                "signed": float(signed[at]),
                "rows": int(counts[at]),
            }
            for at in order
        ],
    }
    if table.kind == "image":
        told["grid"] = means.reshape(table.grid).tolist()
    return told


def most_important(table: PartTable) -> list[dict[str, Any]]:
    """The few parts of the greatest mean absolute weight, with their mean weight."""
    means = np.abs(table.weights).mean(axis=0)
    order = np.argsort(-means, kind="stable")[:FEW]
    counts = np.maximum(table.present.sum(axis=0), 1)
    signed = table.weights.sum(axis=0) / counts
    return [
        {"name": table.names[at], "weight": float(means[at]), "signed": float(signed[at])}
        for at in order
        if means[at] > 0
    ]


def by_slice(
    table: PartTable, values: Sequence[str], scores: Array, most_values: int, rest: str
) -> list[dict[str, Any]]:
    """What counts within each value of a column, and how alike that is to the other rows.

    `agreement` is Spearman's correlation of the parts' importance within and without: where it is
    low, the version decides by other things there.

    Args:
        table: the weights.
        values: of the column, one for each explanation.
        scores: of what was explained, likewise.
        most_values: that are told apart, by their number of rows.
        rest: what the others are called.
    """
    words, counts = np.unique(np.array(values, dtype=object).astype(str), return_counts=True)
    kept = {str(words[at]) for at in np.argsort(-counts, kind="stable")[:most_values]}
    named = np.array([one if one in kept else rest for one in values])
    told = []
    for word in dict.fromkeys(named.tolist()):
        within = named == word
        rows = int(within.sum())
        one: dict[str, Any] = {"value": word, "rows": rows, "score": float(scores[within].mean())}
        if rows >= LEAST_ROWS:
            one["parts"] = most_important(table.of(within))
            if len(named) - rows >= LEAST_ROWS:
                inside, outside = (
                    np.abs(table.weights[which]).mean(axis=0) for which in (within, ~within)
                )
                one["agreement"] = round(rank_agreement(inside, outside), 4)
        told.append(one)
    return sorted(told, key=lambda one: -one["rows"])


def _intervals(sizes: Array, seed: int) -> tuple[Array, Array]:
    """Percentile bootstrap bounds of the means of columns, over rows that are drawn anew."""
    rows = len(sizes)
    drawn = np.random.default_rng(seed).multinomial(rows, np.full(rows, 1 / rows), RESAMPLES)
    means = drawn @ sizes / rows
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return low, high
