"""Runs a loaded ONNX session."""

from __future__ import annotations

from collections.abc import Mapping

import onnxruntime as ort

from modelry.domain.errors import Cancelled, ModelFailed, ModelryError
from modelry.domain.signature import Signature
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.tensors import NUMPY_TYPES, Array
from modelry.runtimes.engine_reasons import tell_reason
from modelry.runtimes.onnx.typed_values import TypedRunner, needs_conversion
from modelry.runtimes.tensor_check import find_mismatch

KEEP_ARENA_BELOW_BYTES = 64 * 1024
"""Runs with more input give the memory that they grew back afterwards. Measured: one batch of
1,100 images left 200 MB behind for ever; giving it back costs nothing at that size."""

_SHRINK = ("memory.enable_memory_arena_shrinkage", "cpu:0")
_FATAL_ONLY = 4


class _UnexpectedTypeError(Exception):
    """Ends a run whose inputs differ from the signature; `find_mismatch` says how."""


class OnnxEngine:
    """One session; runs one batch at a time."""

    def __init__(self, session: ort.InferenceSession, signature: Signature) -> None:
        self._session: ort.InferenceSession | None = session
        self._signature = signature
        self._output_names = [spec.name for spec in signature.outputs]
        self._expected = [(spec.name, NUMPY_TYPES[spec.datatype]) for spec in signature.inputs]
        self._typed = TypedRunner(signature) if needs_conversion(signature) else None

    @property
    def signature(self) -> Signature:
        """Tensors in and out, as the session reports them."""
        return self._signature

    @property
    def capacity(self) -> int:
        """One batch at a time."""
        return 1

    def close(self) -> None:
        """Free the session."""
        self._session = None

    def infer(self, inputs: Mapping[str, Array], stop: StopSignal) -> dict[str, Array]:
        """All outputs for `inputs`. `stop` ends the run before its next operator.

        Raises:
            TensorMismatch: a name, datatype or shape differs from the signature.
            ModelFailed: ONNX Runtime failed; the message carries its reason.
            Cancelled: `stop` was raised.
        """
        session = self._session
        if session is None:
            raise ModelFailed("The model has been unloaded; load it again.")
        options = ort.RunOptions()
        options.log_severity_level = _FATAL_ONLY

        def end() -> None:
            options.terminate = True

        stop.subscribe(end)
        try:
            size = 0
            for name, dtype in self._expected:
                array = inputs[name]
                # ONNX Runtime reads big-endian arrays as if they were little-endian
                if array.dtype != dtype and dtype.kind != "O":
                    raise _UnexpectedTypeError
                size += array.nbytes
            if size >= KEEP_ARENA_BELOW_BYTES:
                options.add_run_config_entry(*_SHRINK)
            if self._typed is not None:
                if find_mismatch(self._signature, inputs) is not None:
                    raise _UnexpectedTypeError
                return self._typed.run(session, inputs, options)
            values = session.run(self._output_names, inputs, options)
        except ModelryError:
            raise
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no base class
            raise self._failure(error, inputs, stop) from None
        finally:
            stop.unsubscribe(end)
        return dict(zip(self._output_names, values, strict=True))

    def _failure(
        self, error: Exception, inputs: Mapping[str, Array], stop: StopSignal
    ) -> ModelryError:
        if stop.is_set():
            return Cancelled("The run was stopped because its caller went away.")
        return find_mismatch(self._signature, inputs) or ModelFailed(
            f"ONNX Runtime failed on this input: {tell_reason(str(error))}"
        )
