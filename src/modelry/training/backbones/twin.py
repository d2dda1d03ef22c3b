"""A part of a graph as a torch module: the same operators, so that gradients can be followed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modelry.domain.errors import NotSupported
from modelry.runtime_api.tensors import Array
from modelry.training.backbones.graph import Graph, unsuited
from modelry.training.backbones.operators import OPERATORS, Operation


class Twin(torch.nn.Module):
    """Computes a tensor of a graph from an earlier one.

    Statistics of normalisations stay as they are, also while it is trained: what little data there
    is for the new classes would make worse ones.

    Args:
        graph: the whole.
        places: of the nodes, in order.
        begin: the tensor that `forward` takes.
        end: the tensor that it gives.
        learnt: names of the weights that learn.
        sizes: of one row of tensors before `begin` whose sizes are asked for, by name.

    Raises:
        InvalidInput: a node has an operator that is not known here; says which.
    """

    def __init__(
        self,
        graph: Graph,
        places: Sequence[int],
        begin: str,
        end: str,
        *,
        learnt: Sequence[str] = (),
        sizes: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        self._begin, self._end = begin, end
        self._operations = [Operation(graph.nodes[at], graph.opset) for at in places]
        self._sizes = {name: tuple(one) for name, one in (sizes or {}).items()}
        for operation in self._operations:
            if operation.node.op not in OPERATORS:
                raise _unknown(f"the operator '{operation.node.op}' is not known")
        read = dict.fromkeys(name for one in self._operations for name in one.node.inputs)
        held = [name for name in read if name in graph.weights]
        self._names: dict[str, str] = {}
        self._constants: dict[str, Tensor] = {}
        for at, name in enumerate(held):
            tensor = torch.from_numpy(np.array(graph.weights[name]))
            own = f"w{at}"
            if name in learnt:
                self.register_parameter(own, torch.nn.Parameter(tensor))
            elif tensor.is_floating_point():
                self.register_buffer(own, tensor)
            else:
                self._constants[name] = tensor  # sizes and places: they are no matter for a GPU
                continue
            self._names[name] = own
        self._learnt = [name for name in held if name in learnt]

    def forward(self, values: Tensor) -> Tensor:
        """The tensor `end`, for `begin`."""
        held: dict[str, Any] = {name: getattr(self, own) for name, own in self._names.items()}
        held |= self._constants
        held[self._begin] = values
        for name, sizes in self._sizes.items():
            held[name] = torch.empty((len(values), *sizes), device="meta")
        for operation in self._operations:
            node = operation.node
            inputs = [held[name] if name else None for name in node.inputs]
            try:
                made = OPERATORS[node.op](operation, inputs)
            except NotSupported as error:
                raise _unknown(error.message) from None
            outputs = made if isinstance(made, list) else [made]
            held.update(zip(node.outputs, outputs, strict=False))
        found: Tensor = held[self._end]
        return found

    def weights(self) -> dict[str, Array]:
        """What was learnt, by the names that the graph knows."""
        return {
            name: getattr(self, self._names[name]).detach().cpu().numpy() for name in self._learnt
        }


def _unknown(why: str) -> Exception:
    return unsuited(
        f"{why} in the blocks that shall learn. Let fewer learn ('unfreeze'; with 0 the new last "
        "layer alone does, whatever operators there are).",
        "unfreeze",
    )
