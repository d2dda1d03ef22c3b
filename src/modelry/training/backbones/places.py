"""ONNX operators in torch that work with places and sizes: which, how many, from where to where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from modelry.training.backbones.windows import Attributes


def arg(function: Callable[..., Tensor]) -> Callable[[Attributes, Sequence[Any]], Tensor]:
    """`ArgMax` and `ArgMin`, of equal ones the first."""

    def run(operation: Attributes, inputs: Sequence[Any]) -> Tensor:
        if operation.get("select_last_index", 0):
            raise operation.refuse("takes the last of equal ones.")
        return function(
            inputs[0], dim=operation.get("axis", 0), keepdim=bool(operation.get("keepdims", 1))
        )

    return run


def running_sum(operation: Attributes, inputs: Sequence[Any]) -> Tensor:
    """`CumSum`."""
    if operation.get("reverse", 0):
        raise operation.refuse("goes backwards.")
    values: Tensor = inputs[0]
    found = values.cumsum(int(inputs[1].item()), dtype=values.dtype)
    return found - values if operation.get("exclusive", 0) else found


def einsum(operation: Attributes, inputs: Sequence[Any]) -> Tensor:
    """`Einsum`."""
    return torch.einsum(operation.get("equation"), *inputs)


def gather_elements(operation: Attributes, inputs: Sequence[Any]) -> Tensor:
    """`GatherElements`."""
    values, chosen = inputs[0], inputs[1].to(inputs[0].device)
    axis = operation.get("axis", 0)
    chosen = torch.where(chosen < 0, chosen + values.shape[axis], chosen)
    found: Tensor = values.gather(axis, chosen)
    return found


def gather_many(operation: Attributes, inputs: Sequence[Any]) -> Tensor:
    """`GatherND`, without dimensions in common."""
    if operation.get("batch_dims", 0):
        raise operation.refuse("has dimensions in common.")
    values, chosen = inputs[0], inputs[1].to(inputs[0].device)
    found: Tensor = values[tuple(chosen[..., at] for at in range(chosen.shape[-1]))]
    return found


def remainder(operation: Attributes, inputs: Sequence[Any]) -> Tensor:
    """`Mod`: of the divisor's sign, or with `fmod` of the dividend's."""
    function = torch.fmod if operation.get("fmod", 0) else torch.remainder
    return function(inputs[0], inputs[1])


def numbers_between(operation: Attributes, inputs: Sequence[Any]) -> Tensor:
    """`Range`."""
    del operation
    begin, end, step = (one.item() for one in inputs)
    return torch.arange(begin, end, step, dtype=inputs[0].dtype)


def size(operation: Attributes, inputs: Sequence[Any]) -> Tensor:
    """`Size`."""
    del operation
    return torch.tensor(inputs[0].numel(), dtype=torch.int64)


def tile(operation: Attributes, inputs: Sequence[Any]) -> Tensor:
    """`Tile`."""
    del operation
    found: Tensor = inputs[0].repeat(*(int(one) for one in inputs[1].tolist()))
    return found


def triangle(operation: Attributes, inputs: Sequence[Any]) -> Tensor:
    """`Trilu`."""
    diagonal = int(inputs[1].item()) if len(inputs) > 1 and inputs[1] is not None else 0
    function = torch.triu if operation.get("upper", 1) else torch.tril
    return function(inputs[0], diagonal)
