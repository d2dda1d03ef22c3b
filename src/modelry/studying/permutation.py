"""Permutation importance: how much worse the answers are when a column is shuffled.

Sources: L. Breiman, Random Forests (2001); A. Fisher, C. Rudin, F. Dominici, All Models are Wrong,
but Many are Useful (JMLR 2019), as model reliance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from modelry.metrics.classification import SMALLEST
from modelry.runtime_api.tensors import Array
from modelry.scoring.measuring import mean, measured
from modelry.studying.asking import Asking
from modelry.studying.contract import Answered, StudiedRow

MOST_ROWS = 500
MOST_ANSWERS = 1_000_000
"""Columns times repetitions times rows."""
Tell = Callable[[int, int], None]
"""Told how many columns are done, of how many."""


def rows_for(columns: int, repeats: int, rows: int) -> int:
    """How many rows are asked: all of a small split, fewer where columns are many."""
    return max(1, min(rows, MOST_ROWS, MOST_ANSWERS // max(1, columns * repeats)))


def permutation_importance(
    asking: Asking, rows: Sequence[StudiedRow], repeats: int, seed: int, tell: Tell
) -> dict[str, Any]:
    """By column, how the metric gets worse when its cells are shuffled among the rows.

    For classes: the drop of accuracy, and the rise of log loss where all scores are told; for
    numbers: the rise of the mean absolute error. Intervals are over rows; each row's number is
    the mean of the repetitions.

    Args:
        asking: gives answers.
        rows: of a table; those without a label are left out.
        repeats: how often each column is shuffled.
        seed: of the shuffling.
        tell: told how far it is.
    """
    known = [one for one in rows if one.label is not None]
    if len(known) < 2:
        return {"left_out": "fewer than two of the rows say what is right"}
    items = [dict(one.item["row"]) for one in known]
    labels = [one.label for one in known]
    base = _losses(labels, asking.answers([{"row": one} for one in items]))
    if any(np.isnan(losses).any() for losses in base.values()):
        return {"left_out": "the answers are neither classes nor single numbers"}
    columns = list(items[0])
    random = np.random.default_rng(seed)
    told = []
    for at, column in enumerate(columns):
        rises = {name: np.zeros(len(items)) for name in base}
        for _ in range(repeats):
            order = random.permutation(len(items))
            moved = [
                {"row": {**one, column: items[other][column]}}
                for one, other in zip(items, order, strict=True)
            ]
            found = _losses(labels, asking.answers(moved))
            for name in rises:
                rises[name] += (found[name] - base[name]) / repeats
        told.append({"name": column, **{name: measured(mean, one) for name, one in rises.items()}})
        tell(at + 1, len(columns))
    first = next(iter(base))
    return {
        "rows": len(items),
        "repeats": repeats,
        "base": {name: measured(mean, losses) for name, losses in base.items()},
        "columns": sorted(told, key=lambda one: -one[first]["value"]),
    }


def _losses(labels: Sequence[Any], answers: Sequence[Answered]) -> dict[str, Array]:
    """What each answer loses, by the metric: the less the better."""
    if all(isinstance(one, str) for one in labels):
        pairs = list(zip(labels, answers, strict=True))
        losses = {"error_rate": np.array([float(label != one.label) for label, one in pairs])}
        if all(label in one.scores for label, one in pairs):
            own = np.array([one.scores[label] for label, one in pairs])
            losses["log_loss"] = -np.log(np.maximum(own, SMALLEST))
        return losses
    errors = [
        abs(float(label) - one.score) if one.score is not None else np.nan
        for label, one in zip(labels, answers, strict=True)
    ]
    return {"mean_absolute_error": np.array(errors)}
