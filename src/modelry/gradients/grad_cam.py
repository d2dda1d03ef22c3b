"""Grad-CAM: which places of the last maps of features speak for a class.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization", ICCV 2017, which multiplies each map by the mean of its gradient. Here each place is
multiplied by its own gradient (Draelos and Carin, "HiResCAM", 2020). It is the same where the maps
are averaged before the last layer, and where they are not, the mean would tell of no place: of the
small network of `image-classification`, Grad-CAM's map was 0 everywhere in four of five images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from modelry.gradients.twin import Scored, Twin, no_twin
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
    twin: Twin, scored: Scored, index: int, held: Mapping[str, Tensor], size: tuple[int, int]
) -> Heat:
    """The map for one image.

    Args:
        twin: the graph.
        scored: the tensor with the scores. Before a softmax, what counts is by how much that of
            the target is above the mean: softmax does not see what all have in common.
        index: of the target.
        held: the input.
        size: its height and width.

    Raises:
        NotSupported: the graph has no maps of features.
    """
    seen: dict[str, Tensor] = {}
    with torch.no_grad():
        twin.run([scored.name], held, seen)
    layer = _last_maps(twin, scored.name, held, seen)
    maps = seen[layer].detach().requires_grad_()
    seen.clear()
    (output,) = twin.run([scored.name], {**held, layer: maps})
    scores = output.reshape(len(output), -1)
    score = scores[:, index] - scores.mean(dim=1) if scored.before_softmax else scores[:, index]
    gradient = _gradient(score.sum(), maps)
    with torch.no_grad():
        heat = torch.relu((gradient * maps).sum(dim=1, keepdim=True))
        wide = functional.interpolate(heat, size=size, mode="bilinear", align_corners=False)
    rows, columns = maps.shape[2:]
    return Heat(wide[0, 0].double().numpy(), layer, (int(rows), int(columns)))


def _gradient(score: Tensor, maps: Tensor) -> Tensor:
    found: Tensor | None = None
    if score.requires_grad:
        (found,) = torch.autograd.grad(score, [maps], allow_unused=True)
    if found is None:
        raise no_twin("a step between its last maps of features and its scores has no gradient.")
    if not torch.isfinite(found).all():
        raise no_twin("its gradients are no finite numbers for this input.")
    return found


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
