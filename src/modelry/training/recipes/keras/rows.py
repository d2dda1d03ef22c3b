"""Rows of a dataset as arrays that a Keras model takes, all of them in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from modelry.datasets.forms import tensor_values
from modelry.datasets.pictures import image_files
from modelry.domain.datasets import Column, ColumnType
from modelry.domain.errors import Cancelled, InvalidInput, RowsInvalid
from modelry.processing.graph import ProcessingGraph
from modelry.runtime_api.tensors import Array
from modelry.training.contract import Run, TrainingData
from modelry.training.inputs import CHUNK, processed
from modelry.training.inputs import Rows as Items
from modelry.training.recipes.keras.slots import Binding, Feed, LabelKind, Target, fitted_shape

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 4096
MAX_BYTES = 6 * 2**30


@dataclass(slots=True)
class Rows:
    """Some rows: an array per input and per output of the model, and what each row counts.

    `dtypes` are those that the model's inputs take.
    """

    inputs: list[Array]
    targets: list[Array]
    weights: Array | None
    dtypes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.inputs[0])

    def take(self, at: Any) -> Rows:
        """Those of a slice or of an array of indexes."""
        return Rows(
            [one[at] for one in self.inputs],
            [one[at] for one in self.targets],
            None if self.weights is None else self.weights[at],
            self.dtypes,
        )


def read_rows(
    data: TrainingData, split: str, binding: Binding, graph: ProcessingGraph | None, run: Run
) -> Rows:
    """All rows of a split; image files go through `graph`, as they will when it is served.

    Numbers stay in the type in which they are kept (8-bit pixels take a quarter of what floats
    would) and become the model's own batch by batch.

    Raises:
        RowsInvalid: values are missing, no finite numbers, or of no class of the model.
        InvalidInput: more rows than fit into memory.
        Cancelled: the run was stopped.
    """
    count = data.description.rows[split]
    inputs = [_Filler(_input_shape(one), _input_type(one), count) for one in binding.feeds]
    targets = [_Filler(_target_shape(one), _target_type(one), count) for one in binding.targets]
    weights = None if binding.weight is None else _Filler((), "float32", count)
    _check_size([*inputs, *targets], data.description.ref, split)
    first = 0
    for batch in data.batches(split, binding.columns, BATCH):
        if run.stop.is_set():
            raise Cancelled("The run was stopped while it read rows.")
        place = _Place(split, first)
        columns = {name: batch.column(at) for at, name in enumerate(binding.columns)}
        for filler, feed in zip(inputs, binding.feeds, strict=True):
            if feed.is_image and graph is not None:
                filler.add(_pixels(graph, feed, columns, place))
            else:
                filler.add(_input(feed, columns, place))
        for filler, target in zip(targets, binding.targets, strict=True):
            filler.add(_target(target, columns[target.column.name], place))
        if weights is not None and binding.weight is not None:
            weights.add(_scalar(binding.weight, columns[binding.weight.name], place))
        first += len(batch)
        run.progress(first, count, "rows", f"reading {split}")
    return Rows(
        [one.done() for one in inputs],
        [one.done() for one in targets],
        None if weights is None else weights.done(),
        tuple(one.slot.dtype for one in binding.feeds),
    )


class _Filler:
    """An array that is filled from its beginning."""

    def __init__(self, shape: tuple[int, ...], dtype: str, count: int) -> None:
        self.size_bytes = prod(shape) * np.dtype(dtype).itemsize * count
        self._shape, self._dtype, self._count = shape, dtype, count
        self._array: Array | None = None
        self._at = 0

    def add(self, values: Array) -> None:
        if self._array is None:
            self._array = np.empty((self._count, *self._shape), self._dtype)
        self._array[self._at : self._at + len(values)] = values
        self._at += len(values)

    def done(self) -> Array:
        if self._array is None:
            return np.empty((0, *self._shape), self._dtype)
        return self._array[: self._at]


@dataclass(frozen=True, slots=True)
class _Place:
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


def _check_size(fillers: Sequence[_Filler], ref: str, split: str) -> None:
    size = sum(one.size_bytes for one in fillers)
    if size > MAX_BYTES:
        raise InvalidInput(
            f"The split '{split}' of {ref} takes {size / 2**30:.1f} GiB as arrays; the recipe "
            f"'keras' keeps all rows in memory, at most {MAX_BYTES / 2**30:.0f} GiB. Import pixels "
            "as uint8, or derive a smaller version.",
            param="dataset",
        )


def _input_shape(feed: Feed) -> tuple[int, ...]:
    if feed.is_table:
        return (len(feed.columns),) if feed.slot.shape else ()
    if feed.is_image:
        return tuple(one or 1 for one in feed.slot.shape)
    return fitted_shape(feed.columns[0].shape, feed.slot.shape) or feed.columns[0].shape


def _input_type(feed: Feed) -> str:
    return feed.columns[0].dtype or feed.slot.dtype


def _target_shape(target: Target) -> tuple[int, ...]:
    if target.column.type is ColumnType.TENSOR:
        return target.column.shape
    return (target.slot.shape[-1] or 1,) if target.kind is LabelKind.ONE_HOT else ()


def _target_type(target: Target) -> str:
    if target.kind is LabelKind.INDEXES:
        return "int64"
    return target.column.dtype if target.column.type is ColumnType.TENSOR else "float32"


def _pixels(
    graph: ProcessingGraph, feed: Feed, columns: dict[str, pa.Array], place: _Place
) -> Array:
    column = feed.columns[0]
    items = [{"image": one} for one in image_files(column, columns[column.name])]
    parts = [
        processed(graph, Items(place.split, place.first + at.start, items[at]))[0]
        for at in slices(len(items), CHUNK)
    ]
    made: Array = np.concatenate([one[feed.slot.tensor] for one in parts])
    return made


def _input(feed: Feed, columns: dict[str, pa.Array], place: _Place) -> Array:
    if feed.is_table:
        values = [_scalar(one, columns[one.name], place) for one in feed.columns]
        return np.stack(values, axis=1) if feed.slot.shape else values[0]
    column = feed.columns[0]
    made = _tensor(column, columns[column.name], place)
    return made.reshape(len(made), *_input_shape(feed))


def _tensor(column: Column, values: pa.Array, place: _Place) -> Array:
    if values.null_count:
        raise place.bad(column, _first_null(values), "is missing")
    made: Array = tensor_values(column, values)
    if made.dtype.kind == "f":
        _check_finite(column, made.reshape(len(made), -1), place)
    return made


def _scalar(column: Column, values: pa.Array, place: _Place) -> Array:
    if values.null_count:
        raise place.bad(column, _first_null(values), "is missing")
    made: Array = values.to_numpy(zero_copy_only=False)
    if made.dtype.kind == "f":
        _check_finite(column, made[:, None], place)
    return made


def _check_finite(column: Column, values: Array, place: _Place) -> None:
    good = np.isfinite(values).all(axis=1)
    if not good.all():
        raise place.bad(column, int(np.argmin(good)), "holds a number that is NaN or infinite")


def _target(target: Target, values: pa.Array, place: _Place) -> Array:
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


def _class_indexes(column: Column, values: pa.Array, place: _Place) -> Array:
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
