"""Checks of single columns: missing values, numbers that are none, empty texts, constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from modelry.datasets import forms
from modelry.datasets.validation.findings import Finding, Severity, Tally
from modelry.domain.datasets import Column, ColumnRole, ColumnType, Schema

_USED = frozenset(ColumnRole) - {ColumnRole.ID, ColumnRole.IGNORED}
_GOALS = frozenset({ColumnRole.LABEL, ColumnRole.TARGET})
_CONSTANT_TYPES = frozenset(
    {ColumnType.TEXT, ColumnType.INTEGER, ColumnType.NUMBER, ColumnType.BOOLEAN, ColumnType.TIME}
)


class ColumnChecks:
    """Looks at each column for itself."""

    def __init__(self, schema: Schema) -> None:
        self._columns = [
            _OneColumn(at, one) for at, one in enumerate(schema.columns) if one.role in _USED
        ]

    def add(self, split: str, row: int, batch: pa.RecordBatch) -> None:
        """Take rows; the first is number `row` of `split`."""
        for one in self._columns:
            one.add(split, row, batch)

    def findings(self) -> list[Finding]:
        """What was found."""
        return [found for one in self._columns for found in one.findings()]


class _OneColumn:
    def __init__(self, at: int, column: Column) -> None:
        self._at = at
        self._column = column
        self._rows = 0
        self._missing = Tally()
        self._odd = Tally()
        self._empty = Tally()
        self._unreadable = Tally()
        self._values: set[Any] | None = set() if column.type in _CONSTANT_TYPES else None

    def add(self, split: str, row: int, batch: pa.RecordBatch) -> None:
        array = batch.column(self._at)
        self._rows += len(array)
        if array.null_count:
            self._missing.add(split, row, _mask(array.is_null()))
        if self._column.type in (ColumnType.NUMBER, ColumnType.TENSOR):
            odd = _not_finite(self._column, array)
            if odd is not None:
                self._odd.add(split, row, odd)
        elif self._column.type is ColumnType.TEXT:
            blank = pc.equal(pc.binary_length(pc.utf8_trim_whitespace(array)), 0)
            self._empty.add(split, row, _mask(blank))
            self._unreadable.add(
                split, row, _mask(pc.match_substring(array, "\N{REPLACEMENT CHARACTER}"))
            )
        if self._values is not None:
            self._see(array)

    def _see(self, array: pa.Array) -> None:
        """Forget the values as soon as there are two: then the column is no constant."""
        assert self._values is not None
        present = array.drop_null()
        if len(present):
            self._values.add(present[0].as_py())
            if len(self._values) > 1 or len(pc.unique(present)) > 1:
                self._values = None

    def findings(self) -> list[Finding]:
        name = self._column.name
        is_goal = self._column.role in _GOALS
        severe = Severity.ERROR if is_goal else Severity.WARNING
        of = f"of {self._rows} rows"
        found = self._missing.finding(
            Severity.ERROR if self._missing.count == self._rows else severe,
            "missing",
            f"Column '{name}' has no value in {self._missing.count} {of}.",
            name,
        )
        found += self._odd.finding(
            Severity.ERROR,
            "not-finite",
            f"Column '{name}' holds NaN or infinity in {self._odd.count} {of}; a loss computed "
            "from such is no number any more. Leave the rows out, or mend the values.",
            name,
        )
        found += self._empty.finding(
            severe, "empty-text", f"Column '{name}' is blank in {self._empty.count} {of}.", name
        )
        found += self._unreadable.finding(
            Severity.WARNING,
            "replacement-character",
            f"Column '{name}' has \N{REPLACEMENT CHARACTER} in {self._unreadable.count} {of}: its "
            "text was read in a wrong encoding before it came here.",
            name,
        )
        is_constant = self._values is not None and self._missing.count < self._rows
        if is_constant and self._rows > 1 and not self._missing.count:
            message = f"Column '{name}' has the same value in every row"
            found.append(
                Finding(
                    Severity.ERROR if is_goal else Severity.INFO,
                    "constant",
                    f"{message}: there is nothing to learn."
                    if is_goal
                    else f"{message}; it tells nothing.",
                    name,
                    self._rows,
                )
            )
        return found


def _mask(array: pa.Array) -> npt.NDArray[np.bool_]:
    filled = pc.fill_null(array, fill_value=False)
    mask: npt.NDArray[np.bool_] = filled.to_numpy(zero_copy_only=False).astype(np.bool_)
    return mask


def _not_finite(column: Column, array: pa.Array) -> npt.NDArray[np.bool_] | None:
    if column.type is ColumnType.NUMBER:
        return _mask(pc.invert(pc.is_finite(array)))
    if not column.dtype.startswith("float") or not len(array):
        return None
    if array.null_count:
        bad = np.zeros(len(array), np.bool_)
        present = array.drop_null()
        bad[_mask(array.is_valid())] = _rows_not_finite(column, present)
        return bad
    return _rows_not_finite(column, array)


def _rows_not_finite(column: Column, array: pa.Array) -> npt.NDArray[np.bool_]:
    values = forms.tensor_values(column, array)
    bad: npt.NDArray[np.bool_] = ~np.isfinite(values.reshape(len(array), -1)).all(axis=1)
    return bad
