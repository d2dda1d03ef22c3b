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
_ROUNDING = 1e-6
"""Beyond 1 that the scores of classes may be, as probabilities."""
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
        rows: of a table; those without a label, and those that the version does not take, are left
            out.
        repeats: how often each column is shuffled.
        seed: of the shuffling.
        tell: told how far it is.
    """
    known = [one for one in rows if one.label is not None]
    pairs = zip(known, asking.each_answer([one.item for one in known]), strict=True)
    answered = [(row, one) for row, one in pairs if isinstance(one, Answered)]
    if len(answered) < 2:
        return {"left_out": "fewer than two of the rows say what is right, and are answered"}
    items = [dict(row.item["row"]) for row, _ in answered]
    labels = [one.right(row.label) for row, one in answered]
    base = _losses(labels, [one for _, one in answered])
    columns, names = list(items[0]), set(base)
    random = np.random.default_rng(seed)
    rises: dict[str, dict[str, Array]] = {column: {} for column in columns}
    for at, column in enumerate(columns if base else ()):
        for _ in range(repeats):
            order = random.permutation(len(items))
            moved = [
                {"row": {**one, column: items[other][column]}}
                for one, other in zip(items, order, strict=True)
            ]
            found = _losses(labels, asking.answers(moved))
            names &= found.keys()  # scores of the best classes alone are told
            for name in names:
                rise = (found[name] - base[name]) / repeats
                rises[column][name] = rises[column].get(name, 0) + rise
        tell(at + 1, len(columns))
    told = [name for name in base if name in names]
    if not told:
        return {"left_out": "the answers are neither classes nor single numbers, as the labels are"}
    by_column = [
        {"name": column, **{name: measured(mean, rises[column][name]) for name in told}}
        for column in columns
    ]
    return {
        "rows": len(items),
        "repeats": repeats,
        "base": {name: measured(mean, base[name]) for name in told},
        "columns": sorted(by_column, key=lambda one: -one[told[0]]["value"]),
    }


def _losses(labels: Sequence[Any], answers: Sequence[Answered]) -> dict[str, Array]:
    """What each answer loses, by the metric: the less the better; none where they cannot be told.

    Args:
        labels: what is right, in the answers' terms.
        answers: one for each.
    """
    pairs = list(zip(labels, answers, strict=True))
    if any(one.label is not None for one in answers):
        losses = {"error_rate": np.array([float(label != one.label) for label, one in pairs])}
        if all(label in one.scores for label, one in pairs):
            own = np.array([one.scores[label] for label, one in pairs])
            if own.min() >= 0 and own.max() <= 1 + _ROUNDING:
                losses["log_loss"] = -np.log(np.maximum(own, SMALLEST))
        return losses
    if any(isinstance(label, str) or one.score is None for label, one in pairs):
        return {}
    return {"mean_absolute_error": np.array([abs(label - one.score) for label, one in pairs])}
