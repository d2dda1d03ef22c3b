"""How good detections are: average precision, the way COCO's own evaluation counts it.

Found objects are taken best score first. One is right when it overlaps an object of its class that
no better one took, by at least a threshold of intersection over union; of each class the precision
at 101 recalls is averaged; then over classes, and over the thresholds 0.50, 0.55, … 0.95.
Source: Lin et al., "Microsoft COCO: Common Objects in Context", 2014, and its `pycocotools`, whose
numbers these are (all areas, at most 100 found objects of an image and class, no crowds).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelry.domain.errors import InvalidInput

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

THRESHOLDS: Floats = np.linspace(0.5, 0.95, 10)
RECALLS: Floats = np.linspace(0.0, 1.0, 101)
MAX_FOUND = 100
_JUST_UNDER_ONE = 1 - 1e-10


@dataclass(frozen=True, slots=True)
class DetectionQuality:
    """Numbers from 0 to 1, over the classes that have objects; None when no class has any.

    Attributes:
        map: mean average precision over all thresholds: COCO's AP, or mAP@[.5:.95].
        map_50: at the threshold 0.5.
        map_75: at the threshold 0.75.
        recall: mean over thresholds and classes of the share of objects that were found.
        by_class: AP over all thresholds of each class; None for one without objects.
        images: how many were looked at.
        objects: how many there were to find.
    """

    map: float | None
    map_50: float | None
    map_75: float | None
    recall: float | None
    by_class: tuple[float | None, ...]
    images: int
    objects: int

    def to_metrics(self) -> dict[str, float]:
        """By the names that curves and reports use; what has no value is left out."""
        told = {"map": self.map, "map_50": self.map_50, "map_75": self.map_75,
                "recall": self.recall}  # fmt: skip
        return {name: value for name, value in told.items() if value is not None}


class DetectionScores:
    """Collects image after image; keeps a few numbers for each found object, no boxes.

    Args:
        class_count: classes are numbered from 0.
        thresholds: least overlaps, ascending.
    """

    def __init__(self, class_count: int, thresholds: Floats = THRESHOLDS) -> None:
        if class_count < 1:
            raise InvalidInput(f"'class_count' is {class_count}; expected at least 1.")
        self._thresholds = np.minimum(thresholds, _JUST_UNDER_ONE)
        self._scores: list[list[Floats]] = [[] for _ in range(class_count)]
        self._right: list[list[Flags]] = [[] for _ in range(class_count)]
        self._image_of: list[list[Integers]] = [[] for _ in range(class_count)]
        self._objects: list[Integers] = []

    def add(
        self,
        found: npt.ArrayLike,
        scores: npt.ArrayLike,
        found_classes: npt.ArrayLike,
        true: npt.ArrayLike,
        true_classes: npt.ArrayLike,
    ) -> None:
        """Count an image.

        Args:
            found: (m, 4) boxes as x0, y0, x1, y1, in any unit, the same as `true`.
            scores: (m,) how sure the model is of each.
            found_classes: (m,) numbers of their classes.
            true: (k, 4) the boxes that there are.
            true_classes: (k,) numbers of their classes.

        Raises:
            InvalidInput: the arrays do not fit each other, or hold NaN or unknown classes.
        """
        boxes, labels = self._checked(found, found_classes, "found")
        real, real_labels = self._checked(true, true_classes, "true")
        sure = np.asarray(scores, dtype=np.float64).reshape(-1)
        if len(sure) != len(boxes) or not np.isfinite(sure).all():
            raise InvalidInput(
                f"'scores' has {len(sure)} values for {len(boxes)} boxes, or one is no number; "
                "expected a finite one for each.",
                param="scores",
            )
        image = len(self._objects)
        self._objects.append(np.bincount(real_labels, minlength=len(self._scores)))
        for label in np.unique(labels):
            of_class = np.flatnonzero(labels == label)
            order = of_class[np.argsort(-sure[of_class], kind="stable")][:MAX_FOUND]
            overlaps = box_iou(boxes[order], real[real_labels == label])
            self._scores[label].append(sure[order])
            self._image_of[label].append(np.full(len(order), image, dtype=np.int64))
            self._right[label].append(_matches(overlaps, self._thresholds))

    @property
    def images(self) -> int:
        """How many were counted."""
        return len(self._objects)

    def result(self, weights: Integers | None = None) -> DetectionQuality:
        """What comes out for all images so far.

        Args:
            weights: (images,) how often each image counts, for resampling; once by default.
        """
        if weights is None:
            weights = np.ones(self.images, dtype=np.int64)
        counts = np.array(self._objects, dtype=np.int64).reshape(self.images, len(self._scores))
        objects = weights @ counts
        precisions = np.full((len(objects), len(self._thresholds)), np.nan)
        recalls = precisions.copy()
        for label in np.flatnonzero(objects):
            right = self._sorted(int(label), weights)
            if not len(right):
                precisions[label] = recalls[label] = 0.0
                continue
            precisions[label], recalls[label] = _average(right, int(objects[label]))
        by_class = tuple(None if np.isnan(row).any() else float(row.mean()) for row in precisions)
        known = precisions[objects > 0]
        return DetectionQuality(
            map=_mean(known),
            map_50=_mean(known[:, np.isclose(self._thresholds, 0.5)]),
            map_75=_mean(known[:, np.isclose(self._thresholds, 0.75)]),
            recall=_mean(recalls[objects > 0]),
            by_class=by_class,
            images=int(weights.sum()),
            objects=int(objects.sum()),
        )

    def _sorted(self, label: int, weights: Integers) -> Flags:
        """Which objects found of a class are right, best first; images as often as they weigh."""
        if not self._scores[label]:
            return np.zeros((0, len(self._thresholds)), dtype=bool)
        order = np.argsort(-np.concatenate(self._scores[label]), kind="stable")
        right = np.concatenate(self._right[label])[order]
        times = weights[np.concatenate(self._image_of[label])[order]]
        return np.repeat(right, times, axis=0)

    def _checked(
        self, boxes: npt.ArrayLike, classes: npt.ArrayLike, name: str
    ) -> tuple[Floats, Integers]:
        corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        labels = np.asarray(classes, dtype=np.int64).reshape(-1)
        if len(corners) != len(labels) or not np.isfinite(corners).all():
            raise InvalidInput(
                f"There are {len(corners)} boxes and {len(labels)} classes in '{name}', or a "
                "coordinate is no number; expected four finite numbers and a class for each.",
                param=name,
            )
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(self._scores):
            raise InvalidInput(
                f"Classes in '{name}' go from {labels.min()} to {labels.max()}; expected 0 to "
                f"{len(self._scores) - 1}.",
                param=name,
            )
        return corners, labels


def box_iou(first: Floats, second: Floats) -> Floats:
    """Intersection over union (m, k) of boxes (m, 4) and (k, 4), x0, y0, x1, y1."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    union = _areas(first)[:, None] + _areas(second)[None] - shared
    overlaps: Floats = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlaps


