"""SSD-like heads: offsets to boxes of known place and size (priors, anchors)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from modelry.domain.signature import DYNAMIC, TensorSpec
from modelry.processing.detection.family import (
    Dense,
    Family,
    InputSize,
    activate,
    check_count,
    check_rank,
    corners,
    size,
)
from modelry.processing.detection.grids import cells, check_places
from modelry.processing.parameters import Unfit
from modelry.runtime_api.tensors import Array

Shapes = tuple[tuple[tuple[float, float], ...], ...]


@dataclass(frozen=True, slots=True)
class PriorDecoder:
    """Class scores and four offsets per prior; priors lie cell by cell, level by level.

    `shapes` are the (width, height) in pixels of the priors of a cell, per level.
    `background` is the class that stands for nothing; None when there is none.
    """

    outputs: int
    score_place: int
    box_place: int
    shapes: Shapes
    strides: tuple[int, ...]
    centre: float
    variances: tuple[float, float]
    background: int | None
    activation: str

    @property
    def class_count(self) -> int:
        """Without the background."""
        if self.outputs == DYNAMIC or self.background is None:
            return self.outputs
        return self.outputs - 1

    def read(self, outputs: Sequence[Array], input_size: InputSize) -> Dense:
        """The places of a batch."""
        scores = activate(outputs[self.score_place], self.activation)
        if self.background is not None:
            scores = np.delete(scores, self.background, axis=2)
        offsets = outputs[self.box_place]
        centres, sizes = _priors(input_size, self.strides, self.centre, self.shapes)
        check_places(offsets.shape[1], len(centres), input_size, self.strides)
        place, stretch = self.variances

        def boxes(items: Array, places: Array) -> Array:
            moved = offsets[items, places].astype(np.float64)
            at = centres[places] + moved[:, :2] * place * sizes[places]
            with np.errstate(over="ignore"):
                return corners(at, sizes[places] * np.exp(moved[:, 2:] * stretch))

        return Dense(scores, boxes)


@lru_cache(maxsize=32)
def _priors(
    input_size: InputSize, strides: tuple[int, ...], centre: float, shapes: Shapes
) -> tuple[Array, Array]:
    """Centres and sizes (m, 2) of all priors, in pixels; read-only."""
    centres, sizes = [], []
    for stride, level in zip(strides, shapes, strict=True):
        points, _ = cells(input_size, (stride,), centre)
        centres.append(np.repeat(points, len(level), axis=0))
        sizes.append(np.tile(np.asarray(level, dtype=np.float64), (len(points), 1)))
    found = np.concatenate(centres), np.concatenate(sizes)
    for array in found:
        array.flags.writeable = False
    return found


def _build(specs: Sequence[TensorSpec], parameters: Mapping[str, Any]) -> PriorDecoder:
    check_count(specs, 2, 2)
    for spec in specs:
        check_rank(spec, 3, "[n, priors, classes] and [n, priors, 4]")
    fours = [at for at, spec in enumerate(specs) if spec.shape[2] == 4]
    if not fours:
        raise Unfit("no output has four numbers per prior: [n, priors, 4].")
    box_place = fours[-1]  # scores stand first when both have four
    score_place = 1 - box_place
    shapes, strides = parameters["priors"], tuple(parameters["strides"])
    if shapes is None or len(shapes) != len(strides):
        raise Unfit(
            "it needs 'strides' and, for each of them, the 'priors' of a cell in pixels: "
            "'strides: [8, 16]', 'priors: [[[16, 16], [32, 32]], [[64, 64]]]'."
        )
    classes, background = size(specs[score_place], 2), parameters["background"]
    if background is not None and background >= classes:
        raise Unfit(f"'background' is {background}, but there are {classes} classes.")
    return PriorDecoder(
        outputs=classes,
        score_place=score_place,
        box_place=box_place,
        shapes=tuple(tuple((w, h) for w, h in level) for level in shapes),
        strides=strides,
        centre=parameters["centre"],
        variances=tuple(parameters["variances"]),
        background=background,
        activation=parameters["activation"],
    )


PRIORS = Family("ssd", _build)
