"""Finds what is wrong with the tensors of a call.

Engines check types and shapes themselves while they run; this is asked when one complains (or
before, by an engine that does not check), so that the caller learns which tensor is to blame.
"""

from __future__ import annotations

from collections.abc import Mapping

from modelry.domain.errors import TensorMismatch
from modelry.domain.signature import Signature, TensorSpec
from modelry.runtime_api.tensors import NUMPY_TYPES, Array


def find_mismatch(signature: Signature, inputs: Mapping[str, Array]) -> TensorMismatch | None:
    """The first way in which `inputs` are not what `signature` asks for, if there is one."""
    wanted = {spec.name: spec for spec in signature.inputs}
    for name in inputs:
        if name not in wanted:
            return _names_error(f"Unknown input tensor '{name}'", name, wanted)
    for name, spec in wanted.items():
        if name not in inputs:
            return _names_error(f"Input tensor '{name}' is missing", name, wanted)
        problem = _tensor_mismatch(spec, inputs[name])
        if problem is not None:
            return problem
    sizes = {name: array.shape[0] for name, array in inputs.items()} if signature.batched else {}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"'{name}': {size}" for name, size in sizes.items())
        return TensorMismatch(
            f"The batch dimension (the first) differs between inputs ({told}); it must be the "
            "same in all of them."
        )
    return None


def has_type(spec: TensorSpec, array: Array) -> bool:
    """Whether the elements of `array` are of the type of `spec`, little-endian."""
    expected = NUMPY_TYPES[spec.datatype]
    return array.dtype == expected or (expected.kind == "O" and array.dtype.kind in "SU")


def _tensor_mismatch(spec: TensorSpec, array: Array) -> TensorMismatch | None:
    if not has_type(spec, array):
        return TensorMismatch(
            f"Tensor '{spec.name}' has the element type {array.dtype.str}; the model expects "
            f"{spec.datatype}.",
            param=spec.name,
        )
    try:
        spec.check_shape(tuple(array.shape))
    except TensorMismatch as error:
        return error
    return None


def _names_error(what: str, name: str, wanted: Mapping[str, TensorSpec]) -> TensorMismatch:
    return TensorMismatch(f"{what}; the model expects: {', '.join(wanted)}.", param=name)
