"""ONNX operators in torch, as far as networks of images and tokens use them.

Each takes the node, the version of the operators, and its inputs (None where one is left out), and
gives its first output, or a list of all. What an operator means is ONNX's own documentation; where
torch means something else under the same name, the difference is handled or refused here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from modelry.domain.errors import NotSupported
from modelry.training.backbones import places, windows
from modelry.training.backbones.graph import Node

Inputs = Sequence[Any]
"""Tensors, or None for inputs that are left out."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A node, for the function that does it."""

    node: Node
    opset: int

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute."""
        return self.node.attributes.get(name, default)

    def refuse(self, why: str) -> NotSupported:
        """The error for a form of the operator that is not known."""
        return NotSupported(f"the operator '{self.node.op}' {why}")


Function = Callable[[Operation, Inputs], Any]


def _numbers(values: Tensor) -> list[int]:
    return [int(one) for one in values.reshape(-1).tolist()]


def _given(operation: Operation, inputs: Inputs, at: int, name: str) -> list[int] | None:
    """Whole numbers that newer versions take as an input, and older ones as an attribute."""
    if len(inputs) > at and inputs[at] is not None:
        return _numbers(inputs[at])
    found = operation.get(name)
    return None if found is None else [int(one) for one in found]


def _of_one(function: Callable[[Tensor], Tensor]) -> Function:
    return lambda _, inputs: function(inputs[0])


def _of_two(function: Callable[[Tensor, Tensor], Tensor]) -> Function:
    return lambda _, inputs: function(*_on_one_device(inputs[0], inputs[1]))


def _on_one_device(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers are kept where sizes are worked out; computing with them moves them."""
    device = one.device if one.device.type != "cpu" else other.device
    return one.to(device), other.to(device)


def _folded(function: Callable[[Tensor, Tensor], Tensor]) -> Function:
    def run(_: Operation, inputs: Inputs) -> Tensor:
        total: Tensor = inputs[0]
        for one in inputs[1:]:
            total = function(*_on_one_device(total, one))
        return total

    return run


def _divide(one: Tensor, other: Tensor) -> Tensor:
    if one.is_floating_point():
        return one / other
    return torch.div(one, other, rounding_mode="trunc")


def _gemm(operation: Operation, inputs: Inputs) -> Any:
    one, other = inputs[0], inputs[1]
    one = one.T if operation.get("transA", 0) else one
    other = other.T if operation.get("transB", 0) else other
    alpha, beta = operation.get("alpha", 1.0), operation.get("beta", 1.0)
    if len(inputs) > 2 and inputs[2] is not None:
        return torch.addmm(inputs[2], one, other, beta=beta, alpha=alpha)
    product = one @ other
    return product if alpha == 1 else alpha * product


def _clip(operation: Operation, inputs: Inputs) -> Any:
    least = inputs[1] if len(inputs) > 1 else operation.get("min")
    most = inputs[2] if len(inputs) > 2 else operation.get("max")
    bounds = [one.item() if isinstance(one, Tensor) else one for one in (least, most)]
    if bounds == [None, None]:
        return inputs[0]
    least, most = bounds
    if None not in bounds and least <= most and inputs[0].is_floating_point():
        return functional.hardtanh(inputs[0], least, most)  # its gradient takes one pass, not four
    return torch.clamp(inputs[0], least, most)


def _gelu(operation: Operation, inputs: Inputs) -> Tensor:
    return functional.gelu(inputs[0], approximate=operation.get("approximate", "none"))


def _slope(_: Operation, inputs: Inputs) -> Tensor:
    return torch.where(inputs[0] < 0, inputs[0] * inputs[1], inputs[0])


def _softmax(function: Callable[..., Tensor]) -> Function:
    def run(operation: Operation, inputs: Inputs) -> Tensor:
        values: Tensor = inputs[0]
        if operation.opset >= 13:
            return function(values, dim=operation.get("axis", -1))
        axis = operation.get("axis", 1) % values.ndim
        return function(values.flatten(axis), dim=axis).reshape(values.shape)

    return run


def _batch_norm(operation: Operation, inputs: Inputs) -> Tensor:
    if operation.get("training_mode", 0):
        raise operation.refuse("updates its statistics, and the file should not.")
    values, scale, bias, mean, variance = inputs[:5]
    return functional.batch_norm(
        values, mean, variance, scale, bias, eps=operation.get("epsilon", 1e-5)
    )


def _layer_norm(operation: Operation, inputs: Inputs) -> Any:
    values: Tensor = inputs[0]
    axis = operation.get("axis", -1) % values.ndim
    scale, bias = inputs[1], inputs[2] if len(inputs) > 2 else None
    made = functional.layer_norm(values, values.shape[axis:], eps=operation.get("epsilon", 1e-5))
    made = made * scale
    return made if bias is None else made + bias


def _instance_norm(operation: Operation, inputs: Inputs) -> Tensor:
    return functional.instance_norm(
        inputs[0], weight=inputs[1], bias=inputs[2], eps=operation.get("epsilon", 1e-5)
    )


