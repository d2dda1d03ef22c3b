"""How wrong a detector is: of classes, of boxes, of the distributions of their edges.

Sources: Zhang et al., "VarifocalNet", 2021 (classes); Rezatofighi et al., "Generalized Intersection
over Union", 2019 (boxes); Li et al., "Generalized Focal Loss", 2020 (edges).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from modelry.training.recipes.object_detection.assignment import Truth, area, assign
from modelry.training.recipes.object_detection.network import BINS, Detector, Seen

CLASS_WEIGHT = 1.0
BOX_WEIGHT = 2.5
EDGE_WEIGHT = 0.5
_OTHERS_WEIGHT = 0.75
_TINY = 1e-9


class Losses(NamedTuple):
    """What is made small: the sum with its weights, and its parts before them."""

    total: Tensor
    classes: Tensor
    boxes: Tensor
    edges: Tensor


def losses(detector: Detector, seen: Seen, truth: Truth) -> Losses:
    """The losses of a batch, per object that is there.

    Args:
        detector: knows its cells.
        seen: what it said.
        truth: what there is, in pixels of the input.
    """
    # half precision is too coarse here: boxes would be off by up to a pixel in 256
    with torch.autocast(seen.scores.device.type, enabled=False):
        return _losses(detector, Seen(seen.scores.float(), seen.edges.float()), truth)


def _losses(detector: Detector, seen: Seen, truth: Truth) -> Losses:
    scores, edges = seen
    boxes = detector.boxes(edges)
    targets = assign(scores.sigmoid().detach(), boxes.detach(), detector.points, truth)
    norm = targets.scores.sum().clamp(min=1.0)
    classes = _class_loss(scores, targets.scores) / norm
    own = targets.is_own.nonzero(as_tuple=True)  # once: a GPU is waited for until they are counted
    weights = targets.scores.sum(2)[own]
    wanted = targets.boxes[own]
    box_loss = ((1 - generalised_iou(boxes[own], wanted)) * weights).sum() / norm
    edge_loss = (_edge_loss(detector, edges[own], wanted, own[1]) * weights).sum() / norm
    total = CLASS_WEIGHT * classes + BOX_WEIGHT * box_loss + EDGE_WEIGHT * edge_loss
    return Losses(total, classes, box_loss, edge_loss)


def generalised_iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of pairs (k, 4), less the share of their hull that neither fills.

    So boxes that do not touch still pull at each other: -1 to 1.
    """
    sides = torch.minimum(first[:, 2:], second[:, 2:]) - torch.maximum(first[:, :2], second[:, :2])
    shared = sides.clamp(min=0).prod(-1)
    union = area(first) + area(second) - shared
    hull = (
        torch.maximum(first[:, 2:], second[:, 2:]) - torch.minimum(first[:, :2], second[:, :2])
    ).prod(-1)
    return shared / (union + _TINY) - (hull - union) / (hull + _TINY)


def _class_loss(scores: Tensor, wanted: Tensor) -> Tensor:
    """Varifocal loss: cross-entropy, weighted by how sure a cell shall be, or wrongly is."""
    wrongly = _OTHERS_WEIGHT * scores.sigmoid().detach().pow(2)
    weights = torch.where(wanted > 0, wanted, wrongly)
    plain = functional.binary_cross_entropy_with_logits(scores, wanted, reduction="none")
    return (plain * weights).sum()


def _edge_loss(detector: Detector, edges: Tensor, boxes: Tensor, places: Tensor) -> Tensor:
    """(k,): cross-entropy of the edges' distributions with the bins beside the true distance.

    Args:
        detector: knows its cells.
        edges: (k, 4, `BINS`) of cells with an object.
        boxes: (k, 4) of their objects.
        places: (k,) which cells they are.
    """
    points, steps = detector.points[places], detector.steps[places]
    true = torch.cat([points - boxes[:, :2], boxes[:, 2:] - points], 1) / steps
    true = true.clamp(0, BINS - 1 - 0.01)
    below = true.floor()
    log_shares = edges.log_softmax(2)
    at = below.long()[..., None]
    near = log_shares.gather(2, at)[..., 0] * (below + 1 - true)
    far = log_shares.gather(2, at + 1)[..., 0] * (true - below)
    return -(near + far).mean(1)
