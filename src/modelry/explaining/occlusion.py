"""Occlusion: what the score loses when a square of the image is covered.

Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014.
"""

from __future__ import annotations

import numpy as np

from modelry.explaining.contract import Attribution, Scores, Wish
from modelry.explaining.images import ImageParts

_SQUARES_PER_SIDE = 5


def occlusion(scores: Scores, parts: ImageParts, wish: Wish) -> Attribution:
    """The loss by covering a cell, averaged over the squares that lie on it.

    Squares move by one cell, also over the edges, so that all cells are covered equally often.

    Raises:
        InvalidInput: the wish leaves fewer calls than there are squares.
    """
    rows, columns = parts.grid
    side = max(1, round(min(rows, columns) / _SQUARES_PER_SIDE))
    corners = [(top, left) for top in range(1 - side, rows) for left in range(1 - side, columns)]
    covered = np.zeros((len(corners), rows, columns))
    for square, (top, left) in zip(covered, corners, strict=True):
        square[max(0, top) : top + side, max(0, left) : left + side] = 1
    wish.bounded(len(corners) + 1, len(corners) + 1, parts.count)
    flat = covered.reshape(len(corners), -1)
    found = scores(np.concatenate([1 - flat, np.ones((1, parts.count))]))
    weights = (found[-1] - found[:-1]) @ flat / flat.sum(axis=0)
    return Attribution(weights, {"calls": len(found), "square": side * parts.cell})
