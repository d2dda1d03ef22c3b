"""Tensors between bytes and numpy.

Byte layout is that of the Open Inference Protocol's binary tensor data extension: C order,
little-endian; a BYTES element is a u32 length followed by that many bytes. BF16 is carried as
its raw 16 bits in a uint16 array.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from modelry.domain.errors import TensorMismatch
from modelry.domain.signature import ITEM_BYTES, Datatype

Array = npt.NDArray[Any]

NUMPY_TYPES: dict[Datatype, np.dtype[Any]] = {
    Datatype.BOOL: np.dtype("bool"),
    Datatype.UINT8: np.dtype("<u1"),
    Datatype.UINT16: np.dtype("<u2"),
    Datatype.UINT32: np.dtype("<u4"),
    Datatype.UINT64: np.dtype("<u8"),
    Datatype.INT8: np.dtype("<i1"),
    Datatype.INT16: np.dtype("<i2"),
    Datatype.INT32: np.dtype("<i4"),
    Datatype.INT64: np.dtype("<i8"),
    Datatype.FP16: np.dtype("<f2"),
    Datatype.FP32: np.dtype("<f4"),
    Datatype.FP64: np.dtype("<f8"),
    Datatype.BF16: np.dtype("<u2"),
    Datatype.BYTES: np.dtype(object),
}
_DATATYPES = {
    dtype: datatype for datatype, dtype in NUMPY_TYPES.items() if datatype is not Datatype.BF16
}
MAX_ELEMENTS = 2**31


def datatype_of(array: Array) -> Datatype:
    """The protocol's name for the element type of `array`.

    Raises:
        TensorMismatch: numpy has the type, the protocol has not (complex numbers, dates).
    """
    if array.dtype.kind in "OSU":
        return Datatype.BYTES
    try:
        return _DATATYPES[
            array.dtype.newbyteorder("<") if array.dtype.itemsize > 1 else array.dtype
        ]
    except KeyError:
        raise TensorMismatch(f"Arrays of type {array.dtype} cannot be sent as a tensor.") from None


def count_elements(name: str, shape: Sequence[int]) -> int:
    """Number of elements of `shape`.

    Raises:
        TensorMismatch: a negative or non-integer size, or more than 2**31 elements.
    """
    for size in shape:
        if type(size) is not int or size < 0:
            raise TensorMismatch(
                f"Tensor '{name}' has shape {list(shape)}; sizes must be integers >= 0.", param=name
            )
    elements = math.prod(shape)
    if elements > MAX_ELEMENTS:
        raise TensorMismatch(
            f"Tensor '{name}' has {elements} elements; at most {MAX_ELEMENTS} are allowed.",
            param=name,
        )
    return elements


def decode_tensor(
    name: str, datatype: Datatype, shape: Sequence[int], data: bytes | memoryview
) -> Array:
    """An array over `data` (no copy, read-only) in the given type and shape.

    Raises:
        TensorMismatch: the byte length does not fit the shape, or a BYTES element is cut off.
    """
    elements = count_elements(name, shape)
    if datatype is Datatype.BYTES:
        return _decode_strings(name, elements, data).reshape(tuple(shape))
    expected = elements * ITEM_BYTES[datatype]
    if len(data) != expected:
        raise TensorMismatch(
            f"Tensor '{name}' has {len(data)} bytes; {datatype} with shape {list(shape)} "
            f"takes {expected}.",
            param=name,
        )
    return np.frombuffer(data, NUMPY_TYPES[datatype]).reshape(tuple(shape))


def _decode_strings(name: str, elements: int, data: bytes | memoryview) -> Array:
    view = memoryview(data)
    found: list[bytes] = []
    position, end = 0, len(view)
    while position + 4 <= end and len(found) <= elements:
        (length,) = struct.unpack_from("<I", view, position)
        if position + 4 + length > end:
            break
        found.append(bytes(view[position + 4 : position + 4 + length]))
        position += 4 + length
    if position != end or len(found) != elements:
        raise TensorMismatch(
            f"Tensor '{name}': its {end} bytes hold {len(found)} complete BYTES elements; the "
            f"shape asks for {elements}. Each element is a 4-byte little-endian length and "
            "then its bytes.",
            param=name,
        )
    array = np.empty(elements, dtype=object)
    array[:] = found
    return array


def encode_tensor(array: Array) -> bytes:
    """The bytes of `array` in the protocol's layout."""
    if array.dtype.kind in "OSU":
        parts: list[bytes] = []
        for element in array.ravel():
            raw = element.encode() if isinstance(element, str) else bytes(element)
            parts += (struct.pack("<I", len(raw)), raw)
        return b"".join(parts)
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def pack_tensors(arrays: Mapping[str, Array]) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Header entries and body parts of named arrays, in order."""
    entries: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for name, array in arrays.items():
        raw = encode_tensor(array)
        entries.append(
            {
                "name": name,
                "datatype": datatype_of(array).value,
                "shape": list(array.shape),
                "size": len(raw),
            }
        )
        parts.append(raw)
    return entries, parts


def unpack_tensors(
    entries: Iterable[Mapping[str, Any]], body: bytes | memoryview
) -> dict[str, Array]:
    """The named arrays that header entries and a body describe (views, no copy).

    Raises:
        TensorMismatch: sizes that disagree with each other or with the body.
    """
    view = memoryview(body)
    arrays: dict[str, Array] = {}
    position = 0
    for entry in entries:
        size = int(entry["size"])
        if size < 0 or position + size > len(view):
            raise TensorMismatch(f"Tensor '{entry['name']}' is cut off.", param=str(entry["name"]))
        arrays[entry["name"]] = decode_tensor(
            entry["name"],
            Datatype(entry["datatype"]),
            entry["shape"],
            view[position : position + size],
        )
        position += size
    if position != len(view):
        raise TensorMismatch(f"{len(view) - position} bytes are left over after the last tensor.")
    return arrays
