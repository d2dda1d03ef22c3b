"""ONNX's convolution and pooling in torch: operators that slide a window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from modelry.domain.errors import NotSupported

_CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {
    1: functional.conv1d,
    2: functional.conv2d,
    3: functional.conv3d,
}
_MAX_POOLS: dict[int, Callable[..., Tensor]] = {
    1: functional.max_pool1d,
    2: functional.max_pool2d,
    3: functional.max_pool3d,
}
_AVERAGE_POOLS: dict[int, Callable[..., Tensor]] = {
    1: functional.avg_pool1d,
    2: functional.avg_pool2d,
    3: functional.avg_pool3d,
}


class Attributes(Protocol):
    """A node's attributes, and how a form of it is refused; see `operators.Operation`."""

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute."""
        ...

    def refuse(self, why: str) -> NotSupported:
        """The error for a form that is not known."""
        ...


def convolution(operation: Attributes, inputs: Sequence[Any]) -> Tensor:
    """`Conv`: x, weights and perhaps a bias."""
    values, weight = inputs[0], inputs[1]
    bias = inputs[2] if len(inputs) > 2 else None
    sizes = weight.shape[2:]
    dilations = operation.get("dilations") or [1] * len(sizes)
    strides = operation.get("strides") or [1] * len(sizes)
    pads = _pads(operation, values.shape[2:], sizes, strides, dilations)
    group = operation.get("group", 1)
    if {*sizes, *strides, group} == {1} and not any(pads) and _are_channels_last(values):
        return _mixed(values, weight, bias)
    if _is_light(weight) and max(dilations) == 1:
        weight, pads = _even(weight, pads)
    values, padding = _padded(values, pads, 0.0)
    return _of_rank(operation, _CONVOLUTIONS, len(sizes))(
        values, weight, bias, strides, padding, dilations, group
    )


def _are_channels_last(values: Tensor) -> bool:
    return values.ndim == 4 and values.is_contiguous(memory_format=torch.channels_last)


def _mixed(values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A convolution that looks at each place alone, as the one product that it is."""
    count, features, height, width = values.shape
    places = values.permute(0, 2, 3, 1).reshape(-1, features)
    mixing = weight.flatten(1).T
    made = places @ mixing if bias is None else torch.addmm(bias, places, mixing)
    return made.view(count, height, width, len(weight)).permute(0, 3, 1, 2)


_LIGHT = 4
"""Features that each filter reads, up to which memory is slower than computing."""


def _is_light(weight: Tensor) -> bool:
    return weight.shape[1] <= _LIGHT


def _even(weight: Tensor, pads: Sequence[int]) -> tuple[Tensor, list[int]]:
    """Filters that begin or end with zeros where less is padded, so that both sides are alike.

    What is padded unevenly would be a copy of all maps, forth and back.
    """
    half = len(pads) // 2
    both = list(zip(pads[:half], pads[half:], strict=True))
    if all(before == after for before, after in both):
        return weight, list(pads)
    flat = [
        size
        for before, after in reversed(both)
        for size in (max(0, after - before), max(0, before - after))
    ]
    most = [max(pair) for pair in both]
    return functional.pad(weight, flat), most + most


def max_pool(operation: Attributes, inputs: Sequence[Any]) -> Tensor:
    """`MaxPool`, its first output."""
    values: Tensor = inputs[0]
    sizes, strides, dilations, pads = _window(operation, values)
    values, _ = _padded(values, pads, -torch.inf, keep_even=False)
    return _of_rank(operation, _MAX_POOLS, len(sizes))(
        values, sizes, strides, 0, dilations, ceil_mode=_ceil(operation, pads)
    )


def average_pool(operation: Attributes, inputs: Sequence[Any]) -> Tensor:
    """`AveragePool`; what was padded counts where `count_include_pad` says so."""
    values: Tensor = inputs[0]
    sizes, strides, dilations, pads = _window(operation, values)
    if any(one != 1 for one in dilations):
        raise operation.refuse("has dilations.")
    pool = _of_rank(operation, _AVERAGE_POOLS, len(sizes))
    ceil = _ceil(operation, pads)
    made = pool(_padded(values, pads, 0.0, keep_even=False)[0], sizes, strides, 0, ceil)
    if not any(pads) or operation.get("count_include_pad", 0):
        return made
    ones = torch.ones_like(values[:1, :1])
    share = pool(_padded(ones, pads, 0.0, keep_even=False)[0], sizes, strides, 0, ceil)
    return made / share


def _window(
    operation: Attributes, values: Tensor
) -> tuple[list[int], list[int], list[int], list[int]]:
    sizes = [int(one) for one in operation.get("kernel_shape")]
    strides = list(operation.get("strides") or [1] * len(sizes))
    dilations = list(operation.get("dilations") or [1] * len(sizes))
    return sizes, strides, dilations, _pads(operation, values.shape[2:], sizes, strides, dilations)


def _ceil(operation: Attributes, pads: Sequence[int]) -> bool:
    """Whether a last window may reach beyond the end; with padding, torch and ONNX differ."""
    ceil = bool(operation.get("ceil_mode", 0))
    if ceil and any(pads):
        raise operation.refuse("rounds sizes up and pads.")
    return ceil


def _pads(
    operation: Attributes,
    shape: Sequence[int],
    sizes: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> list[int]:
    """How much is added before each dimension, then after each."""
    automatic = operation.get("auto_pad", "NOTSET")
    if automatic == "NOTSET":
        return [int(one) for one in operation.get("pads") or [0] * (2 * len(sizes))]
    if automatic == "VALID":
        return [0] * (2 * len(sizes))
    before, after = [], []
    for has, size, stride, dilation in zip(shape, sizes, strides, dilations, strict=True):
        reach = (size - 1) * dilation + 1
        lacking = max(0, (-(-has // stride) - 1) * stride + reach - has)
        less, more = lacking // 2, lacking - lacking // 2
        before.append(less if automatic == "SAME_UPPER" else more)
        after.append(more if automatic == "SAME_UPPER" else less)
    return before + after


def _padded(
    values: Tensor, pads: Sequence[int], filled: float, *, keep_even: bool = True
) -> tuple[Tensor, list[int]]:
    """The values with padding around, or as they are and what torch shall add on both sides."""
    half = len(pads) // 2
    before, after = list(pads[:half]), list(pads[half:])
    if not any(pads) or (keep_even and before == after):
        return values, before
    flat = [size for pair in reversed(list(zip(before, after, strict=True))) for size in pair]
    return functional.pad(values, flat, value=filled), [0] * half


def _of_rank(
    operation: Attributes, functions: dict[int, Callable[..., Tensor]], rank: int
) -> Callable[..., Tensor]:
    if rank not in functions:
        raise operation.refuse(f"slides in {rank} dimensions.")
    return functions[rank]
