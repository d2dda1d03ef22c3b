"""Columns of rows as arrays for a Keras model's inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from modelry.datasets.forms import tensor_values
from modelry.datasets.pictures import image_files
from modelry.domain.datasets import Column, ColumnType
from modelry.domain.errors import RowsInvalid
from modelry.processing.graph import ProcessingGraph
from modelry.runtime_api.tensors import Array
from modelry.training.contract import TrainingData
from modelry.training.inputs import CHUNK, processed
from modelry.training.inputs import Rows as Items
from modelry.training.recipes.keras.slots import Binding, Feed, LabelKind, Target, fitted_shape

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 4096

Columns = Mapping[str, "pa.Array"]


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads a split's columns as arrays; image files go through `graph`."""

    data: TrainingData
    split: str
    binding: Binding
    graph: ProcessingGraph | None

    def batches(self, part: int, first: int) -> Iterator[tuple[Columns, Place]]:
        """The rows of a part, some at a time, and where each of these begins.

        Args:
            part: its number.
            first: the number of its first row in the split.
        """
        names = self.binding.columns
        for batch in self.data.part(self.split, part, names, BATCH):
            columns = {name: batch.column(at) for at, name in enumerate(names)}
            yield columns, Place(self.split, first)
            first += len(batch)

    def part(self, part: int, first: int) -> list[Array]:
        """All inputs of a part."""
        made = [self.inputs(columns, place) for columns, place in self.batches(part, first)]
        return joined(made)

    def inputs(self, columns: Columns, place: Place) -> list[Array]:
        """An array for each input.

        Raises:
            RowsInvalid: a value is missing or no finite number; names its row.
        """
        return [
            _pixels(self.graph, feed, columns, place)
            if feed.is_image and self.graph is not None
            else _input(feed, columns, place)
            for feed in self.binding.feeds
        ]

    def targets(self, columns: Columns, place: Place) -> list[Array]:
        """An array for each output; raises as `inputs`, and for what is no class."""
        return [_target(one, columns[one.column.name], place) for one in self.binding.targets]

    def weights(self, columns: Columns, place: Place) -> Array | None:
        """What each row counts; raises as `inputs`."""
        column = self.binding.weight
        return None if column is None else _scalar(column, columns[column.name], place)


def joined(parts: list[list[Array]]) -> list[Array]:
    """Arrays of consecutive batches as one each."""
    return [np.concatenate(each) for each in zip(*parts, strict=True)]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a batch begins."""

    split: str
    first: int

    def bad(self, column: Column, at: int, what: str) -> RowsInvalid:
        """The error for a row of the batch."""
        return RowsInvalid(
            f"Row {self.first + at + 1} of split '{self.split}': column '{column.name}' {what}. "
            "Mend the rows, or derive a version without them.",
            param=column.name,
        )


def input_shape(feed: Feed) -> tuple[int, ...]:
    """Of one row of an input's array."""
    if feed.is_table:
        return (len(feed.columns),) if feed.slot.shape else ()
    if feed.is_image:
        return tuple(one or 1 for one in feed.slot.shape)
    return fitted_shape(feed.columns[0].shape, feed.slot.shape) or feed.columns[0].shape


def input_type(feed: Feed) -> str:
    """Of an input's array: as it is kept, which may be smaller than what the model takes."""
    return feed.columns[0].dtype or feed.slot.dtype


def target_shape(target: Target) -> tuple[int, ...]:
    """Of one row of an output's array."""
    if target.column.type is ColumnType.TENSOR:
        return target.column.shape
    return (target.slot.shape[-1] or 1,) if target.kind is LabelKind.ONE_HOT else ()


def target_type(target: Target) -> str:
    """Of an output's array."""
    if target.kind is LabelKind.INDEXES:
        return "int64"
    return target.column.dtype if target.column.type is ColumnType.TENSOR else "float32"


def _pixels(graph: ProcessingGraph, feed: Feed, columns: Columns, place: Place) -> Array:
    column = feed.columns[0]
    items = [{"image": one} for one in image_files(column, columns[column.name])]
    parts = [
        processed(graph, Items(place.split, place.first + at.start, items[at]))[0]
        for at in slices(len(items), CHUNK)
    ]
    made: Array = np.concatenate([one[feed.slot.tensor] for one in parts])
    return made


def _input(feed: Feed, columns: Columns, place: Place) -> Array:
    if feed.is_table:
        values = [_scalar(one, columns[one.name], place) for one in feed.columns]
        return np.stack(values, axis=1) if feed.slot.shape else values[0]
    column = feed.columns[0]
    made = _tensor(column, columns[column.name], place)
    return made.reshape(len(made), *input_shape(feed))


def _tensor(column: Column, values: pa.Array, place: Place) -> Array:
    if values.null_count:
        raise place.bad(column, _first_null(values), "is missing")
    made: Array = tensor_values(column, values)
    if made.dtype.kind == "f":
        _check_finite(column, made.reshape(len(made), -1), place)
    return made


def _scalar(column: Column, values: pa.Array, place: Place) -> Array:
    if values.null_count:
        raise place.bad(column, _first_null(values), "is missing")
    made: Array = values.to_numpy(zero_copy_only=False)
    if made.dtype.kind == "f":
        _check_finite(column, made[:, None], place)
    return made


def _check_finite(column: Column, values: Array, place: Place) -> None:
    good = np.isfinite(values).all(axis=1)
    if not good.all():
        raise place.bad(column, int(np.argmin(good)), "holds a number that is NaN or infinite")


def _target(target: Target, values: pa.Array, place: Place) -> Array:
    column = target.column
    if column.type is ColumnType.TENSOR:
        made = _tensor(column, values, place)
    elif column.classes:
        made = _class_indexes(column, values, place)
    else:
        made = _scalar(column, values, place)
    if target.kind is LabelKind.NUMBERS:
        return made
    width = target.slot.shape[-1] or 1
    flat = made.reshape(len(made), -1)
    good = ((flat >= 0) & (flat < width) & (flat == np.floor(flat))).all(axis=1)
    if not good.all():
        at = int(np.argmin(good))
        raise place.bad(
            column,
            at,
            f"is {flat[at].tolist()[:4]}, and the model has the classes 0 to {width - 1}",
        )
    if target.kind is LabelKind.INDEXES:
        return made
    return np.eye(width, dtype=np.float32)[made.astype(np.int64)]


def _class_indexes(column: Column, values: pa.Array, place: Place) -> Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pc.index_in(values, pa.array(column.classes, values.type))
    if found.null_count:
        at = _first_null(found)
        raise place.bad(column, at, f"is '{str(values[at])[:60]}', which is no class of the column")
    made: Array = found.to_numpy(zero_copy_only=False).astype(np.int64)
    return made


def _first_null(values: pa.Array) -> int:
    return int(np.argmin(values.is_valid().to_numpy(zero_copy_only=False)))


def slices(count: int, size: int) -> Iterator[slice]:
    """Consecutive slices of at most `size` that cover `count`."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
