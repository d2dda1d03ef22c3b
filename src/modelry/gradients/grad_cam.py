"""Grad-CAM: which places of the last maps of features speak for a class.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization", ICCV 2017, which multiplies each map by the mean of its gradient. Here each place is
multiplied by its own gradient (Draelos and Carin, "HiResCAM", 2020). It is the same where the maps
are averaged before the last layer, and where they are not, the mean would tell of no place: of the
small network of `image-classification`, Grad-CAM's map was 0 everywhere in four of five images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from modelry.gradients.served import Served
from modelry.gradients.twin import Scored, Twin, as_tensor, no_twin
from modelry.runtime_api.tensors import Array

_NOT_MAPS = frozenset({"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze"})


@dataclass(frozen=True, slots=True)
class Heat:
    """What speaks for the target by place.

    Attributes:
        pixels: (height, width) of the input, from 0 on.
        layer: the tensor that it was read from.
        places: its rows and columns.
        output: what the twin makes of these maps, for comparing it with what is served.
    """

    pixels: Array
    layer: str
    places: tuple[int, int]
    output: Array


class GradCam:
    """Gives the map for an image; what leads to the last maps of features is computed as served.

    Args:
        twin: the graph.
        scored: the tensor with the scores. Before a softmax, what counts is by how much that of
            the target is above the mean: softmax does not see what all have in common.
        output: of the graph, which is compared.
    """

    def __init__(self, twin: Twin, scored: Scored, output: str) -> None:
        self._twin = twin
        self._scored = scored
        self._output = output
        self._shapes: Sequence[Sequence[int]] = ()
        self._layer = ""
        self._served: dict[str, Served] = {}
        self._thread = ThreadPoolExecutor(1, "last-maps")
        self._begun: tuple[Mapping[str, Array], Future[tuple[str, Tensor]]] | None = None

    def begin(self, inputs: Mapping[str, Array]) -> None:
        """Compute the maps while the engine that serves is asked for the same image."""
        self._begun = (inputs, self._thread.submit(self._maps, inputs))

    def heat(self, inputs: Mapping[str, Array], index: int, size: tuple[int, int]) -> Heat:
        """The map for one image.

        Args:
            inputs: the image, as the graph takes it.
            index: of the target.
            size: its height and width.

        Raises:
            NotSupported: the graph has no maps of features, or no twin of what is behind them.
        """
        begun, self._begun = self._begun, None
        if begun is None or not _are_same(begun[0], inputs):
            begun = (inputs, self._thread.submit(self._maps, inputs))
        layer, maps = begun[1].result()
        maps.requires_grad_()
        held = {name: as_tensor(one) for name, one in inputs.items()}
        values, made = self._twin.run([self._scored.name, self._output], {**held, layer: maps})
        scores = values.reshape(len(values), -1)
        score = scores[:, index]
        if self._scored.before_softmax:
            score = score - scores.mean(dim=1)
        gradient = _gradient(score.sum(), maps)
        with torch.no_grad():
            heat = torch.relu((gradient * maps).sum(dim=1, keepdim=True))
            wide = functional.interpolate(heat, size=size, mode="bilinear", align_corners=False)
        rows, columns = maps.shape[2:]
        pixels = wide[0, 0].double().numpy()
        return Heat(pixels, layer, (int(rows), int(columns)), made.detach().numpy())

    def _maps(self, inputs: Mapping[str, Array]) -> tuple[str, Tensor]:
        """Their name, and what they are; in the one thread that there is for it."""
        shapes = [one.shape for one in inputs.values()]
        if shapes != self._shapes:
            self._layer, self._shapes = self._found(inputs), shapes
        served = self._served.get(self._layer)
        if served is None:
            served = self._served[self._layer] = Served(self._twin, [self._layer])
        return self._layer, as_tensor(served.of(inputs)[self._layer])

    def _found(self, inputs: Mapping[str, Array]) -> str:
        """Which tensor the maps are, for images of this size."""
        held = {name: as_tensor(one) for name, one in inputs.items()}
        seen: dict[str, Tensor] = {}
        with torch.no_grad():
            self._twin.run([self._scored.name], held, seen)
        return _last_maps(self._twin, self._scored.name, held, seen)


def _are_same(one: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(one[name], other[name]) for name in one
    )


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
    places = [at for at in twin.needed([output], held) if twin.nodes[at].outputs[0] in seen]
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
