"""What a study tells, of what was explained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modelry.scoring.slicing import MOST_VALUES, REST
from modelry.studying.examples import by_class, confusions
from modelry.studying.explained import ExplainedRows
from modelry.studying.importance import by_slice, importance
from modelry.studying.parts import PartTable, part_table

_NAMED = 3


def report_of(rows: ExplainedRows, seed: int) -> dict[str, Any]:
    """The report on rows that were explained."""
    explained, table = rows.facts, part_table(rows.attributions)
    told: dict[str, Any] = {
        "rows": len(explained),
        "method": explained[0]["method"],
        "baseline": explained[0]["baseline"],
        "model_calls": sum(int(one["model_calls"]) for one in explained),
        "trust": _trust(explained),
        "confusions": confusions(table, explained),
    }
    if table is None:
        told["left_out"] = "The images are of different sizes for the model: no cell is the same."
    else:
        told["importance"] = importance(table, seed)
        told["per_class"] = by_class(table, explained)
        told["slices"] = _slices(table, explained)
    told["sentence"] = _sentence(told)
    return told


def _trust(explained: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """How many of the measured explanations can be relied on."""
    checked = [one["faithfulness"] for one in explained if one["faithfulness"] is not None]
    if not checked:
        return None
    stable = [one["stability"] for one in checked if one["stability"] is not None]
    return {
        "rows": len(checked),
        "better_than_random": sum(bool(one["is_better_than_random"]) for one in checked),
        "stability": float(np.mean(stable)) if stable else None,
    }


def _slices(
    table: PartTable, explained: Sequence[Mapping[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    scores = np.array([one["target"]["score"] for one in explained], np.float64)
    return {
        column: by_slice(
            table, [one["slices"][column] for one in explained], scores, MOST_VALUES, REST
        )
        for column in explained[0]["slices"]
    }


def _sentence(told: Mapping[str, Any]) -> str:
    """One or two sentences: what counts most, and how far to trust it."""
    found = told.get("importance")
    rows = told["rows"]
    if found is None:
        words = f"{rows} images of different sizes were explained one by one."
    else:
        parts = [one for one in found["parts"] if one["weight"] > 0][:_NAMED]
        named = ", ".join(f"{one['name']} ({one['weight']:.3g})" for one in parts)
        words = f"Over {rows} rows counted most: {named}." if parts else (
            f"Over {rows} rows nothing that was taken away changed the score."
        )  # fmt: skip
    trust = told["trust"]
    if trust is None:
        return words
    return (
        f"{words} {trust['better_than_random']} of {trust['rows']} measured explanations tell "
        "more than a random order of the parts."
    )
