"""Tables of vectors that a graph looks its input up in: where gradients begin for tokens.

A token's number has no gradient, and its vector has. Which rows are looked up is computed by ONNX
Runtime, as it is served, so that operators on whole numbers need no twin.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from modelry.gradients.served import Served
from modelry.gradients.twin import Twin
from modelry.runtime_api.tensors import Array

_PASSING = frozenset({"Cast", "Identity", "DequantizeLinear"})


class Lookups:
    """The vectors that a graph looks up for its inputs.

    Args:
        twin: the graph.
        wanted: the tensors that they lead to.
        inputs: by which of the graph's inputs it looks up.
    """

    def __init__(self, twin: Twin, wanted: Sequence[str], inputs: Collection[str]) -> None:
        self.names = tuple(_found(twin, wanted, inputs))
        self._served = Served(twin, self.names) if self.names else None

    def of(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The vectors for inputs (rows, …), by the tensors' names."""
        if self._served is None:
            return {}
        return {name: one.astype(np.float32) for name, one in self._served.of(inputs).items()}


def _found(twin: Twin, wanted: Sequence[str], inputs: Collection[str]) -> list[str]:
    depends, found = set(inputs), []
    for at in twin.needed(wanted, twin.inputs):
        node = twin.nodes[at]
        if depends.isdisjoint(node.reads):
            continue
        is_lookup = (
            node.op == "Gather"
            and node.attributes.get("axis", 0) == 0
            and node.inputs[1] in depends
            and _is_table(twin, node.inputs[0])
        )
        if is_lookup:
            found.append(node.outputs[0])
        else:
            depends.update(node.outputs)
    return found


def _is_table(twin: Twin, name: str) -> bool:
    """Whether a tensor is rows of floats that belong to the model."""
    at = twin.makers.get(name)
    if at is not None and twin.nodes[at].op in _PASSING:
        return twin.nodes[at].inputs[0] in twin.weights
    held = twin.weights.get(name)
    return held is not None and held.ndim == 2 and held.dtype.kind not in "iub"
