"""The file of the new version: the base's graph up to its features, and a new last layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from modelry.runtime_api.tensors import Array
from modelry.training.backbones.graph import Graph
from modelry.training.backbones.trunk import input_of, part_of
from modelry.training.export import plain_bytes


@dataclass(frozen=True, slots=True)
class LastLayer:
    """What comes after the features: their mean over places, a common scale, one linear layer.

    Attributes:
        reads: the tensor with the features.
        rank: of the features; their mean over places is taken where it is over 2.
        mean: is subtracted (features,).
        scale: is multiplied with afterwards (features,).
        weight: (classes, features).
        bias: (classes,).
    """

    reads: str
    rank: int
    mean: Array
    scale: Array
    weight: Array
    bias: Array


def input_name(graph: Graph, output: str) -> str:
    """What the input is called in the file; only another name than before when `output` is it."""
    return f"{output}_input" if graph.input == output else graph.input


def write(
    graph: Graph, last: LastLayer, learnt: Mapping[str, Array], output: str, file: Path
) -> None:
    """Write it.

    Args:
        graph: the base.
        last: the new layer.
        learnt: weights that are not the base's any more.
        output: what its scores are called.
        file: where to.
    """
    features = last.reads
    model = part_of(graph, [features])
    held = model.graph
    for tensor in held.initializer:
        if tensor.name in learnt:
            tensor.CopyFrom(numpy_helper.from_array(learnt[tensor.name], tensor.name))
    read = _set_aside(held, output, features)
    held.input[0].CopyFrom(input_of(graph, input_name(graph, output)))
    del held.output[:]
    held.output.append(
        helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, ["n", len(last.bias)])
    )
    prefix = _unused(held)
    name = read
    for op, attributes in _pooling(last.rank):
        held.node.append(helper.make_node(op, [name], [f"{prefix}.{op}"], **attributes))
        name = f"{prefix}.{op}"
    constants = {"mean": last.mean, "scale": last.scale, "weight": last.weight, "bias": last.bias}
    held.initializer.extend(
        numpy_helper.from_array(np.ascontiguousarray(one, np.float32), f"{prefix}.{what}")
        for what, one in constants.items()
    )
    held.node.append(helper.make_node("Sub", [name, f"{prefix}.mean"], [f"{prefix}.centred"]))
    held.node.append(
        helper.make_node("Mul", [f"{prefix}.centred", f"{prefix}.scale"], [f"{prefix}.scaled"])
    )
    held.node.append(
        helper.make_node(
            "Gemm",
            [f"{prefix}.scaled", f"{prefix}.weight", f"{prefix}.bias"],
            [output],
            transB=1,
        )
    )
    file.write_bytes(plain_bytes(model))


def _pooling(rank: int) -> list[tuple[str, dict[str, Any]]]:
    """Operators that make one row of numbers of features with places; see `network.pooled`."""
    if rank == 2:
        return [("Cast", {"to": onnx.TensorProto.FLOAT})]
    tokens = [("Transpose", {"perm": [0, 2, 1]})] if rank == 3 else []
    return [
        ("Cast", {"to": onnx.TensorProto.FLOAT}),
        *tokens,
        ("GlobalAveragePool", {}),
        ("Flatten", {"axis": 1}),
    ]


def _set_aside(held: Any, name: str, features: str) -> str:
    """Give what has this name another, since it is needed; what `features` is called now."""
    other = f"{name}_base"
    renamed = {name: f"{name}_input" if held.input[0].name == name else other}
    for node in held.node:
        for names in (node.input, node.output):
            for at, one in enumerate(names):
                names[at] = renamed.get(one, one)
    for tensor in held.initializer:
        tensor.name = renamed.get(tensor.name, tensor.name)
    return renamed.get(features, features)


def _unused(held: Any) -> str:
    """A beginning of names that the graph has none of."""
    taken = {name for node in held.node for name in (*node.input, *node.output)}
    taken |= {one.name for one in held.initializer}
    number, prefix = 1, "head"
    while any(name.startswith(f"{prefix}.") for name in taken):
        number += 1
        prefix = f"head{number}"
    return prefix
