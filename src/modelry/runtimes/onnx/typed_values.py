"""Runs for the element types that numpy and ONNX Runtime see differently.

Strings: requests carry bytes, ONNX Runtime takes and gives objects of type `str`. BF16: requests
carry raw 16 bits in uint16, ONNX Runtime takes and gives values of its own type.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

import numpy as np
import onnxruntime as ort

from modelry.domain.errors import NotSupported, TensorMismatch
from modelry.domain.signature import Datatype, Signature, TensorSpec
from modelry.runtime_api.tensors import Array

_ONNX_BF16 = 16
_CONVERTED = frozenset({Datatype.BYTES, Datatype.BF16})


class TypedRunner:
    """Runs a session with conversions in and out."""

    def __init__(self, signature: Signature) -> None:
        self._inputs = signature.inputs
        self._output_names = [spec.name for spec in signature.outputs]
        self._gives_bf16 = any(spec.datatype is Datatype.BF16 for spec in signature.outputs)
        takes_strings = any(spec.datatype is Datatype.BYTES for spec in signature.inputs)
        if self._gives_bf16 and takes_strings:
            raise NotSupported(
                "The model takes strings and gives BF16, which ONNX Runtime cannot do in one run "
                "from Python. Export it with FP32 outputs."
            )

    def run(
        self,
        session: ort.InferenceSession,
        inputs: Mapping[str, Array],
        options: ort.RunOptions,
    ) -> dict[str, Array]:
        """All outputs; `inputs` are as the signature says.

        Raises:
            TensorMismatch: a string element is not UTF-8.
        """
        names = self._output_names
        feed = {spec.name: _to_engine(spec, inputs[spec.name]) for spec in self._inputs}
        if not self._gives_bf16:
            values = session.run(names, feed, options)
            return {name: _bytes(array) for name, array in zip(names, values, strict=True)}
        owned = {
            name: value
            if isinstance(value, ort.OrtValue)
            else ort.OrtValue.ortvalue_from_numpy(value)
            for name, value in feed.items()
        }
        values = session.run_with_ort_values(names, owned, options)
        return {name: _from_value(value) for name, value in zip(names, values, strict=True)}


def needs_conversion(signature: Signature) -> bool:
    """Whether any input or output is of a type that needs a `TypedRunner`."""
    return any(spec.datatype in _CONVERTED for spec in (*signature.inputs, *signature.outputs))


def _to_engine(spec: TensorSpec, array: Array) -> Array | ort.OrtValue:
    if spec.datatype is Datatype.BYTES:
        return _texts(spec.name, array)
    if spec.datatype is Datatype.BF16:
        bits = np.ascontiguousarray(array)
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, _ONNX_BF16)
    return np.ascontiguousarray(array)


def _from_value(value: ort.OrtValue) -> Array:
    """An array that owns its memory."""
    if value.element_type() == _ONNX_BF16:
        shape = tuple(value.shape())
        raw = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
        return np.frombuffer(raw, np.uint16).reshape(shape)
    return _bytes(value.numpy())


def _bytes(array: Array) -> Array:
    if array.dtype.kind not in "OU":
        return array
    encoded = np.empty(array.size, dtype=object)
    encoded[:] = [str(element).encode() for element in array.ravel()]
    return encoded.reshape(array.shape)


def _texts(name: str, array: Array) -> Array:
    texts = np.empty(array.size, dtype=object)
    try:
        texts[:] = [
            element if isinstance(element, str) else bytes(element).decode()
            for element in array.ravel()
        ]
    except UnicodeDecodeError as error:
        raise TensorMismatch(
            f"Tensor '{name}' has a BYTES element that is not UTF-8 ({error.reason} at byte "
            f"{error.start}); ONNX string tensors hold UTF-8 text.",
            param=name,
        ) from None
    return texts.reshape(array.shape)
