"""Rows of tables through tabular models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelry.client.decoding import decode_list
from modelry.client.exchange import Flow, Request, send_json
from modelry.client.operations.batches import ITEMS, gathered
from modelry.client.operations.typed_tasks import LabelScore

Row = Mapping[str, Any] | Sequence[Any]
"""Cells by column name, or in the model's order."""


@dataclass(frozen=True, slots=True)
class RowPrediction:
    """What a model makes of one row: labels (best first), or a value, or several values."""

    labels: tuple[LabelScore, ...] = ()
    value: Any = None
    values: tuple[Any, ...] = ()

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
) -> Flow[list[RowPrediction]]:
    """Predict from rows of a table.

    Args:
        model: a deployment of the task tabular.
        rows: one mapping (column to cell) or list of cells per row.
        top_k: how many labels to tell, for models that tell labels.
        min_score: leave out labels that the model is less sure of (0 to 1).
    """
    options = {"top_k": top_k, "min_score": min_score}
    shared = {"model": model} | {k: v for k, v in options.items() if v is not None}

    def ask(part: Sequence[Row]) -> Flow[list[RowPrediction]]:
        wire = [dict(row) if isinstance(row, Mapping) else list(row) for row in part]
        body = {**shared, "row": wire}
        request = Request("POST", "/v1/tabular", json=body, idempotent=True)
        return decode_list(RowPrediction, (yield from send_json(request)), "results")

    return (yield from gathered(rows, ITEMS, ask))
