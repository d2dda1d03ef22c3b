"""Partial dependence: the answer on average, and row by row, as one column is set to each value.

Sources: J. Friedman, Greedy Function Approximation (2001); A. Goldstein et al., Peeking Inside the
Black Box (2015) for the curves of single rows. Values that never come together with the rest of a
row are asked, too: where columns hang together, curves tell of rows that there are none of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from modelry.runtime_api.tensors import Array
from modelry.scoring.measuring import mean, measured
from modelry.studying.asking import Asking
from modelry.studying.contract import Answered, StudiedRow

MOST_ROWS = 100
"""Of which it should be told."""
MOST_VALUES = 12
MOST_CURVES = 20
"""Of single rows."""
MOST_LINES = 5
"""Classes whose scores are told."""


def partial_dependence(
    asking: Asking, rows: Sequence[StudiedRow], column: str, target: str | None
) -> dict[str, Any]:
    """The answers of rows, with `column` set to its usual values one after the other.

    Numbers take quantiles of their column, other cells what is most frequent.

    Args:
        asking: gives answers.
        rows: of a table, all of which the version takes.
        column: which of its columns.
        target: the class whose curves of single rows are told; by default the most answered one.
    """
    cells = [dict(one.item["row"]) for one in rows]
    values = _values([one.item["row"][column] for one in rows])
    items = [{"row": {**one, column: value}} for value in values for one in cells]
    answers = asking.answers(items)
    lines = _lines(answers, target)
    if lines == [None] and any(one.score is None for one in answers):
        return {"left_out": "the answers are neither classes nor single numbers"}
    told: dict[str, Any] = {"values": values, "rows": len(cells), "lines": []}
    for name in lines:
        scores = _scores(answers, name).reshape(len(values), len(cells))
        told["lines"].append({"label": name, "means": [measured(mean, one) for one in scores]})
        if len(told["lines"]) == 1:
            told["curves"] = [
                {"row": rows[at].row, "scores": scores[:, at].tolist()}
                for at in range(min(MOST_CURVES, len(cells)))
            ]
    return told


def _values(cells: Sequence[Any]) -> list[Any]:
    known = [one for one in cells if one is not None]
    numbers = [one for one in known if isinstance(one, int | float) and not isinstance(one, bool)]
    if known and len(numbers) == len(known):
        distinct = sorted(set(numbers))
        if len(distinct) <= MOST_VALUES:
            return distinct
        found = np.quantile(np.array(numbers, np.float64), np.linspace(0, 1, MOST_VALUES))
        if all(isinstance(one, int) for one in numbers):
            return sorted({round(float(one)) for one in found})
        return sorted({float(one) for one in found})
    return [value for value, _ in Counter(known).most_common(MOST_VALUES)]


def _lines(answers: Sequence[Answered], target: str | None) -> list[str | None]:
    """Whose scores are told: the target first, then what is answered most; None for a number."""
    if all(one.label is None for one in answers):
        return [None]
    counts = Counter(one.label for one in answers if one.label is not None)
    for one in answers:
        counts.update(dict.fromkeys(one.scores, 0))
    names: list[str | None] = [name for name, _ in counts.most_common(MOST_LINES)]
    if target in counts:
        names = [target, *(one for one in names if one != target)][:MOST_LINES]
    return names


def _scores(answers: Sequence[Answered], name: str | None) -> Array:
    if name is None:
        return np.array([np.nan if one.score is None else one.score for one in answers])
    return np.array([one.scores.get(name, 0.0) for one in answers])
