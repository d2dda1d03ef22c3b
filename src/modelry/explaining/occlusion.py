"""Occlusion: what the score loses when a square of the image is covered.

Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014.
"""

from __future__ import annotations

import numpy as np

from modelry.explaining.contract import Attribution, Scores, Wish
from modelry.explaining.course import TimeIsUp
from modelry.explaining.images import ImageParts
from modelry.explaining.settling import LEAST_PORTIONS, TRUSTED, Asked, agreement, needed
from modelry.runtime_api.tensors import Array

SETTLED = 0.95
_SQUARES_PER_SIDE = 5


def occlusion(scores: Scores, parts: ImageParts, wish: Wish) -> Attribution:
    """The loss by covering a cell, averaged over the squares that lie on it.

    Squares lie side by side, also over the edges, so that they cover each cell once; then so
    again, each time moved by some cells, until they have lain in all places or the weights do
    not change any more.

    Raises:
        InvalidInput: the wish leaves fewer calls than squares side by side take.
        TimeIsUp: the time suffices for no such squares.
    """
    side = max(1, round(min(parts.grid) / _SQUARES_PER_SIDE))
    tilings = [_tiling(parts.grid, side, place) for place in _places(side)]
    costs = [int(tiling.max()) + 1 for tiling in tilings]
    most = wish.bounded(sum(costs) + 1, max(costs) + 1, parts.count)
    whole = scores(np.ones((1, parts.count)))
    losses: list[Array] = []
    done, is_settled = 1, False
    agreed: float | None = None
    for tiling, squares in zip(tilings, costs, strict=True):
        if done + squares > most or is_settled:
            break
        kept = (tiling[None, :] != np.arange(squares)[:, None]).astype(np.float64)
        found = wish.course.in_time(scores, kept, squares)
        if not len(found):
            break
        losses.append((whole - found)[tiling])
        done += squares
        if len(losses) >= LEAST_PORTIONS:
            agreed = agreement(np.stack(losses), len(tilings))
            is_settled = agreed >= SETTLED
    if not losses:
        raise TimeIsUp
    is_complete = len(losses) == len(tilings)
    asked = Asked(done, most, agreed, is_complete, is_settled, wish.course.is_cut)
    if asked.is_cut and agreed is not None and agreed < TRUSTED:
        wish.course.fell_short(done, needed(done, most, agreed, SETTLED), 1, 1)
    told = {**asked.to_wire(), "square": side * parts.cell}
    return Attribution(np.mean(losses, axis=0), told)


def _places(side: int) -> list[tuple[int, int]]:
    """All places (down, right) of a grid of squares; any few in a row are spread over all."""
    step = next(one for one in range(max(1, side // 2), side + 1) if np.gcd(one, side) == 1)
    return [
        (down, (down * step + shift * step) % side) for shift in range(side) for down in range(side)
    ]


def _tiling(grid: tuple[int, int], side: int, place: tuple[int, int]) -> Array:
    """The number of its square, for each cell (cells,)."""
    rows, columns = ((np.arange(n) + at) // side for n, at in zip(grid, place, strict=True))
    numbers = rows[:, None] * (columns.max() + 1) + columns[None, :]
    _, found = np.unique(numbers, return_inverse=True)
    numbered: Array = found.reshape(-1)
    return numbered
