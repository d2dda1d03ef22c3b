"""How rows become questions of a task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from modelry.domain.datasets import ColumnRole, ColumnType
from modelry.scoring.columns import one_column
from modelry.scoring.contract import Rows, Subject


@dataclass(frozen=True, slots=True)
class ColumnItems:
    """Makes an item of the cells of some columns, under the name that the task gives it."""

    columns: tuple[str, ...]
    name: str
    make: Callable[[Sequence[Any]], Any]

    def of(self, rows: Rows) -> list[dict[str, Any]]:
        """One item per row."""
        values = [rows.column(one) for one in self.columns]
        return [{self.name: self.make(cells)} for cells in zip(*values, strict=True)]


def image_items(subject: Subject) -> ColumnItems:
    """The image of each row."""
    column = one_column(subject, ColumnRole.FEATURE, ColumnType.IMAGE)
    return ColumnItems((column.name,), "image", lambda cells: cells[0])


def text_items(subject: Subject) -> ColumnItems:
    """The text of each row."""
    column = one_column(subject, ColumnRole.FEATURE, ColumnType.TEXT)
    return ColumnItems((column.name,), "text", lambda cells: cells[0])


def source_items(subject: Subject) -> ColumnItems:
    """The source text of each row."""
    column = one_column(subject, ColumnRole.SOURCE, ColumnType.TEXT)
    return ColumnItems((column.name,), "text", lambda cells: cells[0])


def row_items(subject: Subject) -> ColumnItems:
    """The cells of each row that the version takes, by name."""
    features = [one.name for one in subject.schema.with_role(ColumnRole.FEATURE)]
    names = subject.features or tuple(features)
    return ColumnItems(names, "row", lambda cells: dict(zip(names, cells, strict=True)))
