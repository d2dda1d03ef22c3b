"""The YOLO families: one output with centre, size and class scores per place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
)
from modelry.processing.detection.grids import cells, check_places
from modelry.processing.parameters import Unfit
from modelry.runtime_api.tensors import Array

YOLOX_STRIDES = (8, 16, 32)


@dataclass(frozen=True, slots=True)
class YoloDecoder:
    """Rows of centre x, centre y, width, height, maybe a score of the object, class scores.

    `strides` are given when centre and size count in cells of a grid (YOLOX).
    """

    class_count: int
    has_object_score: bool
    is_transposed: bool
    activation: str
    is_fraction: bool
    strides: tuple[int, ...] = ()

    def read(self, outputs: Sequence[Array], input_size: InputSize) -> Dense:
        """The places of a batch."""
        rows = outputs[0].swapaxes(1, 2) if self.is_transposed else outputs[0]
        first = 5 if self.has_object_score else 4
        scores = activate(rows[..., first:], self.activation)
        if self.has_object_score:
            scores = scores * activate(rows[..., 4:5], self.activation)
        if self.strides:
            points, steps = cells(input_size, self.strides, 0.0)
            check_places(rows.shape[1], len(points), input_size, self.strides)

        def boxes(items: Array, places: Array) -> Array:
            chosen = rows[items, places, :4].astype(np.float64)
            centres, sizes = chosen[:, :2], chosen[:, 2:]
            if self.strides:
                centres = points[places] + centres * steps[places]
                with np.errstate(over="ignore"):
                    sizes = np.exp(sizes) * steps[places]
            found = corners(centres, sizes)
            return found * (input_size[::-1] * 2) if self.is_fraction else found

        return Dense(scores, boxes)


def _build(
    specs: Sequence[TensorSpec], parameters: Mapping[str, Any], *, has_object_score: bool
) -> YoloDecoder:
    check_count(specs, 1, 1)
    (spec,) = specs
    first = 5 if has_object_score else 4
    check_rank(spec, 3, f"[n, boxes, {first} + classes]")
    is_transposed = not has_object_score
    across, along = spec.shape[1], spec.shape[2]
    if DYNAMIC not in (across, along):
        is_transposed = across < along
    width = across if is_transposed else along
    if width != DYNAMIC and width <= first:
        raise Unfit(
            f"output '{spec.name}' has {width} numbers per box; expected {first} and one per class."
        )
    return YoloDecoder(
        class_count=width if width == DYNAMIC else width - first,
        has_object_score=has_object_score,
        is_transposed=is_transposed,
        activation=parameters["activation"],
        is_fraction=parameters["unit"] == "fraction",
    )


def _build_v5(specs: Sequence[TensorSpec], parameters: Mapping[str, Any]) -> YoloDecoder:
    return _build(specs, parameters, has_object_score=True)


def _build_v8(specs: Sequence[TensorSpec], parameters: Mapping[str, Any]) -> YoloDecoder:
    return _build(specs, parameters, has_object_score=False)


def _build_x(specs: Sequence[TensorSpec], parameters: Mapping[str, Any]) -> YoloDecoder:
    decoder = _build(specs, parameters, has_object_score=True)
    return replace(decoder, strides=tuple(parameters["strides"]))


YOLOV5 = Family("yolov5", _build_v5)
YOLOV8 = Family("yolov8", _build_v8)
YOLOX = Family("yolox", _build_x, YOLOX_STRIDES)
