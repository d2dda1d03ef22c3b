"""Images in parts: cells of a grid over what the model sees, taken away by their mean colour."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modelry.domain.errors import InvalidInput, NotSupported
from modelry.explaining.contract import Attribution
from modelry.explaining.smoothing import MASK_CELLS, even_weights
from modelry.processing.values import Geometry
from modelry.runtime_api.tensors import Array
from modelry.tasks.prediction import Prepared

MOST_CELLS = 16
"""Cells along the longer side."""
MOST_NUMBERS = 2**26
"""Of one image as the engine's input; changed ones are made of it."""
_REGIONS = 5
NOISE = 0.02
"""Standard deviation of the noise for stability, of that of the image's values."""


class ImageParts:
    """One image as the engine's input, in cells.

    `grid` is how many rows and columns of cells there are, `cell` the side of one in pixels of
    the input.

    Args:
        prepared: the image, alone.
        most_cells: along the longer side.
        mask_cells: along a side of a random mask.

    Raises:
        NotSupported: the model takes more than one image.
        InvalidInput: the image is too large.
    """

    def __init__(
        self, prepared: Prepared, most_cells: int = MOST_CELLS, mask_cells: int = MASK_CELLS
    ) -> None:
        (self._name, array), *others = prepared.inputs.items()
        size = prepared.context.input_size
        if others or size is None or prepared.context.geometry is None:
            raise NotSupported("Only models with one image as their input can be explained so.")
        self._array = np.asarray(array)
        if self._array.size > MOST_NUMBERS:
            raise InvalidInput(
                f"The model sees {size[1]} x {size[0]} pixels of this image, {self._array.size} "
                f"numbers; images of at most {MOST_NUMBERS} can be explained. Send a smaller one.",
                param="image",
            )
        self._geometry = prepared.context.geometry[0]
        self._rows, self._columns = _axes(self._array.shape, size)
        height, width = size
        cell = max(1, math.ceil(max(height, width) / most_cells))
        self.grid = (math.ceil(height / cell), math.ceil(width / cell))
        self.cell = cell
        self.mask_cells = mask_cells
        self._size = size
        self._baseline = self._array.mean(axis=(self._rows, self._columns), keepdims=True)
        self.repeats = 1
        self.baseline = "the image's mean colour"

    @property
    def count(self) -> int:
        """How many cells there are."""
        return self.grid[0] * self.grid[1]

    def inputs(self, presences: Array) -> Mapping[str, Array]:
        """The engine's input for presences (n, cells)."""
        kind = np.result_type(self._array, np.float32)
        keep = self._per_pixel(presences.astype(kind).reshape(-1, *self.grid))
        shape = [1] * self._array.ndim
        shape[0], shape[self._rows], shape[self._columns] = len(keep), *self._size
        keep = keep.reshape(shape)
        blended = self._array * keep  # cells that are kept whole, or not at all, stay exact
        blended += self._baseline.astype(kind) * (1 - keep)
        if self._array.dtype.kind in "iu":
            blended = np.rint(blended)
        return {self._name: blended.astype(self._array.dtype, copy=False)}

    def noisy(self, random: np.random.Generator) -> ImageParts:
        """The same image with a little noise."""
        other = object.__new__(ImageParts)
        other.__dict__.update(self.__dict__)
        noise = random.normal(0, NOISE * float(self._array.std()), self._array.shape)
        moved = self._array + noise
        if self._array.dtype.kind in "iu":
            bounds = np.iinfo(self._array.dtype)
            moved = np.clip(np.rint(moved), bounds.min, bounds.max)
        other._array = moved.astype(self._array.dtype)
        return other

    def guess(self, random: np.random.Generator) -> Array:
        """See `Parts.guess`."""
        return even_weights(self.grid, random, self.mask_cells)

    def described(self, attribution: Attribution) -> dict[str, Any]:
        """The weights in pixels of the image as it was sent."""
        grid = attribution.weights.reshape(self.grid)
        order = np.argsort(-attribution.weights, kind="stable")
        return {
            "kind": "image",
            **self.frame(),
            "grid": grid.tolist(),
            "regions": [
                {"box": box, "weight": float(attribution.weights[cell])}
                for cell, box in self._in_picture(order, _REGIONS)
            ],
        }

    def gathered(self, values: Mapping[str, Array]) -> Array:
        """Sums by cell (n, cells) of numbers for each number of the engine's input (n, …)."""
        (held,) = values.values()
        others = tuple(at for at in range(1, held.ndim) if at not in (self._rows, self._columns))
        return self.by_cell(held.sum(axis=others))

    def by_cell(self, pixels: Array) -> Array:
        """Sums by cell (…, cells) of numbers for each pixel of the input (…, height, width)."""
        rows = np.add.reduceat(pixels, np.arange(0, self._size[0], self.cell), axis=-2)
        cells: Array = np.add.reduceat(rows, np.arange(0, self._size[1], self.cell), axis=-1)
        return cells.reshape(*pixels.shape[:-2], -1)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the engine's input."""
        return self._size

    def frame(self) -> dict[str, Any]:
        """The size of the image as it was sent, and boxes in its pixels.

        `seen` is what the model sees of it; `grid_box` is where the cells lie together, which may
        reach over its border where the model sees bars around it.
        """
        rows, columns = self.grid
        cells = np.array([[0, 0, columns * self.cell, rows * self.cell]], np.float64)
        seen = np.array([[0, 0, self._size[1], self._size[0]]], np.float64)
        return {
            "width": self._geometry.width,
            "height": self._geometry.height,
            "seen": _clipped(self._geometry, seen)[0].tolist(),
            "grid_box": self._geometry.to_original(cells)[0].tolist(),
        }

    def share_inside(self, weights: Array, box: Sequence[float]) -> float | None:
        """How much of what raised the score lies in a box of the image as it was sent, 0..1.

        Of a cell on the box's edge its share counts (the energy-based pointing game of Wang et
        al., "Score-CAM", 2020); None where nothing raised the score.
        """
        raised = np.maximum(weights, 0)
        if not raised.any():
            return None
        cells = self._boxes(np.arange(self.count))
        low, high = np.maximum(cells[:, :2], box[:2]), np.minimum(cells[:, 2:], box[2:])
        areas = (cells[:, 2:] - cells[:, :2]).prod(axis=1)
        inside = np.clip(high - low, 0, None).prod(axis=1)
        shares = np.divide(inside, areas, out=np.zeros(len(areas)), where=areas > 0)
        return float((raised * shares).sum() / raised.sum())

    def _in_picture(self, cells: Array, most: int) -> list[tuple[int, list[float]]]:
        """The first of the cells that show some of the picture, with what they show."""
        boxes = self._boxes(cells)
        is_shown = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)  # not in bars around the picture
        shown = np.flatnonzero(is_shown)[:most]
        return list(zip(cells[shown].tolist(), boxes[shown].tolist(), strict=True))

    def _boxes(self, cells: Array) -> Array:
        """Where cells lie (n, 4) in the image as it was sent."""
        rows, columns = np.divmod(cells, self.grid[1])
        top, left = rows * self.cell, columns * self.cell
        bottom = np.minimum(top + self.cell, self._size[0])
        right = np.minimum(left + self.cell, self._size[1])
        return _clipped(self._geometry, np.stack([left, top, right, bottom], axis=1))

    def _per_pixel(self, cells: Array) -> Array:
        """Cells (n, rows, columns) as pixels (n, height, width)."""
        wide: Array = cells.repeat(self.cell, axis=1).repeat(self.cell, axis=2)
        return wide[:, : self._size[0], : self._size[1]]


def _axes(shape: Sequence[int], size: tuple[int, int]) -> tuple[int, int]:
    """Which dimensions of an input (1, …) are height and width."""
    if len(shape) == 4 and tuple(shape[2:4]) == size and tuple(shape[1:3]) != size:
        return 2, 3
    return 1, 2


def _clipped(geometry: Geometry, boxes: Array) -> Array:
    """Boxes (n, 4) of the input in pixels of the original, cut at its border."""
    found = geometry.to_original(boxes)
    clipped: Array = np.clip(found, 0, [geometry.width, geometry.height] * 2)
    return clipped
