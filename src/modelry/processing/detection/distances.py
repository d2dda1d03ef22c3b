"""Anchor-free heads that tell the distances to the four edges as distributions.

Used by PicoDet, NanoDet and GFL: each distance is the mean of a softmax over a few bins,
counted in cells of the level's grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelry.domain.signature import TensorSpec
from modelry.processing.detection.family import (
    Dense,
    Family,
    InputSize,
    activate,
    check_count,
    check_rank,
    size,
)
from modelry.processing.detection.grids import cells, check_places
from modelry.processing.parameters import Unfit
from modelry.runtime_api.tensors import Array

USUAL_BINS = (8, 16, 17)


@dataclass(frozen=True, slots=True)
class DistanceDecoder:
    """Scores and distributions per level, or one output with both side by side."""

    class_count: int
    bins: int
    score_places: tuple[int, ...]
    box_places: tuple[int, ...]
    strides: tuple[int, ...]
    centre: float
    activation: str

    def read(self, outputs: Sequence[Array], input_size: InputSize) -> Dense:
        """The places of a batch."""
        scores = _joined([outputs[at][..., : self.class_count] for at in self.score_places])
        distances = _joined([outputs[at][..., -4 * self.bins :] for at in self.box_places])
        points, steps = cells(input_size, self.strides, self.centre)
        check_places(scores.shape[1], len(points), input_size, self.strides)

        def boxes(items: Array, places: Array) -> Array:
            shares = distances[items, places].astype(np.float64).reshape(-1, 4, self.bins)
            means = activate(shares, "softmax") @ np.arange(self.bins, dtype=np.float64)
            edges = means * steps[places]
            at = points[places]
            return np.concatenate([at - edges[:, :2], at + edges[:, 2:]], axis=1)

        return Dense(activate(scores, self.activation), boxes)


def _joined(levels: list[Array]) -> Array:
    return levels[0] if len(levels) == 1 else np.concatenate(levels, axis=1)


def _build(specs: Sequence[TensorSpec], parameters: Mapping[str, Any]) -> DistanceDecoder:
    strides = tuple(parameters["strides"])
    check_count(specs, 1, 2 * len(strides))
    for spec in specs:
        check_rank(spec, 3, "[n, boxes, numbers]")
    bins = parameters["bins"]
    every = tuple(range(len(specs)))
    if len(specs) == 1:
        bins = bins or USUAL_BINS[0]
        classes = size(specs[0], 2) - 4 * bins
        score_places, box_places = every, every
    else:
        widths = [size(spec, 2) for spec in specs]
        bins = bins or _bins(widths)
        box_places = tuple(at for at in every if widths[at] == 4 * bins)
        score_places = tuple(at for at in every if widths[at] != 4 * bins)
        if not score_places:  # as many classes as numbers: scores stand first
            score_places, box_places = every[: len(every) // 2], every[len(every) // 2 :]
        _check_pairs(specs, score_places, box_places)
        classes = widths[score_places[0]]
    if classes < 1:
        raise Unfit(f"with {bins} bins no class scores are left in the outputs; mend 'bins'.")
    return DistanceDecoder(
        class_count=classes,
        bins=bins,
        score_places=score_places,
        box_places=box_places,
        strides=strides,
        centre=parameters["centre"],
        activation=parameters["activation"],
    )


def _bins(widths: Sequence[int]) -> int:
    """How many bins a distance has, told from the sizes of the outputs."""
    possible = sorted({width // 4 for width in widths if width % 4 == 0 and width >= 8})
    usual = [bins for bins in possible if bins in USUAL_BINS]
    if len(possible) == 1:
        return possible[0]
    if len(usual) == 1:
        return usual[0]
    raise Unfit(
        f"which outputs are distances cannot be told from their sizes {sorted(set(widths))}; say "
        "how many bins a distance has: 'bins: 8'."
    )


def _check_pairs(
    specs: Sequence[TensorSpec], score_places: tuple[int, ...], box_places: tuple[int, ...]
) -> None:
    scores = [specs[at] for at in score_places]
    boxes = [specs[at] for at in box_places]
    same_classes = len({spec.shape[2] for spec in scores}) == 1
    same_rows = [spec.shape[1] for spec in scores] == [spec.shape[1] for spec in boxes]
    if not same_classes or not same_rows:
        shapes = ", ".join(f"'{spec.name}' {list(spec.shape)}" for spec in specs)
        raise Unfit(
            f"the outputs are no pairs of scores and distances, level by level: {shapes}. Name "
            "them in order: 'outputs: [SCORES, …, DISTANCES, …]'."
        )


DISTANCES = Family("dfl", _build, (8, 16, 32, 64))
