"""Metrics told apart by the values of columns."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modelry.domain.datasets import ColumnType
from modelry.domain.errors import InvalidInput
from modelry.runtime_api.tensors import Array
from modelry.scoring.contract import Rows, Subject

MOST_VALUES = 20
"""Values of a column that are told apart; the rest are one slice."""
REST = "(all others)"
MISSING = "(missing)"
_SLICED = frozenset({ColumnType.TEXT, ColumnType.INTEGER, ColumnType.BOOLEAN})


class Slices:
    """Which slice each row of a split is in, by column.

    Args:
        subject: what is scored.
        columns: those whose values are told apart; by default the subject's slices.
        param: what the caller called them.

    Raises:
        InvalidInput: the values of a column cannot be told apart.
    """

    def __init__(
        self, subject: Subject, columns: Sequence[str] | None = None, param: str = "slices"
    ) -> None:
        self.columns = tuple(subject.slices if columns is None else columns)
        for name in self.columns:
            column = subject.schema.find(name)
            if column is None or column.type not in _SLICED:
                raise InvalidInput(
                    f"'{name[:80]}' is no column whose values tell rows apart; columns of text, "
                    "whole numbers and booleans are.",
                    param=param,
                )
        self._values: dict[str, dict[str, int]] = {name: {} for name in self.columns}
        self._places = {name: array("i") for name in self.columns}

    def add(self, rows: Rows) -> None:
        """Take the rows of a batch."""
        for name in self.columns:
            known, places = self._values[name], self._places[name]
            for value in rows.column(name):
                word = MISSING if value is None else str(value)[:100]
                if word not in known and len(known) >= MOST_VALUES:
                    word = REST
                places.append(known.setdefault(word, len(known)))

    def members(self, column: str) -> tuple[list[str], Array]:
        """The values of a column, and the number of each row's among them, shape (rows,)."""
        return list(self._values[column]), np.array(self._places[column], "i8")

    def told(self, by_row: Mapping[str, Array]) -> dict[str, list[dict[str, Any]]]:
        """Rows, and the mean of each number that is known by row, by column and value."""
        told: dict[str, list[dict[str, Any]]] = {}
        for name in self.columns:
            places = np.array(self._places[name])
            told[name] = []
            for word, number in self._values[name].items():
                within = places == number
                means = {what: float(values[within].mean()) for what, values in by_row.items()}
                told[name].append({"value": word, "rows": int(within.sum()), **means})
        return told
