"""What importers of plain arrays share: arrays read in runs of rows, labels as classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from modelry.datasets.forms import MAX_TENSOR_BYTES, TENSOR_TYPES, arrow_schema, arrow_type
from modelry.datasets.importers.batches import BATCH_BYTES, BATCH_ROWS
from modelry.datasets.importers.classes import NumberClasses, class_names, given_or_found
from modelry.datasets.importers.contract import ImportRequest
from modelry.domain.datasets import Column, ColumnRole, ColumnType, Schema
from modelry.domain.errors import InvalidInput

Array = npt.NDArray[Any]
Block = Callable[[int], Iterator[Array]]


@dataclass(frozen=True, slots=True)
class Stored:
    """An array in a file.

    Attributes:
        place: file and array, for messages.
        shape: with the rows first.
        dtype: in any byte order.
        blocks: opens it, and gives runs of so many rows from the first to the last.
    """

    place: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    blocks: Block

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return self.shape[0]

    @property
    def row_bytes(self) -> int:
        """The size of a row."""
        return int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize


def check_shape(place: str, shape: Sequence[int], dtype: np.dtype[Any]) -> None:
    """See that rows of an array can be kept.

    Raises:
        InvalidInput: it has no rows, or rows of nothing, or too large ones.
    """
    row_bytes = dtype.itemsize
    for side in shape[1:]:  # as integers of any size: a product in int64 could wrap around
        row_bytes *= side
    if len(shape) < 1 or shape[0] < 1 or not 0 < row_bytes <= MAX_TENSOR_BYTES:
        raise InvalidInput(
            f"{place} has the shape {list(shape)[:8]}; expected at least one row, and 1 to "
            f"{MAX_TENSOR_BYTES} bytes a row.",
            param=place,
        )
    if dtype.kind not in "biufUS" or (dtype.kind in "biuf" and dtype.name not in TENSOR_TYPES):
        raise InvalidInput(
            f"{place} has values of the type '{dtype}'; expected numbers, truth values or text.",
            param=place,
        )


def read_blocks(
    file: IO[bytes], place: str, shape: Sequence[int], dtype: np.dtype[Any], rows: int
) -> Iterator[Array]:
    """Rows that lie one after the other in a stream, at most `rows` at a time.

    Raises:
        InvalidInput: the stream ends early.
    """
    row_shape = tuple(shape[1:])
    row_bytes = int(np.prod(row_shape, dtype=np.int64)) * dtype.itemsize
    left = shape[0]
    while left:
        count = min(rows, left)
        data = file.read(count * row_bytes)
        if len(data) < count * row_bytes:
            raise InvalidInput(
                f"{place} is cut off: it ends {left - len(data) // row_bytes} rows before the "
                f"{shape[0]} that its header tells. Save or send it again.",
                param=place,
            )
        yield np.frombuffer(data, dtype).reshape(count, *row_shape)
        left -= count


class ArraySource:
    """Splits of arrays with one row each per row of the dataset.

    Args:
        request: what to import; its options are `LabelledOptions`.
        splits: the arrays by column, for each split; the same columns in each.
        label: the column that is to be predicted, if any.
    """

    def __init__(
        self,
        request: ImportRequest,
        splits: Mapping[str, Mapping[str, Stored]],
        label: str | None,
    ) -> None:
        self.problems = request.problems
        self._watch = request.watch
        self._splits = splits
        self._label = label
        _check_splits(splits)
        self._names: dict[int, str] = {}
        self.schema = Schema(
            tuple(
                self._label_column(name, request) if name == label else _feature(name, arrays)
                for name, arrays in _by_column(splits).items()
            )
        )

    @property
    def splits(self) -> Sequence[str]:
        """See `Source.splits`."""
        return tuple(self._splits)

    def rows(self, split: str) -> Iterator[pa.RecordBatch]:
        """See `Source.rows`."""
        self.problems.begin(split)
        arrays = self._splits[split]
        first = next(iter(arrays.values()))
        row_bytes = sum(one.row_bytes for one in arrays.values())
        count = max(1, min(BATCH_ROWS, BATCH_BYTES // row_bytes))
        done = 0
        schema = arrow_schema(self.schema)
        runs = [arrays[one.name].blocks(count) for one in self.schema.columns]
        for run in zip(*runs, strict=True):
            columns = [
                self._arrow(column, block)
                for column, block in zip(self.schema.columns, run, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)
            done += len(run[0])
            self._watch("reading", done, first.rows)

    def _label_column(self, name: str, request: ImportRequest) -> Column:
        arrays = [split[name] for split in self._splits.values()]
        if arrays[0].dtype.kind in "US":
            return self._text_label(name, arrays, request)
        if _is_one_hot(arrays):
            numbers: list[int] = list(range(arrays[0].shape[1]))
            self._names = class_names(numbers, request.options.classes)
        elif _width(arrays[0]) != 1 or any(one.dtype.kind == "f" for one in arrays):
            if request.options.labels == "classes":
                raise InvalidInput(
                    f"{arrays[0].place} has the shape {list(arrays[0].shape)} and values of the "
                    f"type '{arrays[0].dtype}'; expected a whole number per row, or rows with one "
                    "1 and else 0, for labels=classes.",
                    param="labels",
                )
            return _feature(name, arrays, ColumnRole.LABEL)
        else:
            found = NumberClasses()
            for array in arrays:
                for block in array.blocks(65536):
                    found.add(block)
            if not found.are_classes(request.options.labels):
                return _feature(name, arrays, ColumnRole.LABEL)
            if arrays[0].dtype.kind == "b":
                self._names = class_names([0, 1], request.options.classes or ["false", "true"])
            else:
                self._names = class_names(found.numbers(), request.options.classes)
        classes = tuple(self._names.values())
        return Column(name, ColumnType.TEXT, ColumnRole.LABEL, classes=classes)

    def _text_label(self, name: str, arrays: Sequence[Stored], request: ImportRequest) -> Column:
        found: set[str] = set()
        for array in arrays:
            for block in array.blocks(65536):
                found.update(np.unique(_texts(block)).tolist())
        classes = given_or_found(found, request.options.classes)
        return Column(name, ColumnType.TEXT, ColumnRole.LABEL, classes=classes)

    def _arrow(self, column: Column, block: Array) -> pa.Array:
        if block.dtype.kind in "US":
            return pa.array(_texts(block).tolist(), pa.utf8())
        if column.classes:
            if block.ndim == 2 and block.shape[1] > 1:
                block = block.argmax(axis=1)
            return pa.array([self._names[int(one)] for one in block.reshape(-1)], pa.utf8())
        plain = block.astype(block.dtype.newbyteorder("="), copy=False)
        if column.type is ColumnType.TENSOR:
            kind = arrow_type(column)
            plain = plain.astype(column.dtype, copy=False)  # splits may have narrower ones
            if plain.dtype.kind == "b":
                plain = plain.view(np.uint8)
            flat = pa.array(np.ascontiguousarray(plain).reshape(-1), kind.value_type)
            return pa.FixedSizeListArray.from_arrays(flat, type=kind)
        return pa.array(plain.reshape(-1), arrow_type(column))


def _check_splits(splits: Mapping[str, Mapping[str, Stored]]) -> None:
    first = next(iter(splits.values()))
    for split, arrays in splits.items():
        if set(arrays) != set(first):
            raise InvalidInput(
                f"Split '{split}' has {', '.join(sorted(arrays))}; expected the same as in split "
                f"'{next(iter(splits))}': {', '.join(sorted(first))}.",
                param="files",
            )
        counts = {one.place: one.rows for one in arrays.values()}
        if len(set(counts.values())) > 1:
            told = ", ".join(f"{place} has {rows}" for place, rows in counts.items())
            raise InvalidInput(
                f"Arrays of one split must have as many rows as each other: {told}.", param="files"
            )
        for name, one in arrays.items():
            like = first[name]
            if one.shape[1:] != like.shape[1:] or not _are_alike(one.dtype, like.dtype):
                raise InvalidInput(
                    f"{one.place} has rows of the shape {list(one.shape[1:])} and type "
                    f"'{one.dtype}'; {like.place} has {list(like.shape[1:])} and '{like.dtype}'. "
                    "All splits must have the same.",
                    param="files",
                )


def _are_alike(one: np.dtype[Any], other: np.dtype[Any]) -> bool:
    """Whether values of both can be kept in one type, without a loss."""
    if one.kind == other.kind:
        return True
    return {one.kind, other.kind} == {"i", "u"} and np.result_type(one, other).kind == "i"


def _by_column(splits: Mapping[str, Mapping[str, Stored]]) -> dict[str, list[Stored]]:
    names = next(iter(splits.values()))
    return {name: [arrays[name] for arrays in splits.values()] for name in names}


def _width(array: Stored) -> int:
    return int(np.prod(array.shape[1:], dtype=np.int64))


def _feature(name: str, arrays: Sequence[Stored], role: ColumnRole = ColumnRole.FEATURE) -> Column:
    """A column for values as they are; a row of one value is that value, unless it is a tensor."""
    dtype = np.result_type(*(one.dtype.newbyteorder("=") for one in arrays))
    if arrays[0].dtype.kind in "US":
        if len(arrays[0].shape) > 1:
            raise InvalidInput(
                f"{arrays[0].place} has texts in the shape {list(arrays[0].shape)}; expected one "
                "text per row.",
                param=arrays[0].place,
            )
        return Column(name, ColumnType.TEXT, role)
    is_single = len(arrays[0].shape) == 1 or (role is ColumnRole.LABEL and _width(arrays[0]) == 1)
    if not is_single:
        return Column(name, ColumnType.TENSOR, role, shape=arrays[0].shape[1:], dtype=dtype.name)
    if dtype.kind == "b":
        return Column(name, ColumnType.BOOLEAN, role)
    if dtype.kind in "iu":
        return Column(name, ColumnType.INTEGER, role)
    return Column(name, ColumnType.NUMBER, role)


def _is_one_hot(arrays: Sequence[Stored]) -> bool:
    """Whether each row has one 1 and else 0, over all rows."""
    if len(arrays[0].shape) != 2 or arrays[0].shape[1] < 2:
        return False
    for array in arrays:
        for block in array.blocks(8192):
            if not (((block == 0) | (block == 1)).all() and (block.sum(axis=1) == 1).all()):
                return False
    return True


def _texts(block: Array) -> Array:
    """Texts as unicode.

    Raises:
        InvalidInput: bytes that are no UTF-8.
    """
    if block.dtype.kind == "U":
        return block
    try:
        return np.char.decode(block, "utf-8")
    except UnicodeDecodeError:
        raise InvalidInput(
            "An array of bytes has values that are not UTF-8; save it as an array of text.",
            param="files",
        ) from None
