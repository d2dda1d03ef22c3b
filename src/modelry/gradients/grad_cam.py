"""Grad-CAM: which places of the last maps of features speak for a class.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization", ICCV 2017.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from modelry.gradients.twin import Twin, no_twin
from modelry.runtime_api.tensors import Array

_NOT_MAPS = frozenset({"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze"})


@dataclass(frozen=True, slots=True)
class Heat:
    """What speaks for the target by place.

    Attributes:
        pixels: (height, width) of the input, from 0 on.
        layer: the tensor that it was read from.
        places: its rows and columns.
    """

    pixels: Array
    layer: str
    places: tuple[int, int]


def grad_cam(
    twin: Twin, output: str, index: int, held: Mapping[str, Tensor], size: tuple[int, int]
) -> Heat:
    """The map for one image.

    Args:
        twin: the graph.
        output: the tensor with the scores, before a softmax.
        index: of the target.
        held: the input.
        size: its height and width.

    Raises:
        NotSupported: the graph has no maps of features.
    """
    seen: dict[str, Tensor] = {}
    with torch.no_grad():
        twin.run([output], held, seen)
    layer = _last_maps(twin, output, held, seen)
    maps = seen[layer].detach().to(torch.float32).requires_grad_()
    seen.clear()
    (scores,) = twin.run([output], {**held, layer: maps})
    score = scores.reshape(len(scores), -1)[:, index].sum()
    (gradient,) = torch.autograd.grad(score, [maps])
    with torch.no_grad():
        channels = gradient.mean(dim=(2, 3), keepdim=True)
        heat = torch.relu((channels * maps).sum(dim=1, keepdim=True))
        wide = functional.interpolate(heat, size=size, mode="bilinear", align_corners=False)
    rows, columns = maps.shape[2:]
    return Heat(wide[0, 0].double().numpy(), layer, (int(rows), int(columns)))


def _last_maps(
    twin: Twin, output: str, held: Mapping[str, Tensor], seen: Mapping[str, Tensor]
) -> str:
    """The last tensor (1, features, rows, columns) as large as what the last convolution gave.

    What follows it at that size, such as the sum of a residual block and its rectifier, counts;
    maps of a single place do not.
    """
    places = twin.needed([output], held)
    last = next((at for at in reversed(places) if _is_convolution(twin, at, seen)), None)
    if last is None:
        raise no_twin("it has no convolution that gives maps; integrated gradients need none.")
    found = twin.nodes[last].outputs[0]
    size = seen[found].shape[2:]
    after = {found}
    for at in places:
        node = twin.nodes[at]
        if at <= last or after.isdisjoint(node.reads):
            continue
        after.update(node.outputs)
        made = seen[node.outputs[0]]
        if node.op not in _NOT_MAPS and made.ndim == 4 and made.shape[2:] == size:
            found = node.outputs[0]
    return found


def _is_convolution(twin: Twin, at: int, seen: Mapping[str, Tensor]) -> bool:
    node = twin.nodes[at]
    shape: Sequence[int] = seen[node.outputs[0]].shape if node.op == "Conv" else ()
    return len(shape) == 4 and shape[2] * shape[3] > 1
