"""The places of a picture that the cells of feature maps stand for."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from modelry.domain.errors import ModelFailed
from modelry.processing.detection.family import InputSize
from modelry.runtime_api.tensors import Array


def map_sizes(input_size: InputSize, strides: tuple[int, ...]) -> list[tuple[int, int]]:
    """Rows and columns of the feature map at each stride."""
    height, width = input_size
    return [(-(-height // stride), -(-width // stride)) for stride in strides]


@lru_cache(maxsize=32)
def cells(input_size: InputSize, strides: tuple[int, ...], centre: float) -> tuple[Array, Array]:
    """Points (m, 2) as x, y in pixels, and strides (m, 1), of all cells; read-only.

    Levels follow each other as `strides` do, cells row by row.

    Args:
        input_size: of the model's input.
        strides: pixels between neighbouring cells, per level.
        centre: where in its cell a point lies: 0 at the upper left corner, 0.5 in the middle.
    """
    points, steps = [], []
    for (rows, columns), stride in zip(map_sizes(input_size, strides), strides, strict=True):
        y, x = np.mgrid[:rows, :columns]
        points.append((np.stack([x, y], axis=-1).reshape(-1, 2) + centre) * stride)
        steps.append(np.full((rows * columns, 1), stride))
    found = np.concatenate(points).astype(np.float64), np.concatenate(steps).astype(np.float64)
    for array in found:
        array.flags.writeable = False
    return found


def check_places(
    found: int, expected: int, input_size: InputSize, strides: tuple[int, ...]
) -> None:
    """Refuse outputs whose number of places is not that of the grid.

    Raises:
        ModelFailed: it is not.
    """
    if found != expected:
        raise ModelFailed(
            f"The model gave {found} boxes per image; an input of {input_size[1]} x "
            f"{input_size[0]} pixels with the strides {list(strides)} has {expected}. Mend "
            "'strides' of the step 'decode_boxes'."
        )
