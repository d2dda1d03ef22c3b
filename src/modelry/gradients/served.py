"""Tensors in the midst of a graph, computed by ONNX Runtime, as it is served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx
import onnxruntime as ort
import torch

from modelry.gradients.twin import Twin, no_twin
from modelry.runtime_api.tensors import Array


class Served:
    """Computes them without gradients, much faster than the twin does.

    Args:
        twin: the graph.
        names: of the tensors.

    Raises:
        NotSupported: ONNX Runtime does not load it.
    """

    def __init__(self, twin: Twin, names: Sequence[str]) -> None:
        self._names = list(names)
        model = onnx.ModelProto()
        model.CopyFrom(twin.proto)
        del model.graph.output[:]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        options = ort.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()  # what the process may use
        # it has one short run for a question, after which its threads would turn for torch's cores
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # noqa: BLE001 (ONNX Runtime's own classes are not public)
            raise no_twin(f"a part of it cannot be loaded: {str(error)[:300]}") from None
        self._taken = {one.name for one in self._session.get_inputs()}

    def of(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The tensors for the graph's inputs, by name."""
        fed = {name: array for name, array in inputs.items() if name in self._taken}
        return dict(zip(self._names, self._session.run(self._names, fed), strict=True))
