"""Scores answers that are boxes around objects."""

from __future__ import annotations

import numpy as np

from modelry.domain.datasets import ColumnType
from modelry.domain.errors import InvalidInput
from modelry.metrics.detection import DetectionQuality, DetectionScores
from modelry.scoring.columns import known_values
from modelry.scoring.contract import Answers, Json, Question, Rows, Subject
from modelry.scoring.groups import refuse_groups
from modelry.scoring.questions import image_items
from modelry.scoring.slicing import Slices
from modelry.scoring.worst import Worst

LEAST_IMAGES = 10
"""Of fewer, no interval is told."""
RESAMPLES = 200


class BoxScorer:
    """A `Scorer` of object detection; boxes in datasets are x, y, width, height."""

    def __init__(self, subject: Subject) -> None:
        self._items = image_items(subject)
        found = [one for one in subject.schema.columns if one.type is ColumnType.BOXES]
        if len(found) != 1 or not found[0].classes:
            raise InvalidInput(
                "To evaluate a version of the task 'object-detection' the dataset needs one "
                "column of the type 'boxes' with the names of its classes.",
                param="dataset",
            )
        self._boxes = found[0]
        self._index = {name: at for at, name in enumerate(self._boxes.classes)}
        self._scores = DetectionScores(len(self._index))
        self._worst = Worst()
        self._strangers = 0
        if subject.slices:
            raise InvalidInput("Detections are not told apart by slices.", param="slices")
        Slices(subject)
        refuse_groups(subject)
        self.columns = (*self._items.columns, self._boxes.name)

    def question(self, rows: Rows) -> Question:
        """See `Scorer.question`."""
        return Question(self._items.of(rows), options={"min_score": 0.001})

    def add(self, rows: Rows, answers: Answers) -> None:
        """See `Scorer.add`."""
        right = known_values(rows, self._boxes.name)
        for (row, boxes), answer in zip(right, answers.items, strict=True):
            objects = [one for one in answer["objects"] if one["label"] in self._index]
            self._strangers += len(answer["objects"]) - len(objects)
            self._scores.add(
                [one["box"] for one in objects],
                [one["score"] for one in objects],
                [self._index[one["label"]] for one in objects],
                [
                    [box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]]
                    for box in boxes
                ],
                [box["label"] for box in boxes],
            )
            sure = sum(one["score"] >= 0.5 for one in objects)
            if sure != len(boxes):
                told = {"row": row, "objects": len(boxes), "answered": sure}
                self._worst.add(abs(sure - len(boxes)), told)

    def report(self) -> Json:
        """See `Scorer.report`."""
        quality = self._scores.result()
        by_class = zip(self._boxes.classes, quality.by_class, strict=True)
        return {
            "metrics": self._metrics(quality),
            "per_class": [{"label": name, "average_precision": one} for name, one in by_class],
            "objects": quality.objects,
            "of_unknown_classes": self._strangers,
            "worst": self._worst.told(),
            "slices": {},
        }

    def _metrics(self, quality: DetectionQuality) -> dict[str, dict[str, float]]:
        """Each with the interval that images which are drawn anew give it."""
        told = quality.to_metrics()
        images = self._scores.images
        if not told or images < LEAST_IMAGES:
            return {name: {"value": value} for name, value in told.items()}
        chosen = np.random.default_rng(0)
        drawn = [
            self._scores.result(
                chosen.multinomial(images, np.full(images, 1 / images))
            ).to_metrics()
            for _ in range(RESAMPLES)
        ]
        metrics = {}
        for name, value in told.items():
            values = [one[name] for one in drawn if name in one]
            low, high = np.quantile(values, [0.025, 0.975])
            metrics[name] = {"value": value, "low": float(low), "high": float(high)}
        return metrics