def _areas(boxes: Floats) -> Floats:
    areas: Floats = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1)
    return areas


def _matches(overlaps: Floats, thresholds: Floats) -> Flags:
    """Which of m found boxes, best first, are right at each of t thresholds: (m, t)."""
    found, real = overlaps.shape
    right = np.zeros((found, len(thresholds)), dtype=bool)
    if real == 0:
        return right
    is_free = np.ones((len(thresholds), real), dtype=bool)
    rows = np.arange(len(thresholds))
    for at, row in enumerate(overlaps):
        left = np.where(is_free, row, -1.0)
        best = real - 1 - left[:, ::-1].argmax(axis=1)  # of equal ones the last, as COCO does
        right[at] = left[rows, best] >= thresholds
        is_free[rows[right[at]], best[right[at]]] = False
    return right


def _average(right: Flags, objects: int) -> tuple[Floats, Floats]:
    """Average precision and final recall at each threshold, from matches sorted by score."""
    hits = right.cumsum(axis=0, dtype=np.float64)
    recall = hits / objects
    precision = hits / np.arange(1, len(right) + 1)[:, None]
    envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    averages = np.empty(right.shape[1])
    for at in range(right.shape[1]):
        places = np.searchsorted(recall[:, at], RECALLS, side="left")
        reached = places < len(right)
        averages[at] = envelope[places[reached], at].sum() / len(RECALLS)
    return averages, recall[-1]


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if values.size else None
