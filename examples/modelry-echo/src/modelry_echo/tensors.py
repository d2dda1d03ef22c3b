"""Gives tensors back."""

from __future__ import annotations

from collections.abc import Mapping

from modelry.domain.errors import Cancelled, ModelFailed, TensorMismatch
from modelry.domain.signature import Signature
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.tensors import NUMPY_TYPES, Array


class EchoTensors:
    """An engine with the ability `SupportsTensors`."""

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        self._is_closed = False

    @property
    def signature(self) -> Signature:
        """The tensors of the model file, and the same again as outputs."""
        return self._signature

    @property
    def capacity(self) -> int:
        """One batch at a time."""
        return 1

    def close(self) -> None:
        """Let go of what the engine holds: nothing here."""
        self._is_closed = True

    def infer(self, inputs: Mapping[str, Array], stop: StopSignal) -> dict[str, Array]:
        """Every input as the output of its name and `_again`.

        Raises:
            TensorMismatch: an input is missing, or of another type or shape.
            Cancelled: `stop` was raised.
            ModelFailed: the engine is closed.
        """
        if self._is_closed:
            raise ModelFailed("The model has been unloaded; load it again.")
        if stop.is_set():
            raise Cancelled("The run was stopped because its caller went away.")
        found = {}
        for spec in self._signature.inputs:
            array = inputs.get(spec.name)
            if array is None:
                raise TensorMismatch(f"Tensor '{spec.name}' is missing.", param=spec.name)
            spec.check_shape(array.shape)
            if array.dtype != NUMPY_TYPES[spec.datatype]:
                raise TensorMismatch(
                    f"Tensor '{spec.name}' has the type {array.dtype}; expected {spec.datatype}.",
                    param=spec.name,
                )
            found[f"{spec.name}_again"] = array.copy()
        return found
