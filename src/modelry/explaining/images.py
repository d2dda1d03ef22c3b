"""Images in parts: cells of a grid over what the model sees, taken away by their mean colour."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modelry.domain.errors import NotSupported
from modelry.explaining.contract import Attribution
from modelry.processing.values import Geometry
from modelry.runtime_api.tensors import Array
from modelry.tasks.prediction import Prepared

MOST_CELLS = 16
"""Cells along the longer side."""
NOISE = 0.02
"""Standard deviation of the noise for stability, of that of the image's values."""


class ImageParts:
    """One image as the engine's input, in cells.

    `grid` is how many rows and columns of cells there are, `cell` the side of one in pixels of
    the input.

    Args:
        prepared: the image, alone.

    Raises:
        NotSupported: the model takes more than one image.
    """

    def __init__(self, prepared: Prepared) -> None:
        (self._name, array), *others = prepared.inputs.items()
        size = prepared.context.input_size
        if others or size is None or prepared.context.geometry is None:
            raise NotSupported("Only models with one image as their input can be explained so.")
        self._array = np.asarray(array)
        self._geometry = prepared.context.geometry[0]
        self._rows, self._columns = _axes(self._array.shape, size)
        height, width = size
        cell = max(1, math.ceil(max(height, width) / MOST_CELLS))
        self.grid = (math.ceil(height / cell), math.ceil(width / cell))
        self.cell = cell
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
        keep = self._per_pixel(presences.reshape(-1, *self.grid))
        shape = [1] * self._array.ndim
        shape[0], shape[self._rows], shape[self._columns] = len(keep), *self._size
        keep = keep.reshape(shape)
        blended = self._array * keep + self._baseline * (1 - keep)
        if self._array.dtype.kind in "iu":
            blended = np.rint(blended)
        return {self._name: blended.astype(self._array.dtype)}

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

    def described(self, attribution: Attribution) -> dict[str, Any]:
        """The weights in pixels of the image as it was sent."""
        grid = attribution.weights.reshape(self.grid)
        best = np.argsort(-attribution.weights, kind="stable")[:5]
        return {
            "kind": "image",
            "width": self._geometry.width,
            "height": self._geometry.height,
            "grid": grid.tolist(),
            "regions": [
                {"box": self._box(int(cell)), "weight": float(attribution.weights[cell])}
                for cell in best
            ],
            "seen": _clipped(self._geometry, (0, 0, self._size[1], self._size[0])),
        }

    def gathered(self, values: Mapping[str, Array]) -> Array:
        """Sums by cell (cells,) of numbers for each number of the engine's input (1, …)."""
        (held,) = values.values()
        others = tuple(at for at in range(held.ndim) if at not in (self._rows, self._columns))
        return self.by_cell(held.sum(axis=others))

    def by_cell(self, pixels: Array) -> Array:
        """Sums by cell (cells,) of numbers for each pixel of the input (height, width)."""
        rows = np.add.reduceat(pixels, np.arange(0, self._size[0], self.cell), axis=0)
        cells: Array = np.add.reduceat(rows, np.arange(0, self._size[1], self.cell), axis=1)
        return cells.reshape(-1)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the engine's input."""
        return self._size

    def _box(self, cell: int) -> list[float]:
        row, column = divmod(cell, self.grid[1])
        top, left = row * self.cell, column * self.cell
        bottom = min(top + self.cell, self._size[0])
        right = min(left + self.cell, self._size[1])
        return _clipped(self._geometry, (left, top, right, bottom))

    def _per_pixel(self, cells: Array) -> Array:
        """Cells (n, rows, columns) as pixels (n, height, width)."""
        wide: Array = cells.repeat(self.cell, axis=1).repeat(self.cell, axis=2)
        return wide[:, : self._size[0], : self._size[1]]


def _axes(shape: Sequence[int], size: tuple[int, int]) -> tuple[int, int]:
    """Which dimensions of an input (1, …) are height and width."""
    if len(shape) == 4 and tuple(shape[2:4]) == size and tuple(shape[1:3]) != size:
        return 2, 3
    return 1, 2


def _clipped(geometry: Geometry, box: tuple[float, float, float, float]) -> list[float]:
    found = geometry.to_original(np.array([box], np.float64))[0]
    most = [geometry.width, geometry.height] * 2
    return [float(min(max(value, 0), bound)) for value, bound in zip(found, most, strict=True)]
