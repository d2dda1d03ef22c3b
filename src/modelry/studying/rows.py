"""Which rows of a split are studied, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from modelry.domain.datasets import Column, ColumnRole, DataDescription, Schema
from modelry.domain.errors import RowsInvalid
from modelry.scoring.columns import is_class
from modelry.scoring.contract import Rows, Subject
from modelry.scoring.questions import (
    ColumnItems,
    ImageItems,
    image_items,
    row_items,
    text_items,
)
from modelry.scoring.slicing import MISSING, Slices
from modelry.studying.contract import TABULAR, Shards, StudiedRow

T = TypeVar("T")
Open = Callable[[str], AbstractContextManager[Path]]
_READ_ROWS = 256
_FIRST_PORTION = 16
_VALUE_CHARS = 100


class RowReader:
    """Reads rows as items of a task.

    Args:
        subject: what the rows are for.
        open: gives the file of a shard.

    Raises:
        InvalidInput: the dataset lacks what the task needs, or slices are no such columns.
    """

    def __init__(self, subject: Subject, open: Open | None = None) -> None:  # noqa: A002 - as its own
        self._schema = subject.schema
        self._open = open
        self.items = items_of(subject)
        self.label = label_of(subject.schema)
        self._has_classes = subject.task != TABULAR
        self._slices = Slices(subject).columns
        names = [*self.items.columns, *self._slices]
        self._columns = list(dict.fromkeys([*names, *([self.label.name] if self.label else [])]))

    def read(self, data: Shards, wanted: Sequence[int]) -> Iterator[StudiedRow]:
        """The rows with these places in the split, ascending; shards without any stay closed.

        Raises:
            DataDamaged: a shard is not what was written.
        """
        from modelry.datasets.reading import ShardRows

        assert self._open is not None, "made to read"
        left = list(wanted)
        first = 0
        for digest, rows in data.shards:
            end = first + rows
            if left and left[0] < end:
                description = DataDescription("", "", self._schema, {data.split: rows})
                source = ShardRows(description, {data.split: [digest]}, self._open)
                at = first
                for batch in source.batches(data.split, self._columns, _READ_ROWS):
                    while left and left[0] < at + batch.num_rows:
                        place = left.pop(0)
                        yield self._row(Rows(batch.slice(place - at, 1), place))
                    if not left:
                        return
                    at += batch.num_rows
            first = end

    def _row(self, rows: Rows) -> StudiedRow:
        try:
            (item,) = self.items.of(rows)
        except RowsInvalid:
            item = {}  # which the version refuses, as it does all that it does not take
        label = None
        if self.label is not None:
            (label,) = rows.column(self.label.name)
            if label is not None and (self._has_classes or is_class(self.label)):
                label = str(label)
        slices = {name: _word(rows.column(name)[0]) for name in self._slices}
        return StudiedRow(rows.first, item, label, slices)


def chosen(rows: int, count: int, seed: int) -> list[int]:
    """`count` of the places of `rows` rows, drawn without repetition, ascending."""
    if count >= rows:
        return list(range(rows))
    drawn = np.random.default_rng(seed).choice(rows, count, replace=False)
    return sorted(int(one) for one in drawn)


def in_portions(places: Sequence[int], seed: int) -> list[list[int]]:
    """All of some places, mixed: portions, each ascending and twice as long as the one before.

    However many are gone through, they are from everywhere.
    """
    mixed = np.random.default_rng(seed).permutation(len(places))
    found: list[list[int]] = []
    start, length = 0, _FIRST_PORTION
    while start < len(mixed):
        found.append(sorted(places[int(at)] for at in mixed[start : start + length]))
        start, length = start + length, 2 * length
    return found


def spread(places: Sequence[T], count: int) -> list[T]:
    """`count` of some places, evenly, in their order; all where there are no more."""
    if count >= len(places):
        return list(places)
    return [places[(2 * at + 1) * len(places) // (2 * count)] for at in range(count)]


def items_of(subject: Subject) -> ColumnItems | ImageItems:
    """How rows become items of the subject's task.

    Raises:
        InvalidInput: the dataset lacks what the task needs.
    """
    if subject.task == TABULAR:
        return row_items(subject)
    return text_items(subject) if subject.task == "text-classification" else image_items(subject)


def label_of(schema: Schema) -> Column | None:
    """The column that says what is right, if there is exactly one."""
    found = schema.with_role(ColumnRole.LABEL)
    return found[0] if len(found) == 1 else None


def _word(value: Any) -> str:
    return MISSING if value is None else str(value)[:_VALUE_CHARS]
