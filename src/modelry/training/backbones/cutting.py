"""Where a graph is cut: before its last layer, and between what stays and what learns.

A *cut* is a tensor that everything after it depends on alone: the end of a layer, or of a residual
block as a whole. What lies between two neighbouring cuts and has a linear layer (convolutions are
some) is a *block*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from modelry.training.backbones.graph import Graph, Node, unsuited

_LINEAR = frozenset({"Gemm", "MatMul", "Conv"})
_AFTER_THE_LAST_LAYER = frozenset(
    {
        "Add", "AveragePool", "Cast", "Clip", "Div", "Dropout", "Flatten", "GlobalAveragePool",
        "Identity", "LogSoftmax", "Mul", "ReduceMean", "Relu", "Reshape", "Sigmoid", "Softmax",
        "Squeeze", "Sub", "Transpose", "Unsqueeze",
    }
)  # fmt: skip
_SIZES = frozenset({"Shape", "Size"})
_NOT_LEARNT: Mapping[str, tuple[int, ...]] = {
    "BatchNormalization": (3, 4),
    "Clip": (1, 2),
    "Expand": (1,),
    "Max": (0, 1),
    "Min": (0, 1),
    "Pad": (1, 2, 3),
    "Pow": (1,),
    "Where": (0,),
}
"""Inputs that are statistics or settings: they keep their values."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A graph in two parts.

    Attributes:
        features: the tensor that a new last layer reads.
        boundary: where the part that learns begins; the same tensor where nothing learns.
        blocks: how many blocks learn.
        blocks_in_all: how many there are.
        tail: places of the nodes of the part that learns.
        outside: tensors before the boundary whose sizes that part asks for.
        learnt: names of its weights.
    """

    features: str
    boundary: str
    blocks: int
    blocks_in_all: int
    tail: tuple[int, ...]
    outside: tuple[str, ...]
    learnt: tuple[str, ...]


def last_layer(graph: Graph, output: str) -> str:
    """The tensor that the last linear layer before `output` reads.

    Raises:
        InvalidInput: it cannot be told which layer that is.
    """
    fixed = _fixed(graph)
    sizes = _sizes(graph, fixed)
    for at in reversed(graph.needed([output])):
        node = graph.nodes[at]
        if set(node.outputs) <= fixed | sizes:
            continue
        data = [name for name in node.inputs[:2] if name and name not in fixed]
        if node.op in _LINEAR and len(data) == 1 and len(node.inputs) > 1:
            if data[0] in _cuts(graph, output):
                return data[0]
            break
        if node.op not in _AFTER_THE_LAST_LAYER:
            break
    raise unsuited(
        f"it cannot be told which layer before its output '{output[:80]}' scores its classes; name "
        "the tensor that a new last layer shall read in 'features' (the output itself, for a model "
        "that gives features).",
        "features",
    )


def cut(graph: Graph, features: str, unfrozen: int) -> Cut:
    """The graph cut so that its last blocks before `features` learn.

    Args:
        graph: the whole.
        features: the tensor that a new last layer reads.
        unfrozen: how many blocks shall learn; all, if there are no more.

    Raises:
        InvalidInput: there is no such tensor.
    """
    if features != graph.input and features not in graph.makers:
        likely = [name for node in graph.nodes[-4:] for name in node.outputs if name]
        raise unsuited(
            f"it has no tensor '{features[:80]}'; its last ones are {', '.join(likely)[:400]}.",
            "features",
        )
    cuts = _cuts(graph, features)
    places = {name: graph.makers.get(name, -1) for name in cuts}
    layers = _linear_layers(graph, graph.needed([features]))
    boundary, blocks, in_all = features, 0, 0
    for start, end in reversed(list(pairwise(cuts))):
        if not any(places[start] < at <= places[end] for at in layers):
            continue
        in_all += 1
        if in_all <= unfrozen:
            boundary, blocks = start, in_all
    tail, outside = _tail(graph, features, boundary)
    kept = {name for at in graph.needed([boundary]) for name in graph.nodes[at].reads}
    return Cut(
        features=features,
        boundary=boundary,
        blocks=blocks,
        blocks_in_all=in_all,
        tail=tuple(tail),
        outside=tuple(outside),
        learnt=tuple(name for name in _learnable(graph, tail) if name not in kept),
    )


def _cuts(graph: Graph, end: str) -> list[str]:
    """Tensors that everything between them and `end` depends on alone, in order."""
    fixed = _fixed(graph)
    light = fixed | _sizes(graph, fixed)
    nodes = [at for at in graph.needed([end]) if not set(graph.nodes[at].outputs) <= light]
    last_read: dict[str, int] = {}
    for at in nodes:
        last_read.update((name, at) for name in graph.nodes[at].reads if name not in light)
    found = [graph.input]
    horizon = last_read.get(graph.input, -1)
    for at in nodes:
        made = [name for name in graph.nodes[at].outputs if name in last_read or name == end]
        if len(made) == 1 and horizon <= at:
            found.append(made[0])
        horizon = max([horizon, *(last_read.get(name, -1) for name in made)])
    return found


def _fixed(graph: Graph) -> set[str]:
    """Tensors that do not depend on the input."""
    found = set(graph.weights)
    for node in graph.nodes:
        if all(name in found for name in node.reads):
            found.update(node.outputs)
    return found


def _sizes(graph: Graph, fixed: set[str]) -> set[str]:
    """Tensors that depend on sizes of others alone: any part can work them out."""
    found: set[str] = set()
    for node in graph.nodes:
        reads = set(node.reads)
        if node.op in _SIZES or (reads & found and reads <= found | fixed):
            found.update(node.outputs)
    return found


def _linear_layers(graph: Graph, places: Sequence[int]) -> list[int]:
    """Places of the nodes that multiply with weights."""
    fixed = _fixed(graph)
    nodes = ((at, graph.nodes[at]) for at in places)
    return [
        at
        for at, node in nodes
        if node.op in _LINEAR and any(name in fixed for name in node.inputs[:2])
    ]


def _learnable(graph: Graph, places: Sequence[int]) -> list[str]:
    """Weights that nodes read and that can learn."""
    found: dict[str, None] = {}
    for at in places:
        node = graph.nodes[at]
        for position, name in enumerate(node.inputs):
            if name in graph.weights and _can_learn(graph, node, position, name):
                found[name] = None
    return list(found)


def _can_learn(graph: Graph, node: Node, position: int, name: str) -> bool:
    held = graph.weights[name]
    if held.dtype != np.float32 or held.ndim == 0 or held.size < 2:
        return False
    return position not in _NOT_LEARNT.get(node.op, ())


def _tail(graph: Graph, features: str, boundary: str) -> tuple[list[int], list[str]]:
    """Places of the nodes from `boundary` to `features`; tensors before it that sizes are of."""
    begins = graph.makers.get(boundary, -1)
    found: set[int] = set()
    outside: dict[str, None] = {}
    left = [features]
    while left:
        name = left.pop()
        at = graph.makers.get(name)
        if name == boundary or at is None or at in found:
            continue
        found.add(at)
        node = graph.nodes[at]
        for read in node.reads:
            is_before = graph.makers.get(read, -1) <= begins and read not in graph.weights
            if node.op in _SIZES and is_before and read != boundary:
                outside[read] = None
            else:
                left.append(read)
    return sorted(found), list(outside)
