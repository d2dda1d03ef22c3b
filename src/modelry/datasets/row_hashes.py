"""A number for each row's content, to split by and to find the same content again.

The same content has the same number on every machine, wherever the row stands. 64 bits tell rows
apart well enough to share them out; what must never take two rows for one compares more.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modelry.datasets import forms
from modelry.domain.datasets import Column, ColumnRole, ColumnType, Schema

Hashes = np.ndarray[Any, np.dtype[np.uint64]]

_MISSING = np.uint64(0x9E3779B97F4A7C15)
_BEGIN = np.uint64(0x2545F4914F6CDD1D)


def mixed(values: Hashes) -> Hashes:
    """Every bit of each number spread over all of it (SplitMix64's finaliser)."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def text_hash(text: str) -> int:
    """The number of one text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def telling(schema: Schema) -> Schema:
    """The columns that make a row's content: all but ids, or all if there are only ids."""
    columns = tuple(one for one in schema.columns if one.role is not ColumnRole.ID)
    return Schema(columns or schema.columns)


def predicting(schema: Schema) -> Schema:
    """The columns that a row is predicted from; all that tell, if there are none.

    Rows that share them are one question: in two splits, they would be a leak.
    """
    others = {ColumnRole.ID, ColumnRole.LABEL, ColumnRole.TARGET, ColumnRole.WEIGHT}
    columns = tuple(one for one in schema.columns if one.role not in others)
    return Schema(columns) if columns else telling(schema)


def row_hashes(schema: Schema, batch: pa.RecordBatch) -> Hashes:
    """A number for each row of `batch`, over the columns of `schema`."""
    whole = np.full(len(batch), _BEGIN, dtype=np.uint64)
    for column in schema.columns:
        array = batch.column(batch.schema.get_field_index(column.name))
        with np.errstate(over="ignore"):
            whole = mixed(whole * np.uint64(31) + _column_hashes(column, array))
    return whole


def _column_hashes(column: Column, array: pa.Array) -> Hashes:
    match column.type:
        case ColumnType.TEXT | ColumnType.IMAGE:
            return _of_texts(array)
        case ColumnType.TENSOR:
            found = _of_pieces(array, _tensor_rows)
        case ColumnType.BOXES:
            found = _of_pieces(array, _box_rows)
        case _:
            found = _of_numbers(column, array)
    if array.null_count:
        found[array.is_null().to_numpy(zero_copy_only=False)] = _MISSING
    return found


def _of_numbers(column: Column, array: pa.Array) -> Hashes:
    plain = array.cast(pa.int64()) if column.type is ColumnType.TIME else array
    if array.null_count:
        plain = plain.fill_null(False if column.type is ColumnType.BOOLEAN else 0)
    values = plain.to_numpy(zero_copy_only=False)
    if column.type is ColumnType.BOOLEAN:
        return mixed(values.astype(np.uint64))
    if column.type is ColumnType.NUMBER:
        values = values + 0.0  # minus zero is zero
    return mixed(np.ascontiguousarray(values).view(np.uint64))


def _of_texts(array: pa.Array) -> Hashes:
    """By each different value, once: labels and repeated texts cost nothing."""
    coded = array.dictionary_encode()
    known = np.array(
        [
            int.from_bytes(hashlib.blake2b(one.as_buffer(), digest_size=8).digest(), "little")
            for one in coded.dictionary
        ]
        + [int(_MISSING)],
        dtype=np.uint64,
    )
    codes = pc.fill_null(coded.indices, len(known) - 1).to_numpy(zero_copy_only=False)
    return mixed(known[codes])


def _of_pieces(array: pa.Array, rows: Any) -> Hashes:
    return mixed(
        np.fromiter(
            (
                int.from_bytes(hashlib.blake2b(one, digest_size=8).digest(), "little")
                for one in rows(array)
            ),
            dtype=np.uint64,
            count=len(array),
        )
    )


def _tensor_rows(array: pa.FixedSizeListArray) -> Any:
    if array.null_count:
        empty = b""
        return (
            one.values.to_numpy(zero_copy_only=False).tobytes() if one.is_valid else empty
            for one in array
        )
    size = array.type.list_size
    return array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), size)


def _box_rows(array: pa.ListArray) -> Any:
    boxes = forms.box_values(array)
    ends = np.cumsum(pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False))
    return np.split(boxes, ends[:-1]) if len(array) else ()
