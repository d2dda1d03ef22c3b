"""The form of each column in Arrow: as rows travel between functions, and as shards keep them.

The two differ for tensors alone. Travelling, a tensor is a fixed-size list of its flattened array,
which numpy sees without a copy. Kept, it is that list's bytes: Parquet takes lists value by value,
five to ten times slower for images of 8-bit pixels.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import pyarrow as pa

from modelry.domain.datasets import Column, ColumnType, Schema
from modelry.domain.errors import InvalidInput

BOX = pa.struct(
    [
        pa.field("label", pa.int32(), nullable=False),
        *(pa.field(one, pa.float32(), nullable=False) for one in ("x", "y", "width", "height")),
    ]
)
"""One object: the number of its class and its box, in pixels from the upper left corner."""

_PLAIN: dict[ColumnType, pa.DataType] = {
    ColumnType.TEXT: pa.utf8(),
    ColumnType.INTEGER: pa.int64(),
    ColumnType.NUMBER: pa.float64(),
    ColumnType.BOOLEAN: pa.bool_(),
    ColumnType.TIME: pa.timestamp("us", "UTC"),
    ColumnType.IMAGE: pa.binary(),
    ColumnType.BOXES: pa.list_(pa.field("item", BOX, nullable=False)),
}
TENSOR_TYPES: dict[str, pa.DataType] = {
    "bool": pa.uint8(),
    "int8": pa.int8(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "uint8": pa.uint8(),
    "uint16": pa.uint16(),
    "uint32": pa.uint32(),
    "uint64": pa.uint64(),
    "float16": pa.float16(),
    "float32": pa.float32(),
    "float64": pa.float64(),
}
"""What a tensor's values are in Arrow, by the dtype's name; truth values are bytes of 0 and 1."""

MAX_TENSOR_BYTES = 32 * 2**20
"""How large one row's tensor may be."""


def tensor_bytes(column: Column) -> int:
    """How many bytes one row of a tensor column has.

    Raises:
        InvalidInput: its dtype or shape is none that can be kept.
    """
    if column.dtype not in TENSOR_TYPES:
        raise InvalidInput(
            f"Column '{column.name}' has the dtype '{column.dtype}'; tensors may be "
            f"{', '.join(TENSOR_TYPES)}.",
            param=column.name,
        )
    size = prod(column.shape) * np.dtype(column.dtype).itemsize
    if not 1 <= size <= MAX_TENSOR_BYTES or min(column.shape, default=1) < 1:
        raise InvalidInput(
            f"Column '{column.name}' has the shape {list(column.shape)}, {size} bytes a row; 1 to "
            f"{MAX_TENSOR_BYTES} bytes can be kept.",
            param=column.name,
        )
    return size


def arrow_type(column: Column) -> pa.DataType:
    """The type of a column as rows travel."""
    if column.type is not ColumnType.TENSOR:
        return _PLAIN[column.type]
    tensor_bytes(column)
    item = pa.field("item", TENSOR_TYPES[column.dtype], nullable=False)
    return pa.list_(item, prod(column.shape))


def arrow_schema(schema: Schema) -> pa.Schema:
    """The schema of batches as rows travel."""
    return pa.schema(
        [pa.field(one.name, arrow_type(one), nullable=one.is_nullable) for one in schema.columns]
    )


def kept_schema(schema: Schema) -> pa.Schema:
    """The schema of shards."""
    return pa.schema(
        [
            pa.field(
                one.name,
                pa.binary(tensor_bytes(one)) if one.type is ColumnType.TENSOR else _PLAIN[one.type],
                nullable=one.is_nullable,
            )
            for one in schema.columns
        ]
    )


def to_kept(schema: Schema, batch: pa.RecordBatch) -> pa.RecordBatch:
    """`batch` as shards keep it; `batch` has exactly the columns of `schema`."""
    arrays = [
        _bytes_of(one, batch.column(i)) if one.type is ColumnType.TENSOR else batch.column(i)
        for i, one in enumerate(schema.columns)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=kept_schema(schema))


def from_kept(schema: Schema, batch: pa.RecordBatch) -> pa.RecordBatch:
    """`batch` of a shard as rows travel; `batch` has exactly the columns of `schema`."""
    arrays = [
        _list_of(one, batch.column(i)) if one.type is ColumnType.TENSOR else batch.column(i)
        for i, one in enumerate(schema.columns)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(schema))


