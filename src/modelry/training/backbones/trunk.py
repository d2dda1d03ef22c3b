"""The part of a graph that stays as it is: run by ONNX Runtime, as serving runs it."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import numpy_helper

from modelry.runtime_api.tensors import Array
from modelry.training.backbones.graph import Graph, unsuited
from modelry.training.backbones.twin import Twin

PIXELS_AT_ONCE = 2**20
"""Of all images of a call together: what goes on between its layers takes a hundred times that."""


class Trunk:
    """Computes tensors of a graph from its input, on the CPU.

    Args:
        graph: the whole.
        names: of the tensors.

    Raises:
        InvalidInput: ONNX Runtime cannot load it.
    """

    def __init__(self, graph: Graph, names: Sequence[str]) -> None:
        self._names = list(names)
        self._input = graph.input
        options = ort.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.use_deterministic_compute = True
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(
                part_of(graph, names).SerializeToString(),
                options,
                providers=["CPUExecutionProvider"],
            )
        except Exception as error:  # noqa: BLE001 (ONNX Runtime's own classes are not public)
            raise unsuited(f"it cannot be loaded: {str(error)[:500]}") from None

    def all_of(self, pixels: Array) -> dict[str, Array]:
        """The tensors for images in the layout of the graph's input, by name.

        Raises:
            InvalidInput: the graph does not run on them.
        """
        at_once = _at_once(pixels)
        parts: list[Sequence[Array]] = []
        for start in range(0, len(pixels), at_once):
            given = np.ascontiguousarray(pixels[start : start + at_once])
            parts.append(self._run(given))
        return {
            name: np.concatenate([part[at] for part in parts])
            for at, name in enumerate(self._names)
        }

    def __call__(self, pixels: Array) -> Array:
        """The first of the tensors."""
        found = self.all_of(pixels)[self._names[0]]
        return found.astype(np.float32, copy=False)

    def _run(self, pixels: Array) -> Sequence[Array]:
        try:
            found: Sequence[Array] = self._session.run(self._names, {self._input: pixels})
        except Exception as error:  # noqa: BLE001 (as above)
            raise unsuited(
                f"it does not run on {len(pixels)} images of shape {list(pixels.shape[1:])}: "
                f"{str(error)[:500]}"
            ) from None
        for name, one in zip(self._names, found, strict=True):
            if one.ndim == 0 or len(one) != len(pixels):
                raise unsuited(
                    f"its tensor '{name[:80]}' has the shape {list(one.shape)} for {len(pixels)} "
                    "images; expected one row for each. Was it saved for a fixed number?"
                )
        return found


class TwinTrunk:
    """The same by torch, on a device of its own: ONNX Runtime computes on the CPU alone here."""

    def __init__(self, twin: Twin, device: torch.device) -> None:
        self._twin, self._device = twin.to(device).eval(), device

    def __call__(self, pixels: Array) -> Array:
        """The tensor for images, in the memory of the CPU."""
        parts = torch.split(torch.from_numpy(pixels), _at_once(pixels))
        with torch.no_grad(), torch.autocast(self._device.type, enabled=False):
            made = [self._twin(part.to(self._device)).cpu() for part in parts]
        found: Array = torch.cat(made).numpy()
        return found


def _at_once(pixels: Array) -> int:
    return max(1, PIXELS_AT_ONCE // max(1, prod(pixels.shape[2:])))


def part_of(graph: Graph, names: Sequence[str]) -> Any:
    """A model of the nodes that these tensors take, which are its outputs."""
    model = onnx.ModelProto()
    model.CopyFrom(graph.proto)
    model.graph.name = "graph"
    nodes = [graph.nodes[at] for at in graph.needed(names)]
    model.graph.node.extend(node.proto for node in nodes)
    read = dict.fromkeys(name for node in nodes for name in node.reads)
    held = (name for name in (*read, *names) if name in graph.weights)
    model.graph.initializer.extend(
        numpy_helper.from_array(graph.weights[name], name) for name in dict.fromkeys(held)
    )
    model.graph.input.append(input_of(graph, graph.input))
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return model


def input_of(graph: Graph, name: str) -> Any:
    """The graph's input as ONNX declares it, with an open number of rows."""
    sizes = [None if size < 0 else size for size in graph.shape[1:]]
    names = [f"size{at}" if size is None else size for at, size in enumerate(sizes, 1)]
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", *names])
