"""A served ONNX file as torch functions, so that gradients can be followed through it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modelry.domain.errors import InvalidInput, NotSupported
from modelry.runtime_api.tensors import Array
from modelry.training.backbones.graph import UNSUITED, read_contents
from modelry.training.backbones.operators import OPERATORS, Operation

_HALVES = frozenset({"float16", "bfloat16"})
_HALF_TYPES = (10, 16)
"""ONNX's numbers for them: gradients are computed with 32 bits throughout."""
_ACTIVATIONS = {"Softmax": True, "LogSoftmax": True, "Sigmoid": False}
"""Whether they compare the scores with each other."""
_PASSING = frozenset({"Identity", "Cast", "Flatten", "Squeeze", "Reshape"})
_NO_ROOM = ("memory", "alloc")


def no_twin(why: str) -> NotSupported:
    """The error for a version that has no twin; says why, and what there is instead."""
    return NotSupported(
        f"This version cannot be explained by gradients: {why} Methods that ask the engine alone "
        "explain any version: occlusion and rise for images, leave-one-out and shapley for others.",
        param="method",
    )


@dataclass(frozen=True, slots=True)
class Scored:
    """The tensor with a version's scores, and whether a softmax comes behind it."""

    name: str
    before_softmax: bool = False


class Twin:
    """Computes tensors of a graph from its inputs, or from tensors in its midst.

    Args:
        content: the ONNX file.

    Raises:
        NotSupported: it cannot be read; says why.
    """

    def __init__(self, content: bytes) -> None:
        try:
            held = read_contents(content)
        except InvalidInput as error:
            raise no_twin(error.message.removeprefix(UNSUITED)) from None
        self.proto = held.proto
        self.nodes = held.nodes
        self.weights = held.weights
        graph = held.proto.graph
        self.inputs = tuple(one.name for one in graph.input if one.name not in held.weights)
        self.makers = {
            made: at for at, node in enumerate(held.nodes) for made in node.outputs if made
        }
        self._operations = [Operation(node, held.opset) for node in held.nodes]
        self._constants: dict[str, Any] = {}
        self._orders: dict[tuple[Sequence[str], frozenset[str]], Sequence[int]] = {}

    def needed(self, wanted: Sequence[str], held: Collection[str]) -> list[int]:
        """Places of the nodes that make tensors from those that are held, in order."""
        found: set[int] = set()
        left = [name for name in wanted if name not in held]
        while left:
            at = self.makers.get(left.pop())
            if at is None or at in found:
                continue
            found.add(at)
            left += [name for name in self.nodes[at].reads if name not in held]
        return sorted(found)

    def check(self, wanted: Sequence[str], held: Collection[str]) -> None:
        """See that all operators on the way are known.

        Raises:
            NotSupported: one is not; names it.
        """
        unknown = dict.fromkeys(
            self.nodes[at].op
            for at in self.needed(wanted, held)
            if self.nodes[at].op not in OPERATORS
        )
        if unknown:
            names = ", ".join(f"'{one}'" for one in [*unknown][:5])
            many = len(unknown) > 1
            raise no_twin(
                f"its operator{'s' if many else ''} {names} {'have' if many else 'has'} no "
                "gradients here."
            )

    def run(
        self,
        wanted: Sequence[str],
        held: Mapping[str, Tensor],
        seen: dict[str, Tensor] | None = None,
    ) -> list[Tensor]:
        """Compute tensors.

        Args:
            wanted: their names.
            held: inputs, and tensors that stand for what nodes would make.
            seen: takes every tensor that is computed on the way, by name, in order; not those that
                follow from weights alone, which are computed once.

        Raises:
            NotSupported: an operator, or a form of one, is not known.
        """
        values: dict[str, Any] = {name: _laid_out(one) for name, one in held.items()}
        for at in self._order(wanted, held):
            node = self.nodes[at]
            made = self._made(at, values)
            values.update(zip(node.outputs, made, strict=False))
            if seen is not None:
                seen.update(zip(node.outputs, made, strict=False))
        return [self._value(name, values) for name in wanted]

    def _order(self, wanted: Sequence[str], held: Collection[str]) -> Sequence[int]:
        """What is needed, without what follows from weights alone: that is computed here, once."""
        key = (tuple(wanted), frozenset(held))
        found = self._orders.get(key)
        if found is None:
            left = []
            for at in self.needed(wanted, held):
                node = self.nodes[at]
                if all(one in self.weights or one in self._constants for one in node.reads):
                    made = self._made(at, {})
                    self._constants.update(zip(node.outputs, made, strict=False))
                else:
                    left.append(at)
            found = self._orders[key] = left
        return found

    def scored(self, output: str) -> Scored:
        """The tensor before the softmax or sigmoid that an output ends in, if it does."""
        name = output
        while (at := self.makers.get(name)) is not None:
            node = self.nodes[at]
            if node.op in _ACTIVATIONS:
                return Scored(node.inputs[0], _ACTIVATIONS[node.op])
            if node.op not in _PASSING:
                break
            name = node.inputs[0]
        return Scored(output)

    def _value(self, name: str, values: Mapping[str, Any]) -> Any:
        if name in values:
            return values[name]
        found = self._constants.get(name)
        if found is None:
            if name not in self.weights:
                raise no_twin(f"its tensor '{name[:80]}' comes from nowhere.")
            found = self._constants[name] = as_tensor(self.weights[name])
        return found

    def _made(self, at: int, values: Mapping[str, Any]) -> list[Any]:
        operation = self._operations[at]
        node = operation.node
        inputs: list[Any] = [self._value(one, values) if one else None for one in node.inputs]
        function = OPERATORS.get(node.op)
        if function is None:
            raise no_twin(f"its operator '{node.op}' has no gradients here.")
        if node.op == "Cast" and operation.get("to") in _HALF_TYPES:
            return [inputs[0].to(torch.float32)]
        try:
            made = function(operation, inputs)
        except NotSupported as error:
            raise no_twin(f"{error.message.rstrip('.')}.") from None
        except (
            RuntimeError, IndexError, KeyError, TypeError, ValueError, AttributeError
        ) as error:  # fmt: skip
            if any(word in str(error) for word in _NO_ROOM):
                raise
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise no_twin(f"its operator '{node.op}' fails in torch ({reason}).") from None
        return made if isinstance(made, list) else [made]


def _laid_out(tensor: Tensor) -> Tensor:
    """Maps (rows, features, height, width) with the features of a place side by side.

    So convolutions on single places are products of matrices, and others take them as they are.
    """
    if tensor.ndim != 4 or not tensor.is_floating_point():
        return tensor
    return tensor.contiguous(memory_format=torch.channels_last)


def as_tensor(array: Array) -> Tensor:
    """An array for computing with gradients: halves become 32 bits.

    Raises:
        NotSupported: it holds no numbers.
    """
    if array.dtype.name in _HALVES:
        array = array.astype(np.float32)
    try:
        return torch.from_numpy(np.array(array))
    except TypeError:
        raise no_twin(f"it has a tensor of type {array.dtype}.") from None
