"""Which cell shall learn which object.

Task-aligned: of the cells whose centres lie in an object, those become its own that already see it
best, by class score and overlap together; the better a cell does, the surer it shall be. So no size
of object has to be given to a scale by hand.
Source: Feng et al., "TOOD: Task-aligned One-stage Object Detection", 2021.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

CELLS_PER_OBJECT = 10
_SCORE_POWER = 0.5
_OVERLAP_POWER = 6.0
_TINY = 1e-9


class Truth(NamedTuple):
    """The objects of n images, filled up to k each.

    `boxes` is (n, k, 4) as x0, y0, x1, y1 in pixels of the input; `classes` (n, k) integers;
    `is_real` (n, k) tells objects from filling.
    """

    boxes: Tensor
    classes: Tensor
    is_real: Tensor


class Targets(NamedTuple):
    """What the p cells of n images shall say.

    `scores` is (n, p, classes), 0 to 1; `boxes` (n, p, 4); `is_own` (n, p) tells
    cells with an object.
    """

    scores: Tensor
    boxes: Tensor
    is_own: Tensor


@torch.no_grad()
def assign(scores: Tensor, boxes: Tensor, points: Tensor, truth: Truth) -> Targets:
    """Give cells their objects.

    Args:
        scores: (n, p, classes) probabilities that the network gives now.
        boxes: (n, p, 4) boxes that it gives now.
        points: (p, 2) centres of the cells.
        truth: what there is.
    """
    n, p, class_count = scores.shape
    if truth.boxes.shape[1] == 0:
        return Targets(torch.zeros_like(scores), torch.zeros_like(boxes),
                       torch.zeros((n, p), dtype=torch.bool, device=scores.device))  # fmt: skip
    overlaps = paired_iou(truth.boxes[:, :, None], boxes[:, None])
    of_class = scores.transpose(1, 2).gather(1, truth.classes[..., None].expand(-1, -1, p))
    fit = of_class.pow(_SCORE_POWER) * overlaps.pow(_OVERLAP_POWER)
    allowed = _inside(points, truth.boxes) & truth.is_real[..., None]
    chosen = _best(fit.masked_fill(~allowed, -1.0)) & allowed
    chosen &= _one_owner(chosen, overlaps)
    is_own, owner = chosen.any(1), chosen.to(torch.uint8).argmax(1)
    own_boxes = truth.boxes.gather(1, owner[..., None].expand(-1, -1, 4))
    own_classes = truth.classes.gather(1, owner)
    wanted = torch.nn.functional.one_hot(own_classes, class_count).to(scores.dtype)
    sure = _sureness(fit, overlaps, chosen)
    return Targets(wanted * (sure * is_own)[..., None], own_boxes, is_own)


def _inside(points: Tensor, boxes: Tensor) -> Tensor:
    """(n, k, p): cells whose centre is in the box; the nearest one where a box has none."""
    at = points[None, None]
    low, high = boxes[:, :, None, :2], boxes[:, :, None, 2:]
    inside = ((at > low) & (at < high)).all(-1)
    far = (at - (low + high) / 2).pow(2).sum(-1)
    nearest = torch.zeros_like(inside).scatter_(2, far.argmin(2, keepdim=True), value=True)
    return torch.where(inside.any(2, keepdim=True), inside, nearest)


def _best(fit: Tensor) -> Tensor:
    """(n, k, p): the cells that fit each object best."""
    count = min(CELLS_PER_OBJECT, fit.shape[2])
    return torch.zeros_like(fit, dtype=torch.bool).scatter_(
        2, fit.topk(count, dim=2).indices, value=True
    )


def _one_owner(chosen: Tensor, overlaps: Tensor) -> Tensor:
    """(n, k, p): of several objects that chose a cell, the one that it overlaps most."""
    owner = overlaps.masked_fill(~chosen, -1.0).argmax(1, keepdim=True)
    return torch.zeros_like(chosen).scatter_(1, owner, value=True)


def _sureness(fit: Tensor, overlaps: Tensor, chosen: Tensor) -> Tensor:
    """(n, p): the best cell of an object shall be as sure as it overlaps, others less."""
    fit = fit * chosen
    best_fit = fit.amax(2, keepdim=True)
    best_overlap = (overlaps * chosen).amax(2, keepdim=True)
    return (fit / (best_fit + _TINY) * best_overlap).amax(1)


def paired_iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of boxes x0, y0, x1, y1 along the last axis; others broadcast."""
    sides = torch.minimum(first[..., 2:], second[..., 2:]) - torch.maximum(
        first[..., :2], second[..., :2]
    )
    shared = sides.clamp(min=0).prod(-1)
    union = area(first) + area(second) - shared
    return shared / (union + _TINY)


def area(boxes: Tensor) -> Tensor:
    """Of boxes x0, y0, x1, y1; 0 where they are inside out."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)
