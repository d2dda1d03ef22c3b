"""Coarse values on a fine grid, between which there are no edges that a model could react to."""

from __future__ import annotations

import numpy as np

from modelry.runtime_api.tensors import Array

MASK_CELLS = 5
"""Cells along a side of a random mask, before it is smoothed."""


def smoothed(coarse: Array, grid: tuple[int, int], random: np.random.Generator) -> Array:
    """Values (n, cells + 1, cells + 1) on a grid (n, rows x columns), linear in between.

    Each is moved by a part of a coarse cell, so that edges lie anywhere (Petsiuk, Das and Saenko,
    "RISE", BMVC 2018).
    """
    count, cells = len(coarse), coarse.shape[1] - 1
    shift = random.random((2, count))
    rows, columns = (_between(size, at, cells) for size, at in zip(grid, shift, strict=True))
    found: Array = rows @ coarse @ columns.transpose(0, 2, 1)
    return found.reshape(count, -1)


def even_weights(
    grid: tuple[int, int], random: np.random.Generator, cells: int = MASK_CELLS
) -> Array:
    """Weights (rows x columns,) by chance, as even as masks make them."""
    weights: Array = smoothed(random.random((1, cells + 1, cells + 1)), grid, random)[0]
    return weights


def _between(size: int, shift: Array, cells: int) -> Array:
    """Linear weights (n, size, cells + 1) of a coarse axis on a shifted fine one."""
    places = (np.arange(size) + 0.5) / size * cells
    at = places[None, :] + shift[:, None] - 0.5
    distance = np.abs(at[:, :, None] - np.arange(cells + 1))
    weights = np.maximum(0, 1 - distance)
    found: Array = weights / weights.sum(axis=2, keepdims=True)
    return found
