"""Runs a compiled OpenVINO model."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import numpy as np
import openvino

from modelry.domain.errors import Cancelled, ModelFailed
from modelry.domain.signature import Signature
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.tensors import Array
from modelry.runtimes.engine_reasons import tell_reason
from modelry.runtimes.tensor_check import find_mismatch


class OpenVinoTensorEngine:
    """One compiled model; runs one batch at a time."""

    def __init__(self, model: openvino.CompiledModel, signature: Signature) -> None:
        self._model: openvino.CompiledModel | None = model
        self._request = model.create_infer_request()
        self._signature = signature
        self._running: StopSignal | None = None
        self._ending = threading.Lock()

    @property
    def signature(self) -> Signature:
        """Tensors in and out, as the file declares them."""
        return self._signature

    @property
    def capacity(self) -> int:
        """One batch at a time."""
        return 1

    def close(self) -> None:
        """Free the model."""
        self._model = None
        self._request = None

    def infer(self, inputs: Mapping[str, Array], stop: StopSignal) -> dict[str, Array]:
        """All outputs for `inputs`. `stop` ends the run before its next operator.

        Raises:
            TensorMismatch: a name, datatype or shape differs from the signature.
            ModelFailed: OpenVINO failed; the message carries its reason.
            Cancelled: `stop` was raised.
        """
        request = self._request
        if request is None:
            raise ModelFailed("The model has been unloaded; load it again.")
        if stop.is_set():
            raise _stopped()
        mismatch = find_mismatch(self._signature, inputs)
        if mismatch is not None:
            raise mismatch
        feed = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        self._begin(stop)
        try:
            request.infer(feed, share_inputs=True, share_outputs=True)
        except RuntimeError as error:
            if stop.is_set():
                raise _stopped() from None
            raise ModelFailed(f"OpenVINO failed on this input: {tell_reason(str(error))}") from None
        finally:
            self._end()
        return {
            spec.name: np.array(request.get_tensor(spec.name).data)
            for spec in self._signature.outputs
        }

    def _begin(self, stop: StopSignal) -> None:
        def cancel() -> None:
            with self._ending:
                # not the next caller's run
                if self._running is stop and self._request is not None:
                    self._request.cancel()

        with self._ending:
            self._running = stop
        stop.subscribe(cancel)

    def _end(self) -> None:
        with self._ending:
            self._running = None


def _stopped() -> Cancelled:
    return Cancelled("The run was stopped because its caller went away.")
