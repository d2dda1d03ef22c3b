"""Rows of tables through tabular models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modelry.client.errors import InvalidInput
from modelry.client.exchange import Flow
from modelry.client.explained import Explain, Explanation, Row, cells
from modelry.client.operations.batches import ITEMS, gathered
from modelry.client.operations.typed_tasks import LabelScore, Question


@dataclass(frozen=True, slots=True)
class RowPrediction:
    """What a model makes of one row: labels (best first), or a value, or several values."""

    labels: tuple[LabelScore, ...] = ()
    value: Any = None
    values: tuple[Any, ...] = ()
    explanation: Explanation | None = None

    @property
    def label(self) -> str:
        """The best label; empty where the model tells numbers."""
        return self.labels[0].label if self.labels else ""


def tabular(
    model: str,
    rows: Sequence[Row],
    *,
    top_k: int | None = None,
    min_score: float | None = None,
    explain: Explain = False,
) -> Flow[list[RowPrediction]]:
    """Predict from rows of a table.

    Args:
        model: a deployment of the task tabular.
        rows: one mapping (column to cell) or list of cells per row.
        top_k: how many labels to tell, for models that tell labels.
        min_score: leave out labels that the model is less sure of (0 to 1).
        explain: also explain the answer to the only row: True, or wishes as for `explain`.
    """
    if explain is not False and len(rows) != 1:
        raise InvalidInput(f"There are {len(rows)} rows; explain one at a time.", param="explain")
    options = {"model": model, "top_k": top_k, "min_score": min_score}
    ask = Question("/v1/tabular", RowPrediction, options, explain=explain)

    def part(some: Sequence[Row]) -> Flow[list[RowPrediction]]:
        return (yield from ask.ask("row", [cells(row) for row in some]))

    return (yield from gathered(rows, ITEMS, part))
