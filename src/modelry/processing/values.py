"""What flows between steps, and what is known of it before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from PIL import Image

from modelry.domain.signature import Datatype
from modelry.runtime_api.tensors import Array

Item = Mapping[str, Any]


class Stage(StrEnum):
    """What a value between two steps is, in the words of error messages."""

    ITEMS = "items as they came"
    PICTURE = "decoded images"
    PIXELS = "pixel arrays"
    TENSORS = "input tensors"
    OUTPUTS = "the model's outputs"
    TENSOR = "one tensor"
    RANKING = "ranked classes"
    CANDIDATES = "box candidates"
    OBJECTS = "objects in original pixels"


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where a pixel of the original image lies in the model's input.

    `x_in = x * scale_x + shift_x`, likewise y; `width` and `height` are the original's, after
    its EXIF orientation was applied.
    """

    width: int
    height: int
    scale_x: float = 1.0
    scale_y: float = 1.0
    shift_x: float = 0.0
    shift_y: float = 0.0

    def scaled(self, x: float, y: float) -> Geometry:
        """After stretching the input by `x` and `y`."""
        return Geometry(
            self.width,
            self.height,
            self.scale_x * x,
            self.scale_y * y,
            self.shift_x * x,
            self.shift_y * y,
        )

    def shifted(self, x: float, y: float) -> Geometry:
        """After moving the content of the input by `x` and `y` pixels."""
        return Geometry(
            self.width,
            self.height,
            self.scale_x,
            self.scale_y,
            self.shift_x + x,
            self.shift_y + y,
        )

    def to_original(self, boxes: Array) -> Array:
        """Boxes (m, 4) as x0, y0, x1, y1 of the input in pixels of the original, unclipped."""
        shift = np.array([self.shift_x, self.shift_y] * 2)
        scale = np.array([self.scale_x, self.scale_y] * 2)
        moved: Array = (boxes - shift) / scale
        return moved


@dataclass(frozen=True, slots=True)
class Picture:
    """One decoded image, still Pillow's; `is_bgr` says that the model wants BGR."""

    image: Image.Image
    geometry: Geometry
    is_bgr: bool = False


@dataclass(frozen=True, slots=True)
class Pixels:
    """One array over the batch; `layout` is `nhwc`, `nchw` or `nhw`."""

    array: Array
    layout: str
    geometry: Sequence[Geometry]

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width."""
        shape = self.array.shape
        height, width = shape[2:4] if self.layout == "nchw" else shape[1:3]
        return int(height), int(width)


@dataclass(frozen=True, slots=True)
class Tensors:
    """Finished input tensors, and what was learnt of the texts in them.

    `mask` is (n, length) with 1 at real tokens; `token_counts` has one count per item.
    """

    inputs: Mapping[str, Array]
    mask: Array | None = None
    token_counts: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Ranking:
    """Per item its classes, best first: parallel sequences of indexes and scores.

    `scores` is None where the model gave classes only. `labels` are the classes' names.
    """

    indexes: Sequence[Sequence[int]]
    scores: Sequence[Sequence[float]] | None
    labels: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Boxes:
    """The boxes of one item: (m, 4) float x0, y0, x1, y1; (m,) scores; (m,) class indexes."""

    boxes: Array
    scores: Array
    classes: Array

    def take(self, which: Array) -> Boxes:
        """The boxes at these places, in this order."""
        return Boxes(self.boxes[which], self.scores[which], self.classes[which])


@dataclass(frozen=True, slots=True)
class Detections:
    """Boxes per item; in input pixels as candidates, in original pixels as objects.

    `sizes` are the originals' (width, height), known once the boxes are in original pixels.
    """

    items: Sequence[Boxes]
    labels: Sequence[str] | None = None
    sizes: Sequence[tuple[int, int]] | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """What the steps after the engine may know of the steps before it."""

    count: int
    geometry: Sequence[Geometry] | None = None
    input_size: tuple[int, int] | None = None
    mask: Array | None = None
    token_counts: tuple[int, ...] | None = None

    def take(self, which: Sequence[int]) -> Context:
        """The context of some of the items."""
        return Context(
            count=len(which),
            geometry=None if self.geometry is None else [self.geometry[i] for i in which],
            input_size=self.input_size,
            mask=None if self.mask is None else self.mask[list(which)],
            token_counts=(
                None if self.token_counts is None else tuple(self.token_counts[i] for i in which)
            ),
        )


Result = Ranking | Detections | Array | Mapping[str, Array]
"""What may be left after the last step: one tensor, or all outputs by name, when no step
turned them into something else."""


@dataclass(frozen=True, slots=True)
class Form:
    """What is known of a value while the graph is built; `DYNAMIC` marks open sizes.

    `sizes` of pictures and pixels are (height, width, channels) whatever the layout; of a
    tensor they are its shape; of a ranking, candidates and objects they are (classes,). None
    when nothing is known. `names` are the input tensors that steps have made.
    """

    stage: Stage
    sizes: tuple[int, ...] | None = None
    datatype: Datatype | None = None
    layout: str = "nhwc"
    names: frozenset[str] = frozenset()
