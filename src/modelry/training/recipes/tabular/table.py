"""The cells of a table as the version's `columns` step turns them into one tensor."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from modelry.domain.datasets import Column, ColumnType
from modelry.domain.errors import Cancelled, RowsInvalid
from modelry.processing.graph import ProcessingGraph
from modelry.training.contract import Run, TrainingData
from modelry.training.inputs import CHUNK, Rows, processed
from modelry.training.labels import Classes

INPUT = "cells"
MAX_CATEGORIES = 1000
"""Of a text column: with more it is free text, or an id, and not a category."""
MISSING = ""
"""The category of text cells that are missing."""

Cells = npt.NDArray[np.float32]
Targets = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class TableRows:
    """Rows ready to be learnt from: cells (n, columns), NaN where missing; classes or numbers."""

    cells: Cells
    targets: Targets

    def __len__(self) -> int:
        return len(self.cells)

    def take(self, places: npt.NDArray[np.int64]) -> TableRows:
        """Some of them."""
        return TableRows(self.cells[places], self.targets[places])


def declared_columns(
    data: TrainingData, columns: Sequence[Column], splits: Sequence[str]
) -> list[dict[str, Any]]:
    """The columns as the step `columns` declares them; categories are those of these splits.

    Raises:
        RowsInvalid: a text column has too many different values.
    """
    texts = [one for one in columns if one.type is ColumnType.TEXT and not one.classes]
    seen: dict[str, set[str]] = {one.name: set() for one in texts}
    if texts:
        for split in splits:
            for batch in data.batches(split, list(seen)):
                for name, values in zip(seen, batch.columns, strict=True):
                    seen[name].update(pc.unique(values).drop_null().to_pylist())
                    _check_count(name, seen[name])
    return [_declared(column, seen.get(column.name)) for column in columns]


def _check_count(name: str, values: set[str]) -> None:
    if len(values) > MAX_CATEGORIES:
        raise RowsInvalid(
            f"Column '{name}' has more than {MAX_CATEGORIES} different texts, so it holds no "
            "categories. Give it the role 'ignored', or name the other columns in 'columns'.",
            param=name,
        )


def _declared(column: Column, seen: set[str] | None) -> dict[str, Any]:
    if column.type is ColumnType.TEXT:
        values = list(column.classes) if seen is None else sorted(seen)
        if column.is_nullable and MISSING not in values:
            values.append(MISSING)
        entry: dict[str, Any] = {"name": column.name, "type": "category", "values": values}
        return {**entry, "default": MISSING} if column.is_nullable else entry
    if column.type is ColumnType.BOOLEAN and not column.is_nullable:
        return {"name": column.name, "type": "boolean"}
    entry = {"name": column.name, "type": "number"}
    return {**entry, "default": "nan"} if column.is_nullable else entry


@dataclass(frozen=True, slots=True)
class TableReader:
    """Reads splits through the graph; all have the same columns."""

    data: TrainingData
    columns: Sequence[Column]
    label: Column
    classes: Classes | None
    graph: ProcessingGraph
    run: Run

    def sample(self, split: str, most: int) -> list[list[Any]]:
        """Some rows of a split as they would be sent, chosen and ordered at random by the seed."""
        count = self.data.description.rows[split]
        random = np.random.default_rng(self.run.seed)
        places = random.permutation(count)[:most]
        wanted = {int(place): at for at, place in enumerate(places)}
        found: list[list[Any]] = [[] for _ in wanted]
        first = 0
        for batch in self.data.batches(split, [one.name for one in self.columns], CHUNK):
            here = [place for place in wanted if first <= place < first + len(batch)]
            for place in here:
                cells = [values[place - first].as_py() for values in batch.columns]
                found[wanted[place]] = [
                    self._cell(*pair) for pair in zip(self.columns, cells, strict=True)
                ]
            first += len(batch)
        return found

    def read(self, split: str) -> TableRows:
        """All rows of a split.

        Raises:
            RowsInvalid: a cell cannot be used; names its row.
            Cancelled: the run was stopped.
        """
        count = self.data.description.rows[split]
        cells: Cells = np.empty((count, len(self.columns)), np.float32)
        targets: Targets = np.empty(count, np.int64 if self.classes else np.float64)
        for part in self._rows(split, targets):
            made = processed(self.graph, part)[0][INPUT]
            cells[part.first : part.first + len(made)] = made
            self.run.progress(part.first + len(made), count, "rows", f"reading {split}")
        return TableRows(cells, targets)

    def _rows(self, split: str, targets: Targets) -> Iterator[Rows]:
        first = 0
        names = [one.name for one in self.columns]
        for batch in self.data.batches(split, [*names, self.label.name], CHUNK):
            if self.run.stop.is_set():
                raise Cancelled(f"Training was stopped while '{split}' was read.")
            found = self._targets(batch.column(len(names)), split, first)
            targets[first : first + len(batch)] = found
            cells = [values.to_pylist() for values in batch.columns[: len(names)]]
            rows = [
                {"row": [self._cell(*pair) for pair in zip(self.columns, row, strict=True)]}
                for row in zip(*cells, strict=True)
            ]
            yield Rows(split, first, rows)
            first += len(batch)

    def _cell(self, column: Column, value: Any) -> Any:
        if column.type is ColumnType.BOOLEAN and column.is_nullable and value is not None:
            return int(value)  # as 0 and 1, so that a missing one has a number as well
        return None if isinstance(value, float) and math.isnan(value) else value

    def _targets(self, values: Any, split: str, first: int) -> Targets:
        if self.classes is not None:
            return self.classes.numbers(values, split, first)
        found: Targets = values.to_numpy(zero_copy_only=False).astype(np.float64)
        wrong = np.flatnonzero(~np.isfinite(found))
        if len(wrong):
            raise RowsInvalid(
                f"Row {first + int(wrong[0]) + 1} of split '{split}' has the label "
                f"{found[wrong[0]]} in '{self.label.name}'; expected a finite number.",
                param=self.label.name,
            )
        return found
