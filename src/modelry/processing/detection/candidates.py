"""Which places hold candidates, and which of them stand for the same object."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from modelry.domain.errors import ModelFailed
from modelry.processing.complaints import check_finite
from modelry.processing.detection.family import Dense
from modelry.processing.values import Boxes
from modelry.runtime_api.tensors import Array

MAX_CLASSES = 1_000_000
FAR = 1e7
"""Pixels; boxes end here, so that infinite ones can be computed with."""


def candidates(dense: Dense, *, min_score: float, multi_label: bool, limit: int) -> list[Boxes]:
    """Per item the boxes that score, best first.

    Args:
        dense: the places of a batch.
        min_score: least score.
        multi_label: every class that scores at a place gives a box of its own, instead of the
            best class only.
        limit: most boxes per item.

    Raises:
        ModelFailed: scores or boxes are NaN.
    """
    scores = dense.scores
    check_finite(scores, "scores")
    if multi_label:
        items, places, classes = np.nonzero(scores >= min_score)
        reached = scores[items, places, classes]
    else:
        best = scores.argmax(axis=2)
        top = np.take_along_axis(scores, best[..., None], axis=2)[..., 0]
        items, places = np.nonzero(top >= min_score)
        reached, classes = top[items, places], best[items, places]
    if dense.classes is not None:
        classes = _own_classes(dense.classes[items, places])
    order = np.lexsort((-reached, items))  # by item, best first
    starts = np.searchsorted(items[order], np.arange(len(scores) + 1))
    found = []
    for start, end in pairwise(starts.tolist()):
        chosen = order[start : min(end, start + limit)]
        boxes = np.clip(dense.boxes(items[chosen], places[chosen]), -FAR, FAR)
        found.append(Boxes(boxes, reached[chosen].astype(np.float64), classes[chosen]))
    _check_boxes(found)
    return found


def _own_classes(chosen: Array) -> Array:
    if not np.isfinite(chosen).all() or (
        chosen.size and not 0 <= chosen.min() <= chosen.max() < MAX_CLASSES
    ):
        raise ModelFailed(
            f"The model gave classes that are no indexes from 0 to {MAX_CLASSES - 1}."
        )
    return chosen.astype(np.int64)


def _check_boxes(found: list[Boxes]) -> None:
    worst = np.array([[boxes.boxes.sum()] for boxes in found])  # NaN if any of them is
    check_finite(worst, "boxes")


def suppress(found: Boxes, *, iou: float, limit: int, class_wise: bool) -> Array:
    """Indexes of the boxes that stay, best first (greedy non-maximum suppression).

    A box goes when it overlaps a better one that stays by more than `iou` (intersection over
    union), with `class_wise` only if that one is of the same class.

    Args:
        found: boxes, best first.
        iou: 0 to 1.
        limit: stop after so many.
        class_wise: whether boxes of different classes may lie on each other.
    """
    low, high = found.boxes[:, :2], found.boxes[:, 2:]
    areas = np.clip(high - low, 0, None).prod(axis=1)
    left = np.arange(len(areas))
    kept: list[int] = []
    while left.size and len(kept) < limit:
        best, left = left[0], left[1:]
        kept.append(int(best))
        sides = np.minimum(high[best], high[left]) - np.maximum(low[best], low[left])
        shared = np.clip(sides, 0, None).prod(axis=1)
        union = areas[best] + areas[left] - shared
        is_same = shared > iou * union
        if class_wise:
            is_same &= found.classes[left] == found.classes[best]
        left = left[~is_same]
    return np.asarray(kept, dtype=np.int64)