def fitted(schema: Schema, batch: pa.RecordBatch) -> pa.RecordBatch:
    """`batch` with the columns of `schema` in its order and forms.

    Arrow types that mean the same (`large_utf8`, other units of time) are cast where nothing is
    lost.

    Raises:
        InvalidInput: a column is missing, cannot be cast, or has nulls where there may be none.
    """
    arrays = []
    for column in schema.columns:
        at = batch.schema.get_field_index(column.name)
        if at < 0:
            raise InvalidInput(f"Rows have no column '{column.name}'.", param=column.name)
        wanted = arrow_type(column)
        array = batch.column(at)
        if array.type != wanted:
            try:
                array = array.cast(wanted)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise InvalidInput(
                    f"Column '{column.name}' is {array.type} and must be {wanted}: "
                    f"{str(error)[:200]}",
                    param=column.name,
                ) from error
        if array.null_count and not column.is_nullable:
            raise InvalidInput(
                f"Column '{column.name}' has {array.null_count} missing values, and its schema "
                "says that none is missing.",
                param=column.name,
            )
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(schema))


def tensor_values(column: Column, array: pa.Array) -> np.ndarray[Any, Any]:
    """The rows of a tensor column as one array (rows x shape), without a copy; not to be written.

    Raises:
        InvalidInput: values are missing.
    """
    if array.null_count:
        raise InvalidInput(
            f"Column '{column.name}' misses the tensors of {array.null_count} rows; filter them "
            "out first.",
            param=column.name,
        )
    flat: np.ndarray[Any, Any] = array.flatten().to_numpy(zero_copy_only=True)
    return flat.view(column.dtype).reshape(len(array), *column.shape)


def tensor_array(column: Column, values: np.ndarray[Any, Any]) -> pa.Array:
    """The Arrow form of `values` (rows x shape)."""
    item = TENSOR_TYPES[column.dtype]
    flat = np.ascontiguousarray(values, dtype=column.dtype).reshape(-1)
    if column.dtype == "bool":
        flat = flat.view(np.uint8)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat, item), type=arrow_type(column))


BOX_FIELDS = tuple(field.name for field in BOX)


def box_values(array: pa.ListArray) -> np.ndarray[Any, np.dtype[np.float64]]:
    """All boxes of a column one after the other (boxes x 5): label, x, y, width, height."""
    boxes = array.flatten()
    values = np.empty((len(boxes), len(BOX_FIELDS)), dtype="<f8")
    for at, name in enumerate(BOX_FIELDS):
        values[:, at] = boxes.field(name).to_numpy(zero_copy_only=False)
    return values


def _bytes_of(column: Column, array: pa.FixedSizeListArray) -> pa.Array:
    size = tensor_bytes(column)
    if array.null_count:
        return pa.array(
            [_row_bytes(row) for row in array],
            pa.binary(size),
        )
    values = array.flatten().to_numpy(zero_copy_only=True)
    return pa.Array.from_buffers(pa.binary(size), len(array), [None, pa.py_buffer(values)])


def _row_bytes(row: pa.Scalar) -> bytes | None:
    if not row.is_valid:
        return None
    values: np.ndarray[Any, Any] = row.values.to_numpy(zero_copy_only=False)
    return values.tobytes()


def _list_of(column: Column, array: pa.FixedSizeBinaryArray) -> pa.Array:
    wanted = arrow_type(column)
    items = TENSOR_TYPES[column.dtype]
    length = prod(column.shape)
    if array.null_count:
        empty = bytes(tensor_bytes(column))
        validity = array.is_valid()
        whole = b"".join(row if row is not None else empty for row in array.to_pylist())
        values = pa.Array.from_buffers(items, len(array) * length, [None, pa.py_buffer(whole)])
        return pa.FixedSizeListArray.from_arrays(values, type=wanted, mask=_inverted(validity))
    data = array.buffers()[1]
    values = pa.Array.from_buffers(
        items, len(array) * length, [None, data], offset=array.offset * length
    )
    return pa.FixedSizeListArray.from_arrays(values, type=wanted)


def _inverted(validity: pa.BooleanArray) -> pa.BooleanArray:
    return pa.array(~validity.to_numpy(zero_copy_only=False))
