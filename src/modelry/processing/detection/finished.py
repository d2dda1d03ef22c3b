"""Models that decode boxes themselves, and heat maps of centres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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

HEAT_MAP_STRIDES = (4,)


@dataclass(frozen=True, slots=True)
class FinishedDecoder:
    """Boxes, scores and classes: in one output of six columns, or in three outputs."""

    is_fraction: bool
    y_first: bool

    @property
    def class_count(self) -> int:
        """The outputs do not say."""
        return DYNAMIC

    def read(self, outputs: Sequence[Array], input_size: InputSize) -> Dense:
        """The places of a batch."""
        if len(outputs) == 1:
            places, scores, classes = outputs[0][..., :4], outputs[0][..., 4], outputs[0][..., 5]
        else:
            places, scores, classes = outputs

        def boxes(items: Array, at: Array) -> Array:
            found = places[items, at].astype(np.float64)
            if self.y_first:
                found = found[:, [1, 0, 3, 2]]
            return found * (input_size[::-1] * 2) if self.is_fraction else found

        return Dense(scores[..., None], boxes, classes)


def _build_finished(specs: Sequence[TensorSpec], parameters: Mapping[str, Any]) -> FinishedDecoder:
    check_count(specs, 1, 3)
    if len(specs) == 2:
        raise Unfit("it reads one output of six columns, or three: boxes, scores, classes.")
    check_rank(specs[0], 3, "[n, boxes, 6] or [n, boxes, 4]")
    width = 6 if len(specs) == 1 else 4
    if specs[0].shape[2] not in (DYNAMIC, width):
        raise Unfit(
            f"output '{specs[0].name}' has shape {list(specs[0].shape)}; expected [n, boxes, "
            f"{width}]."
        )
    for spec in specs[1:]:
        check_rank(spec, 2, "[n, boxes]")
    return FinishedDecoder(
        is_fraction=parameters["unit"] == "fraction", y_first=parameters["order"] == "yxyx"
    )


@dataclass(frozen=True, slots=True)
class HeatMapDecoder:
    """A heat map (n, classes, h, w); (n, 2, h, w) logarithms of height and width; offsets y, x."""

    class_count: int
    strides: tuple[int, ...]
    activation: str

    def read(self, outputs: Sequence[Array], input_size: InputSize) -> Dense:
        """The places of a batch."""
        heat, sizes, offsets = (_rows(array) for array in outputs[:3])
        points, steps = cells(input_size, self.strides, 0.5)
        check_places(heat.shape[1], len(points), input_size, self.strides)

        def boxes(items: Array, places: Array) -> Array:
            step = steps[places]
            with np.errstate(over="ignore"):
                extent = np.exp(sizes[items, places].astype(np.float64)) * step
            centres = points[places] + offsets[items, places, ::-1] * step
            return corners(centres, extent[:, ::-1])

        return Dense(activate(heat, self.activation), boxes)


def _rows(maps: Array) -> Array:
    """Maps (n, c, h, w) as (n, h * w, c)."""
    return maps.reshape(*maps.shape[:2], -1).swapaxes(1, 2)


def _build_heat_map(specs: Sequence[TensorSpec], parameters: Mapping[str, Any]) -> HeatMapDecoder:
    check_count(specs, 3, 4)
    for spec in specs[:3]:
        check_rank(spec, 4, "heat map, sizes and offsets, each [n, channels, height, width]")
    if any(spec.shape[1] not in (DYNAMIC, 2) for spec in specs[1:3]):
        raise Unfit("its outputs must be, in this order, heat map, sizes (2), offsets (2).")
    if len(parameters["strides"]) != 1:
        raise Unfit("a heat map has one stride; expected 'strides: [4]'.")
    return HeatMapDecoder(specs[0].shape[1], tuple(parameters["strides"]), parameters["activation"])


FINISHED = Family("finished", _build_finished)
HEAT_MAP = Family("centerface", _build_heat_map, HEAT_MAP_STRIDES)
