"""Pieces of other images of the batch are put where nothing is: more objects, on other grounds.

A piece is an object with a random margin around it, or any rectangle, so that a piece's edge does
not tell that there is an object. It covers no object of the image that it is put into; objects that
it shows in part are cut as at an image's edge.
Sources: Dwibedi et al., "Cut, Paste and Learn", 2017; Ghiasi et al., "Simple Copy-Paste", 2021
(with masks; here are rectangles, since there are only boxes).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from modelry.training.recipes.object_detection.assignment import Truth
from modelry.training.recipes.object_detection.augmentation import is_seen

MAX_PIECES = 2
OBJECT_SHARE = 0.7
"""Of the pieces; the others are any rectangle."""
MAX_MARGIN = 0.3
"""Beyond each edge of an object, as a share of its longer side."""
MIN_SIDE, MAX_SIDE = 0.15, 0.6
"""Of any rectangle, as a share of the image's."""
TRIES = 6


class _Piece(NamedTuple):
    """Pixels x0, y0, x1, y1 of the image `source`, put where `at` is its upper left corner."""

    source: int
    corners: tuple[int, int, int, int]
    at: tuple[int, int]


def paste(images: Tensor, truth: Truth, share: float) -> tuple[Tensor, Truth]:
    """Put pieces of others into a share of the images.

    Args:
        images: (n, 3, h, w).
        truth: what is in them, in the memory of the CPU.
        share: of the images, 0 to 1.

    Returns:
        Images of the same shape, and what is in them now.
    """
    n, _, height, width = images.shape
    held = [
        [tuple(box) for box, is_real in zip(boxes, reals, strict=True) if is_real]
        for boxes, reals in zip(truth.boxes.tolist(), truth.is_real.tolist(), strict=True)
    ]
    changed = images.clone(memory_format=torch.preserve_format)
    found: list[list[Truth]] = []
    for target in range(n):
        kept = [_row(truth, target)]
        if n > 1 and torch.rand(()).item() < share:
            taken = list(held[target])
            for _ in range(int(torch.randint(1, MAX_PIECES + 1, ()).item())):
                piece = _piece(held, target, (width, height), taken)
                if piece is None:
                    continue
                (x0, y0, x1, y1), (x, y) = piece.corners, piece.at
                right, low = x + x1 - x0, y + y1 - y0
                changed[target, :, y:low, x:right] = images[piece.source, :, y0:y1, x0:x1]
                taken.append((x, y, right, low))
                kept.append(_moved(_row(truth, piece.source), piece))
        found.append(kept)
    return changed, _together(found, truth)


def _piece(
    held: list[list[tuple[float, ...]]],
    target: int,
    extent: tuple[int, int],
    taken: list[tuple[float, ...]],
) -> _Piece | None:
    """A piece of another image and a free place for it; None where none was found."""
    source = (target + int(torch.randint(1, len(held), ()).item())) % len(held)
    chance = torch.rand(6).tolist()
    if held[source] and chance[0] < OBJECT_SHARE:
        box = held[source][int(chance[1] * len(held[source]))]
        margin = MAX_MARGIN * max(box[2] - box[0], box[3] - box[1])
        wide = [box[0] - chance[2] * margin, box[1] - chance[3] * margin,
                box[2] + chance[4] * margin, box[3] + chance[5] * margin]  # fmt: skip
    else:
        sides = [(MIN_SIDE + (MAX_SIDE - MIN_SIDE) * one) * side
                 for one, side in zip(chance[2:4], extent, strict=True)]  # fmt: skip
        low = [one * (side - own) for one, side, own in
               zip(chance[4:6], extent, sides, strict=True)]  # fmt: skip
        wide = [*low, low[0] + sides[0], low[1] + sides[1]]
    x0, y0 = (max(0, int(at)) for at in wide[:2])
    x1, y1 = (min(side, int(at) + 1) for at, side in zip(wide[2:], extent, strict=True))
    for one, other in torch.rand(TRIES, 2).tolist():
        x, y = int(one * (extent[0] - (x1 - x0) + 1)), int(other * (extent[1] - (y1 - y0) + 1))
        place = (x, y, x + x1 - x0, y + y1 - y0)
        if not any(_meet(place, box) for box in taken):
            return _Piece(source, (x0, y0, x1, y1), (x, y))
    return None


def _meet(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _row(truth: Truth, at: int) -> Truth:
    real = truth.is_real[at]
    return Truth(truth.boxes[at][real], truth.classes[at][real], real[real])


def _moved(row: Truth, piece: _Piece) -> Truth:
    """What of an image's objects is in the piece, where the piece is put."""
    (x0, y0, x1, y1), (x, y) = piece.corners, piece.at
    low, high = row.boxes.new_tensor([x0, y0] * 2), row.boxes.new_tensor([x1, y1] * 2)
    cut = torch.minimum(torch.maximum(row.boxes, low), high)
    shift = row.boxes.new_tensor([x - x0, y - y0] * 2)
    seen = is_seen(row.boxes, cut)
    return Truth(cut[seen] + shift, row.classes[seen], row.is_real[seen])


def _together(rows: list[list[Truth]], like: Truth) -> Truth:
    """Rows filled up to as many objects as the longest has."""
    joined = [Truth(*(torch.cat(parts) for parts in zip(*one, strict=True))) for one in rows]
    most = max(len(one.classes) for one in joined)
    boxes = like.boxes.new_zeros((len(rows), most, 4))
    classes = like.classes.new_zeros((len(rows), most))
    is_real = like.is_real.new_zeros((len(rows), most))
    for at, one in enumerate(joined):
        count = len(one.classes)
        boxes[at, :count], classes[at, :count], is_real[at, :count] = one
    return Truth(boxes, classes, is_real)
