"""How rows become questions of a task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from modelry.domain.datasets import Column, ColumnRole, ColumnType
from modelry.domain.errors import RowsInvalid
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


@dataclass(frozen=True, slots=True)
class ImageItems:
    """Makes an item of each image; arrays of pixels are sent as image files, too."""

    column: Column

    @property
    def columns(self) -> tuple[str, ...]:
        """The column of images."""
        return (self.column.name,)

    def of(self, rows: Rows) -> list[dict[str, Any]]:
        """One item per row.

        Raises:
            RowsInvalid: a row has no image; names it.
        """
        from modelry.datasets.pictures import image_files

        files = image_files(self.column, rows.batch.column(self.column.name))
        for at, one in enumerate(files, rows.first):
            if one is None:
                raise RowsInvalid(f"Row {at + 1} has no image.", param=self.column.name)
        return [{"image": one} for one in files]


def image_items(subject: Subject) -> ImageItems:
    """The image of each row: a file, or the pixels as an array of bytes.

    Raises:
        InvalidInput: the dataset has no such column, or several.
    """
    pixels = [one for one in subject.schema.with_role(ColumnRole.FEATURE) if one.dtype == "uint8"]
    if len(pixels) == 1 and len(pixels[0].shape) in (2, 3):
        return ImageItems(pixels[0])
    return ImageItems(one_column(subject, ColumnRole.FEATURE, ColumnType.IMAGE))


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
