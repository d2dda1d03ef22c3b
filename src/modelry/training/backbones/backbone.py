"""A base version's file, cut and tried on real images: what stays, and what learns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import torch

from modelry.domain.errors import InvalidInput
from modelry.runtime_api.tensors import Array
from modelry.training.backbones.cutting import Cut
from modelry.training.backbones.graph import Graph, unsuited
from modelry.training.backbones.network import Headed
from modelry.training.backbones.trunk import Trunk, TwinTrunk
from modelry.training.backbones.twin import Twin

FARTHEST = 1e-3
"""How far, relative to the largest number, what is computed in two ways may lie apart."""
_RANKS = range(2, 6)
_CHANNELS = (1, 3)


@dataclass(frozen=True, slots=True)
class Backbone:
    """A graph, where it is cut, and the sizes that tensors have for these images.

    Attributes:
        sizes: of one row, by name: of the input, the features, the boundary, and of tensors that
            the part that learns asks for.
    """

    graph: Graph
    cut: Cut
    sizes: Mapping[str, tuple[int, ...]]

    @property
    def pixels(self) -> tuple[int, ...]:
        """The shape of an image as the graph sees it."""
        return self.sizes[self.graph.input]

    @property
    def has_channels_last(self) -> bool:
        """Whether an image is (height, width, channels)."""
        return self.pixels[0] not in _CHANNELS

    @property
    def area(self) -> int:
        """Pixels of an image."""
        return prod(self.pixels) // self.pixels[-1 if self.has_channels_last else 0]

    @property
    def learns_whole(self) -> bool:
        """Whether nothing stays as it is."""
        return self.cut.boundary == self.graph.input

    def trunk(self, device: torch.device) -> Callable[[Array], Array] | None:
        """What computes the boundary from images; None where that is the images themselves.

        ONNX Runtime on the CPU; on a GPU the same operators in torch, where all are known.
        """
        if self.learns_whole:
            return None
        if device.type == "cuda":
            try:
                return TwinTrunk(self._trunk(), device)
            except InvalidInput:  # an operator that torch's side does not have
                pass
        return Trunk(self.graph, [self.cut.boundary])

    def network(self, classes: int, dropout: float) -> Headed:
        """The part that learns, with a new last layer for so many classes.

        Raises:
            InvalidInput: it has an operator that is not known here.
        """
        tail = None
        if self.cut.boundary != self.cut.features:
            tail = self._tail()
        features = self.sizes[self.cut.features]
        width = features[-1] if len(features) == 2 else features[0]
        return Headed(tail, len(features) + 1, width, classes, dropout)

    def _tail(self) -> Twin:
        """What learns."""
        return Twin(
            self.graph,
            self.cut.tail,
            self.cut.boundary,
            self.cut.features,
            learnt=self.cut.learnt,
            sizes={name: self.sizes[name] for name in self.cut.outside},
        )

    def _trunk(self) -> Twin:
        """What stays; it ends in the features where the new last layer alone learns."""
        boundary = self.cut.boundary
        return Twin(self.graph, self.graph.needed([boundary]), self.graph.input, boundary)


def tried(graph: Graph, cut: Cut, pixels: Array) -> Backbone:
    """The graph, seen to do what training it further takes.

    Args:
        graph: the whole.
        cut: where it is cut.
        pixels: real images, two at least, in the layout of its input.

    Raises:
        InvalidInput: it does not run on several images at a time, its features are no numbers per
            image, or its operators do something else in torch.
    """
    names = dict.fromkeys([cut.features, cut.boundary, *cut.outside])
    names.pop(graph.input, None)
    found = {graph.input: pixels}
    if names:
        trunk = Trunk(graph, list(names))
        found |= trunk.all_of(pixels)
        if graph.is_opened:
            _check_rows(trunk, found, pixels)
    _check_features(cut, found)
    backbone = Backbone(graph, cut, {name: tuple(one.shape[1:]) for name, one in found.items()})
    _check_tail(backbone, found)
    return backbone


def _check_rows(trunk: Trunk, found: Mapping[str, Array], pixels: Array) -> None:
    """A number of images that was fixed may be built into the graph elsewhere, too."""
    alone = trunk.all_of(pixels[:1])
    for name, one in alone.items():
        if _distance(one, found[name][:1]) > FARTHEST:
            raise unsuited(
                "it was saved for one image at a time, and answers otherwise when there are more; "
                "save it with an open number of images."
            )


def _check_features(cut: Cut, found: Mapping[str, Array]) -> None:
    features = found[cut.features]
    if features.ndim not in _RANKS or features.dtype.kind != "f" or 0 in features.shape:
        raise unsuited(
            f"its tensor '{cut.features[:80]}' has the shape {list(features.shape[1:])} and the "
            f"type {features.dtype} for each image; a new last layer reads rows, tokens or maps of "
            "floats.",
            "features",
        )
    boundary = found[cut.boundary]
    if cut.boundary != cut.features and boundary.dtype != np.float32:
        raise unsuited(
            f"its blocks compute with {boundary.dtype}, and can only learn with float32; set "
            "'unfreeze' to 0.",
            "unfreeze",
        )


def _check_tail(backbone: Backbone, found: Mapping[str, Array]) -> None:
    tail = backbone.network(2, 0.0).tail
    if tail is None:
        return
    given = torch.from_numpy(np.ascontiguousarray(found[backbone.cut.boundary]))
    with torch.no_grad():
        made = tail(given).numpy()
    far = _distance(made, found[backbone.cut.features])
    if not far <= FARTHEST:
        raise unsuited(
            f"its last {backbone.cut.blocks} blocks give other numbers in torch (by {far:.2g} of "
            "the largest), so they cannot learn. Let fewer learn ('unfreeze').",
            "unfreeze",
        )


def _distance(one: Array, other: Array) -> float:
    """The largest difference, as a share of the largest number."""
    if one.shape != other.shape:
        return float("inf")
    a, b = one.astype(np.float64), other.astype(np.float64)
    size = float(np.abs(a).max(initial=0.0))
    return float(np.abs(a - b).max(initial=0.0)) / max(size, 1e-6)
