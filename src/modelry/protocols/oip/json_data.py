"""Tensor data as JSON lists, to and from the protocol's bytes."""

from __future__ import annotations

import functools
import math
import struct
from typing import Any

import numpy as np

from modelry.domain.errors import MalformedBody, TensorMismatch, UnsupportedField
from modelry.domain.signature import Datatype
from modelry.runtime_api.tensors import NUMPY_TYPES, Array

_CODES: dict[Datatype, str] = {
    Datatype.UINT8: "B",
    Datatype.UINT16: "H",
    Datatype.UINT32: "I",
    Datatype.UINT64: "Q",
    Datatype.INT8: "b",
    Datatype.INT16: "h",
    Datatype.INT32: "i",
    Datatype.INT64: "q",
    Datatype.FP16: "e",
    Datatype.FP32: "f",
    Datatype.FP64: "d",
}


JSON_ERRORS = (struct.error, OverflowError, TypeError, AttributeError, ValueError)
"""What packing a list raises that does not hold numbers of the right type and range."""


@functools.lru_cache(maxsize=512)
def packer_of(datatype: Datatype, count: int) -> struct.Struct:
    """Packs `count` numbers of `datatype`, which is neither BYTES nor BOOL nor BF16."""
    return struct.Struct(f"<{count}{_CODES[datatype]}")


def bytes_of_json(name: str, datatype: Datatype, shape: list[int], data: Any) -> bytes:
    """The bytes of a tensor whose data is a flat or nested JSON list in row-major order.

    Raises:
        TensorMismatch: another number of elements than the shape asks for, or an element of
            the wrong type or out of range.
    """
    if not isinstance(data, list):
        raise MalformedBody(f"Tensor '{name}': 'data' must be a list.", param=name)
    if datatype is Datatype.BF16:
        raise UnsupportedField(
            f"Tensor '{name}': BF16 has no JSON form; send it as binary.", param=name
        )
    flat = _flatten(name, shape, data) if data and isinstance(data[0], list) else data
    if len(flat) != math.prod(shape):
        raise TensorMismatch(
            f"Tensor '{name}' has {len(flat)} elements; its shape {shape} asks for "
            f"{math.prod(shape)}.",
            param=name,
        )
    try:
        if datatype is Datatype.BYTES:
            return b"".join(_pack_string(item) for item in flat)
        if datatype is Datatype.BOOL:
            return bytes(_boolean(item) for item in flat)
        return packer_of(datatype, len(flat)).pack(*flat)
    except JSON_ERRORS as error:
        raise TensorMismatch(
            f"Tensor '{name}': not all elements are {datatype} values ({error}).", param=name
        ) from None


def _flatten(name: str, shape: list[int], data: list[Any]) -> list[Any]:
    """The elements of a nested list whose nesting is exactly that of `shape`."""
    level: list[Any] = data
    for depth, size in enumerate(shape):
        expected = math.prod(shape[: depth + 1])
        if depth:
            lists = level
            if not all(isinstance(part, list) and len(part) == size for part in lists):
                raise TensorMismatch(
                    f"Tensor '{name}': 'data' is not nested as its shape {shape} asks for.",
                    param=name,
                )
            level = [item for part in lists for item in part]
        if len(level) != expected:
            raise TensorMismatch(
                f"Tensor '{name}': 'data' is not nested as its shape {shape} asks for.", param=name
            )
    return level


def _pack_string(item: Any) -> bytes:
    raw = item.encode()
    return struct.pack("<I", len(raw)) + bytes(raw)


def _boolean(item: Any) -> int:
    if item is True or item == 1:
        return 1
    if item is False or item == 0:
        return 0
    raise TypeError(f"{item!r:.40} is not a boolean")


def json_of_array(array: Array) -> Any:
    """`array` flattened, as something orjson writes as a list.

    NaN and infinities become null (JSON has no word for them); ask for binary output to get
    them. BYTES that are not UTF-8 are refused.

    Raises:
        UnsupportedField: BYTES that are not text.
    """
    if array.dtype == NUMPY_TYPES[Datatype.BYTES]:
        try:
            return [bytes(item).decode() for item in array.ravel()]
        except UnicodeDecodeError:
            raise UnsupportedField(
                "An output holds bytes that are not UTF-8 text; ask for it as binary "
                '("binary_data": true).'
            ) from None
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    return np.ascontiguousarray(array).ravel()