def _reduced(function: Callable[..., Tensor]) -> Function:
    def run(operation: Operation, inputs: Inputs) -> Tensor:
        values: Tensor = inputs[0]
        axes = _given(operation, inputs, 1, "axes")
        if not axes:
            if operation.get("noop_with_empty_axes", 0):
                return values
            axes = list(range(values.ndim))
        return function(values, dim=axes, keepdim=bool(operation.get("keepdims", 1)))

    return run


def _sum_of_squares(values: Tensor, **options: Any) -> Tensor:
    return (values * values).sum(**options)


def _global(function: Callable[..., Tensor]) -> Function:
    def run(_: Operation, inputs: Inputs) -> Tensor:
        return function(inputs[0], dim=list(range(2, inputs[0].ndim)), keepdim=True)

    return run


def _flatten(operation: Operation, inputs: Inputs) -> Tensor:
    values: Tensor = inputs[0]
    axis = operation.get("axis", 1)
    axis = axis + values.ndim if axis < 0 else axis
    rows = 1
    for size in values.shape[:axis]:
        rows *= size
    return values.reshape(rows, -1)


def _reshape(operation: Operation, inputs: Inputs) -> Tensor:
    values: Tensor = inputs[0]
    shape = _given(operation, inputs, 1, "shape") or []
    if not operation.get("allowzero", 0):
        shape = [values.shape[at] if size == 0 else size for at, size in enumerate(shape)]
    return values.reshape(shape)


def _squeeze(operation: Operation, inputs: Inputs) -> Any:
    axes = _given(operation, inputs, 1, "axes")
    return inputs[0].squeeze() if axes is None else inputs[0].squeeze(tuple(axes))


def _unsqueeze(operation: Operation, inputs: Inputs) -> Tensor:
    values: Tensor = inputs[0]
    axes = _given(operation, inputs, 1, "axes") or []
    for axis in sorted(one % (values.ndim + len(axes)) for one in axes):
        values = values.unsqueeze(axis)
    return values


def _transpose(operation: Operation, inputs: Inputs) -> Any:
    order = operation.get("perm") or list(reversed(range(inputs[0].ndim)))
    return inputs[0].permute(*order)


def _concat(operation: Operation, inputs: Inputs) -> Tensor:
    return torch.cat(list(inputs), dim=operation.get("axis", 0))


def _split(operation: Operation, inputs: Inputs) -> list[Tensor]:
    values: Tensor = inputs[0]
    axis = operation.get("axis", 0)
    sizes = _given(operation, inputs, 1, "split")
    if sizes is None:
        count = len(operation.node.outputs)
        each = -(-values.shape[axis] // count)
        return list(torch.split(values, each, dim=axis))
    return list(torch.split(values, sizes, dim=axis))


def _slice(operation: Operation, inputs: Inputs) -> Tensor:
    values: Tensor = inputs[0]
    starts = _given(operation, inputs, 1, "starts") or []
    ends = _given(operation, inputs, 2, "ends") or []
    axes = _given(operation, inputs, 3, "axes") or list(range(len(starts)))
    steps = _given(operation, inputs, 4, "steps") or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step < 1:
            raise operation.refuse("goes backwards.")
        chosen = [slice(None)] * values.ndim
        size = values.shape[axis]  # exporters write the largest number there is for "to the end"
        chosen[axis] = slice(max(start, -size), min(end, size), step)
        values = values[tuple(chosen)]
    return values


def _gather(operation: Operation, inputs: Inputs) -> Tensor:
    values, places = inputs[0], inputs[1].to(inputs[0].device)
    axis = operation.get("axis", 0) % values.ndim
    places = torch.where(places < 0, places + values.shape[axis], places)
    found: Tensor = values.index_select(axis, places.reshape(-1))
    return found.reshape(*values.shape[:axis], *places.shape, *values.shape[axis + 1 :])


def _pad(operation: Operation, inputs: Inputs) -> Tensor:
    if operation.get("mode", "constant") != "constant":
        raise operation.refuse(f"has the mode '{operation.get('mode')}'.")
    values: Tensor = inputs[0]
    pads = _given(operation, inputs, 1, "pads") or []
    filled = inputs[2].item() if len(inputs) > 2 and inputs[2] is not None else None
    axes = _given(operation, inputs, 3, "") or list(range(values.ndim))
    before_after = [[0, 0] for _ in range(values.ndim)]
    for at, axis in enumerate(axes):
        before_after[axis] = [pads[at], pads[at + len(axes)]]
    flat = [size for pair in reversed(before_after) for size in pair]
    return functional.pad(values, flat, value=filled if filled is not None else 0.0)


def _expand(_: Operation, inputs: Inputs) -> Any:
    shape = torch.broadcast_shapes(  # type: ignore[no-untyped-call]
        inputs[0].shape, _numbers(inputs[1])
    )
    return inputs[0].expand(shape)


_TYPES = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 6: torch.int32, 7: torch.int64,
    9: torch.bool, 11: torch.float64,
}  # fmt: skip


