"""Metrics told apart by the values of columns."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Any

import numpy as np

from modelry.domain.datasets import ColumnType
from modelry.domain.errors import InvalidInput
from modelry.runtime_api.tensors import Array
from modelry.scoring.contract import Rows, Subject

MOST_VALUES = 20
"""Values of a column that are told apart; the rest are one slice."""
REST = "(all others)"
_MISSING = "(missing)"
_SLICED = frozenset({ColumnType.TEXT, ColumnType.INTEGER, ColumnType.BOOLEAN})


class Slices:
    """Which slice each row of a split is in, by column."""

    def __init__(self, subject: Subject) -> None:
        for name in subject.slices:
            column = subject.schema.find(name)
            if column is None or column.type not in _SLICED:
                raise InvalidInput(
                    f"'{name[:80]}' is no column whose values tell rows apart; columns of text, "
                    "whole numbers and booleans are.",
                    param="slices",
                )
        self.columns = subject.slices
        self._values: dict[str, dict[str, int]] = {name: {} for name in self.columns}
        self._places = {name: array("i") for name in self.columns}

    def add(self, rows: Rows) -> None:
        """Take the rows of a batch."""
        for name in self.columns:
            known, places = self._values[name], self._places[name]
            for value in rows.column(name):
                word = _MISSING if value is None else str(value)[:100]
                if word not in known and len(known) >= MOST_VALUES:
                    word = REST
                places.append(known.setdefault(word, len(known)))

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
