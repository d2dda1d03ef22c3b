"""Rows as JSON, for people to look at."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from modelry.datasets import forms
from modelry.domain.datasets import Column, ColumnType, Schema
from modelry.domain.errors import PayloadTooLarge

MAX_BYTES = 16 * 2**20
"""How long the rows of one answer may be."""


def write_rows(
    schema: Schema, batches: Iterable[pa.RecordBatch], file: Path, max_value_bytes: int
) -> int:
    """Write rows as a JSON array of objects; how many.

    Images are `{"base64": …}`, boxes lists of objects with the class's name, tensors nested lists,
    times ISO 8601. NaN and infinities, which JSON lacks, are the words `nan`, `inf`, `-inf`. A
    value of more than `max_value_bytes` is `{"omitted_bytes": its size}`.

    Raises:
        PayloadTooLarge: they are longer than `MAX_BYTES` together.
    """
    rows = written = 0
    with file.open("wb") as out:
        out.write(b"[")
        for batch in batches:
            columns = [
                (one, [_told(one, value, max_value_bytes) for value in batch.column(at)])
                for at, one in enumerate(schema.columns)
            ]
            for row in range(len(batch)):
                line = orjson.dumps({one.name: values[row] for one, values in columns})
                written += len(line) + 1
                if written > MAX_BYTES:
                    raise PayloadTooLarge(
                        f"The rows are longer than {MAX_BYTES:,} bytes together; ask for fewer "
                        "rows or columns, or have large values left out (max_value_bytes).",
                        param="limit",
                    )
                out.write(b"," + line if rows else line)
                rows += 1
        out.write(b"]")
    return rows


def _told(column: Column, scalar: pa.Scalar, most: int) -> Any:
    if not scalar.is_valid:
        return None
    size = _size(column, scalar)
    if size > most:
        return {"omitted_bytes": size}
    match column.type:
        case ColumnType.IMAGE:
            return {"base64": base64.b64encode(scalar.as_buffer()).decode()}
        case ColumnType.TENSOR:
            return _nested(column, scalar)
        case ColumnType.BOXES:
            return [_box(column, one) for one in scalar.as_py()]
        case ColumnType.NUMBER:
            return _number(scalar.as_py())
        case ColumnType.TIME:
            return scalar.as_py().isoformat()
    return scalar.as_py()


def _size(column: Column, scalar: pa.Scalar) -> int:
    if column.type in {ColumnType.TEXT, ColumnType.IMAGE}:
        return int(scalar.as_buffer().size)
    return forms.tensor_bytes(column) if column.type is ColumnType.TENSOR else 0


def _box(column: Column, box: dict[str, Any]) -> dict[str, Any]:
    label = box.pop("label")
    name = column.classes[label] if 0 <= label < len(column.classes) else label
    return {"label": name} | {key: _number(value) for key, value in box.items()}


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _nested(column: Column, scalar: pa.Scalar) -> Any:
    values = scalar.values.to_numpy(zero_copy_only=False).view(column.dtype)
    shaped = values.reshape(column.shape).tolist()
    return _finite(shaped)


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return _number(value) if isinstance(value, float) else value
