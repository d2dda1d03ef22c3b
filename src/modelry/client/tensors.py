"""Tensors between numpy and the Open Inference Protocol's binary layout.

C order, little-endian; a BYTES element is a 4-byte length followed by that many bytes. BF16,
which numpy has not, is given and taken as float32.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from modelry.client.errors import TensorMismatch, UnexpectedAnswer

Array = npt.NDArray[Any]

NUMPY_TYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("bool"),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
_DATATYPES = {dtype: name for name, dtype in NUMPY_TYPES.items()}


def datatype_of(name: str, array: Array) -> str:
    """The protocol's word for the element type of `array`.

    Raises:
        TensorMismatch: the protocol has none (complex numbers, dates).
    """
    if array.dtype.kind in "OSU":
        return "BYTES"
    found = _DATATYPES.get(array.dtype.newbyteorder("<") if array.itemsize > 1 else array.dtype)
    if found is None:
        raise TensorMismatch(
            f"Tensor '{name}' is of numpy type {array.dtype}, which cannot be sent; convert it "
            "with .astype(…).",
            param=name,
        )
    return found


def pack(name: str, value: Any, datatype: str | None = None) -> tuple[dict[str, Any], bytes]:
    """The JSON entry of an input, and its bytes.

    Args:
        name: of the input.
        value: an array, or lists that make one.
        datatype: convert to it; by default the array's own type is kept.

    Raises:
        TensorMismatch: the value is no array of such a type.
    """
    array, datatype = _as_array(name, value, datatype)
    raw = _raw(name, array, datatype)
    entry = {
        "name": name,
        "datatype": datatype,
        "shape": list(array.shape),
        "parameters": {"binary_data_size": len(raw)},
    }
    return entry, raw


def _as_array(name: str, value: Any, datatype: str | None) -> tuple[Array, str]:
    try:
        if datatype is None:
            array = np.asarray(value)
            return array, datatype_of(name, array)
        if datatype == "BYTES":
            return np.asarray(value, dtype=object), datatype
        if datatype == "BF16":
            return np.asarray(value, dtype=np.float32), datatype
        wanted = NUMPY_TYPES.get(datatype)
        if wanted is None:
            known = ", ".join((*NUMPY_TYPES, "BF16", "BYTES"))
            raise TensorMismatch(
                f"Unknown datatype '{datatype}' for tensor '{name}'; known are {known}.",
                param=name,
            )
        return _converted(np.asarray(value), wanted), datatype
    except (ArithmeticError, TypeError, ValueError) as error:
        raise TensorMismatch(
            f"Tensor '{name}' cannot be made an array of {datatype or 'one type'}: {error}.",
            param=name,
        ) from None


def _converted(array: Array, wanted: np.dtype[Any]) -> Array:
    """`array` as another type, unless that would change values beyond rounding."""
    if array.size == 0:
        return array.astype(wanted)
    if array.dtype.kind not in "iu":
        with np.errstate(over="raise"):
            return array.astype(wanted, casting="same_kind")
    if wanted.kind in "iub":
        low, high = (0, 1) if wanted.kind == "b" else (np.iinfo(wanted).min, np.iinfo(wanted).max)
        for value in (int(array.min()), int(array.max())):
            if not low <= value <= high:
                raise ValueError(f"{value} is not between {low} and {high}")
    return array.astype(wanted)


def _raw(name: str, array: Array, datatype: str) -> bytes:
    if datatype == "BYTES":
        return b"".join(_packed_string(name, element) for element in array.ravel())
    if datatype == "BF16":
        return _bf16_bits(array).tobytes()
    return array.astype(NUMPY_TYPES[datatype], copy=False).tobytes()


def _packed_string(name: str, element: Any) -> bytes:
    if isinstance(element, str):
        element = element.encode()
    if not isinstance(element, bytes | bytearray | memoryview | np.bytes_):
        raise TensorMismatch(
            f"Tensor '{name}' holds a {type(element).__name__}; BYTES takes texts and bytes.",
            param=name,
        )
    raw = bytes(element)
    return struct.pack("<I", len(raw)) + raw


def _bf16_bits(array: Array) -> Array:
    """The upper half of each float32, rounded to nearest even; NaN stays NaN."""
    bits = np.ascontiguousarray(array, dtype="<f4").view("<u4")
    rounded = bits + 0x7FFF + ((bits >> 16) & 1)
    quiet_nan = (bits >> 16) | 0x40
    found: Array = np.where(np.isnan(array), quiet_nan, rounded >> 16).astype("<u2")
    return found


def unpack(outputs: list[Any], body: memoryview) -> dict[str, Array]:
    """The arrays of an answer: from its JSON entries, and the binary part after them.

    Arrays are read-only views of the answer where possible.

    Raises:
        UnexpectedAnswer: entries and bytes do not fit each other.
    """
    arrays: dict[str, Array] = {}
    position = 0
    for entry in outputs:
        try:
            name, datatype, shape = entry["name"], entry["datatype"], tuple(entry["shape"])
            size = entry.get("parameters", {}).get("binary_data_size")
            if size is None:
                arrays[name] = _from_json(datatype, shape, entry["data"])
                continue
            if not 0 <= size <= len(body) - position:
                raise ValueError("it is cut off")
            arrays[name] = _from_bytes(datatype, shape, body[position : position + size])
            position += size
        except (KeyError, TypeError, ValueError, AttributeError, struct.error) as error:
            raise UnexpectedAnswer(f"An output tensor cannot be read: {error!r:.200}.") from None
    if position != len(body):
        raise UnexpectedAnswer(f"{len(body) - position} bytes follow the last output tensor.")
    return arrays


def _from_json(datatype: str, shape: tuple[int, ...], data: Any) -> Array:
    if datatype == "BYTES":
        array = np.empty(len(data), dtype=object)
        array[:] = [item.encode() if isinstance(item, str) else item for item in data]
        return array.reshape(shape)
    dtype = np.dtype("<f4") if datatype == "BF16" else NUMPY_TYPES[datatype]
    return np.asarray(data, dtype=dtype).reshape(shape)


def _from_bytes(datatype: str, shape: tuple[int, ...], data: memoryview) -> Array:
    if datatype == "BYTES":
        return _strings(math.prod(shape), data).reshape(shape)
    if datatype == "BF16":
        bits = np.frombuffer(data, "<u2").astype("<u4") << 16
        return bits.view("<f4").reshape(shape)
    return np.frombuffer(data, NUMPY_TYPES[datatype]).reshape(shape)


def _strings(count: int, data: memoryview) -> Array:
    found: list[bytes] = []
    position = 0
    while position < len(data):
        (length,) = struct.unpack_from("<I", data, position)
        end = position + 4 + length
        if end > len(data):
            raise ValueError("a BYTES element is cut off")
        found.append(bytes(data[position + 4 : end]))
        position = end
    if len(found) != count:
        raise ValueError(f"{len(found)} BYTES elements, expected {count}")
    array = np.empty(count, dtype=object)
    array[:] = found
    return array


def as_datatypes(given: Mapping[str, str] | None) -> Mapping[str, str]:
    """Wanted datatypes by input, in the protocol's upper case."""
    return {name: datatype.upper() for name, datatype in (given or {}).items()}