def _cast(operation: Operation, inputs: Inputs) -> Any:
    kind = _TYPES.get(operation.get("to"))
    if kind is None:
        raise operation.refuse("casts to a type that is not learnt in.")
    return inputs[0].to(kind)


def _shape(operation: Operation, inputs: Inputs) -> Tensor:
    sizes = list(inputs[0].shape)[slice(operation.get("start", 0), operation.get("end"))]
    return torch.tensor(sizes, dtype=torch.int64)


def _filled(operation: Operation, inputs: Inputs) -> Tensor:
    from onnx import numpy_helper

    value = operation.get("value")
    held = torch.zeros(1) if value is None else torch.from_numpy(numpy_helper.to_array(value))
    return held.reshape(()).repeat(_numbers(inputs[0]))


def _where(_: Operation, inputs: Inputs) -> Tensor:
    return torch.where(inputs[0].bool(), *_on_one_device(inputs[1], inputs[2]))


def _leaky(operation: Operation, inputs: Inputs) -> Tensor:
    return functional.leaky_relu(inputs[0], operation.get("alpha", 0.01))


def _elu(operation: Operation, inputs: Inputs) -> Tensor:
    return functional.elu(inputs[0], operation.get("alpha", 1.0))


def _hard_sigmoid(operation: Operation, inputs: Inputs) -> Tensor:
    return torch.clamp(
        operation.get("alpha", 0.2) * inputs[0] + operation.get("beta", 0.5), 0.0, 1.0
    )


OPERATORS: Mapping[str, Function] = {
    "Abs": _of_one(torch.abs),
    "Add": _of_two(torch.add),
    "And": _of_two(torch.logical_and),
    "ArgMax": places.arg(torch.argmax),
    "ArgMin": places.arg(torch.argmin),
    "AveragePool": windows.average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Ceil": _of_one(torch.ceil),
    "Clip": _clip,
    "Concat": _concat,
    "ConstantOfShape": _filled,
    "Conv": windows.convolution,
    "Cos": _of_one(torch.cos),
    "CumSum": places.running_sum,
    "Div": _of_two(_divide),
    "Dropout": _of_one(lambda values: values),
    "Einsum": places.einsum,
    "Elu": _elu,
    "Equal": _of_two(torch.eq),
    "Erf": _of_one(torch.erf),
    "Exp": _of_one(torch.exp),
    "Expand": _expand,
    "Flatten": _flatten,
    "Floor": _of_one(torch.floor),
    "Gather": _gather,
    "GatherElements": places.gather_elements,
    "GatherND": places.gather_many,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": _global(torch.mean),
    "GlobalMaxPool": _global(torch.amax),
    "Greater": _of_two(torch.gt),
    "GreaterOrEqual": _of_two(torch.ge),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _of_one(functional.hardswish),
    "Identity": _of_one(lambda values: values),
    "InstanceNormalization": _instance_norm,
    "IsInf": _of_one(torch.isinf),
    "IsNaN": _of_one(torch.isnan),
    "LayerNormalization": _layer_norm,
    "LeakyRelu": _leaky,
    "Less": _of_two(torch.lt),
    "LessOrEqual": _of_two(torch.le),
    "Log": _of_one(torch.log),
    "LogSoftmax": _softmax(torch.log_softmax),
    "MatMul": _of_two(torch.matmul),
    "Max": _folded(torch.maximum),
    "MaxPool": windows.max_pool,
    "Min": _folded(torch.minimum),
    "Mish": _of_one(functional.mish),
    "Mod": places.remainder,
    "Mul": _of_two(torch.mul),
    "Neg": _of_one(torch.neg),
    "Not": _of_one(torch.logical_not),
    "Or": _of_two(torch.logical_or),
    "Pad": _pad,
    "Pow": _of_two(torch.pow),
    "PRelu": _slope,
    "Range": places.numbers_between,
    "Reciprocal": _of_one(torch.reciprocal),
    "ReduceL2": _reduced(torch.linalg.vector_norm),
    "ReduceMax": _reduced(torch.amax),
    "ReduceMean": _reduced(torch.mean),
    "ReduceMin": _reduced(torch.amin),
    "ReduceSum": _reduced(torch.sum),
    "ReduceSumSquare": _reduced(_sum_of_squares),
    "Relu": _of_one(torch.relu),
    "Reshape": _reshape,
    "Round": _of_one(torch.round),
    "Selu": _of_one(functional.selu),
    "Shape": _shape,
    "Sigmoid": _of_one(torch.sigmoid),
    "Sign": _of_one(torch.sign),
    "Sin": _of_one(torch.sin),
    "Size": places.size,
    "Slice": _slice,
    "Softmax": _softmax(torch.softmax),
    "Softplus": _of_one(functional.softplus),
    "Softsign": _of_one(functional.softsign),
    "Split": _split,
    "Sqrt": _of_one(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _of_two(torch.sub),
    "Sum": _folded(torch.add),
    "Tanh": _of_one(torch.tanh),
    "Tile": places.tile,
    "Transpose": _transpose,
    "Trilu": places.triangle,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
    "Xor": _of_two(torch.logical_xor),
}
"""By name; what is not here cannot learn, though it can stay as it is."""
