"""Between the element types that steps compute in and those that engines take."""

from __future__ import annotations

import numpy as np

from modelry.domain.errors import InvalidInput
from modelry.domain.signature import Datatype, TensorSpec
from modelry.runtime_api.tensors import NUMPY_TYPES, Array

FLOATING = frozenset({Datatype.FP16, Datatype.FP32, Datatype.FP64, Datatype.BF16})


def can_hold(datatype: Datatype, array: Array) -> bool:
    """Whether an input of this type can take the values without changing what they mean.

    Numbers may lose digits, never their kind (no float as integer, no text as number) and
    never their size (no integer out of range).
    """
    kind = array.dtype.kind
    if array.size == 0:
        return True
    if datatype in FLOATING:
        return kind in "iuf"
    if datatype is Datatype.BYTES:
        return kind in "SU" or (kind == "O" and all(isinstance(e, str | bytes) for e in array.flat))
    if datatype is Datatype.BOOL:
        return kind == "b"
    limits = np.iinfo(NUMPY_TYPES[datatype])
    return kind in "iu" and bool(array.min() >= limits.min and array.max() <= limits.max)


def to_input(array: Array, spec: TensorSpec) -> Array:
    """`array` in the element type of an input, in C order.

    Raises:
        InvalidInput: numbers that are finite here and not in the input's type.
    """
    if spec.datatype is Datatype.BF16:
        return _to_bfloat16(array)
    wanted = NUMPY_TYPES[spec.datatype]
    with np.errstate(over="ignore"):
        cast: Array = np.ascontiguousarray(array, dtype=wanted)
    narrows = wanted.kind == "f" and wanted.itemsize < array.dtype.itemsize
    if narrows and not np.array_equal(np.isinf(cast), np.isinf(array)):
        raise InvalidInput(
            f"A number is too large for the input '{spec.name}' of type {spec.datatype}; "
            f"expected at most {float(np.finfo(wanted).max):g}."
        )
    return cast


def from_output(array: Array, spec: TensorSpec | None) -> Array:
    """An output in a type that steps compute in: half precision becomes float32."""
    if spec is not None and spec.datatype is Datatype.BF16 and array.dtype == np.uint16:
        widened: Array = (array.astype(np.uint32) << 16).view(np.float32)
        return widened
    if array.dtype == np.float16:
        return array.astype(np.float32)
    return array


def _to_bfloat16(array: Array) -> Array:
    """The upper 16 bits of float32, rounded to nearest, ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(array, dtype=np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    quiet_nan = np.uint32(0x7FC0)
    result: Array = np.where(np.isnan(bits.view(np.float32)), quiet_nan, rounded).astype("<u2")
    return result
