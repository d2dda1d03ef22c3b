"""Scores answers that are classes: of images, texts, rows of tables, tensors."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from modelry.domain.datasets import Column, ColumnRole
from modelry.domain.errors import InvalidInput
from modelry.domain.signature import Datatype
from modelry.metrics.calibration import expected_calibration_error, reliability
from modelry.metrics.classification import confusion_matrix, macro_f1, precision_recall_f1
from modelry.runtime_api.tensors import NUMPY_TYPES, Array
from modelry.scoring.columns import known_values, one_column
from modelry.scoring.contract import Answers, Json, Question, Rows, Subject, all_classes
from modelry.scoring.groups import Groups
from modelry.scoring.measuring import mean, measured
from modelry.scoring.questions import ColumnItems, ImageItems
from modelry.scoring.slicing import Slices
from modelry.scoring.worst import Worst

MOST_CLASSES = 1000
"""Of so many classes all scores are asked for; of more, the best few."""
FEW = 5
MOST_SHOWN = 100
"""Classes up to which a report has the whole confusion matrix; beyond, the pairs that are most
often taken for each other."""
_LEAST_SCORE = 1e-12
_ROUNDING = 1e-6
"""Beyond 1 that a probability may be."""
_NO_ANSWER: Mapping[str, Any] = {"label": "(none)", "score": 0.0}


class ClassTally:
    """What was right and what was said, row by row.

    Keeps four numbers per row: its class, that of the answer, the answer's score, and the score
    that the row's own class got.
    """

    def __init__(self, classes: Sequence[str], slices: Slices, groups: Groups) -> None:
        self._names = list(classes)
        self._index = {name: at for at, name in enumerate(self._names)}
        self._true, self._said = array("q"), array("q")
        self._score, self._own_score = array("d"), array("d")
        self._slices = slices
        self._groups = groups
        self._worst = Worst()

    def number(self, name: str) -> int:
        """The number of a class; one that no schema told gets the next."""
        number = self._index.get(name)
        if number is None:
            number = self._index[name] = len(self._names)
            self._names.append(name)
        return number

    def add(self, row: int, true: int, said: int, score: float, own_score: float) -> None:
        """Take the answer to a row; NaN for scores that the version does not tell."""
        self._true.append(true)
        self._said.append(said)
        self._score.append(score)
        self._own_score.append(own_score)
        if said != true:
            known = not math.isnan(score)
            self._worst.add(
                score if known else 1.0,
                {
                    "row": row,
                    "label": self._names[true],
                    "answer": self._names[said],
                    "score": round(score, 6) if known else None,
                },
            )

    def report(self) -> Json:
        """See `Scorer.report`."""
        true, said = np.array(self._true, "i8"), np.array(self._said, "i8")
        score, own = np.array(self._score), np.array(self._own_score)
        right = (true == said).astype(np.float64)
        count = len(self._names)
        confusion = confusion_matrix(true, said, count)
        metrics = {
            "accuracy": measured(mean, right),
            "macro_f1": measured(
                lambda true, said: macro_f1(confusion_matrix(true, said, count)), true, said
            ),
        }
        report: Json = {
            "metrics": metrics,
            "per_class": _per_class(confusion, self._names),
            "confusion": _confusion(confusion, self._names),
            "worst": self._worst.told(),
            "slices": self._slices.told({"accuracy": right}),
        }
        if not _are_probabilities(score):
            score = np.full_like(score, np.nan)
        elif len(score) and _are_probabilities(own):
            losses = -np.log(np.maximum(own, _LEAST_SCORE))
            metrics["log_loss"] = measured(mean, losses)
            metrics["ece"] = measured(expected_calibration_error, score, right)
            report["calibration"] = [asdict(one) for one in reliability(score, right)]
        if self._groups.columns:
            report["groups"], compared = self._groups.of_classes(true, said, score, self._names)
            metrics |= compared
        return report


class LabelScorer:
    """A `Scorer` of answers that are ranked labels."""

    def __init__(self, subject: Subject, items: ColumnItems | ImageItems) -> None:
        self._label = one_column(subject, ColumnRole.LABEL)
        self._items = items
        self._slices, self._groups = Slices(subject), Groups(subject)
        if self._label.classes:
            self._groups.check_classes(self._label.classes)
        self._tally = ClassTally(self._label.classes, self._slices, self._groups)
        apart = (*self._slices.columns, *self._groups.columns)
        self.columns = tuple(dict.fromkeys([*items.columns, self._label.name, *apart]))
        count = len(self._label.classes)
        self._most = count + 1 if 0 < count <= MOST_CLASSES else FEW
        self._options: dict[str, Any] = {}
        if subject.ranks or not subject.steps:
            self._options = all_classes(self._most)

    def question(self, rows: Rows) -> Question:
        """See `Scorer.question`."""
        return Question(self._items.of(rows), options=self._options)

    def add(self, rows: Rows, answers: Answers) -> None:
        """See `Scorer.add`."""
        self._slices.add(rows)
        self._groups.add(rows)
        tally = self._tally
        right = known_values(rows, self._label.name)
        for (row, label), answer in zip(right, answers.items, strict=True):
            true = tally.number(str(label))
            ranked = answer["labels"]
            best: Mapping[str, Any] = ranked[0] if ranked else _NO_ANSWER
            tally.add(
                row,
                true,
                tally.number(str(best["label"])),
                float(best.get("score", math.nan)),
                self._score_of(str(label), ranked),
            )

    def _score_of(self, label: str, ranked: Sequence[Mapping[str, Any]]) -> float:
        """The score of a class; NaN where it is not told."""
        for one in ranked:
            if one["label"] == label:
                return float(one.get("score", math.nan))
        return 0.0 if len(ranked) < self._most else math.nan  # a class that the version has not

    def report(self) -> Json:
        """See `Scorer.report`."""
        return self._tally.report()


class TensorClassScorer:
    """A `Scorer` of versions that take tensors and give a score per class."""

    def __init__(self, subject: Subject, features: Sequence[Column], label: Column) -> None:
        self._features = tuple(features)
        self._inputs = subject.inputs
        self._label = label
        self._classes = label.classes
        self._slices, self._groups = Slices(subject), Groups(subject)
        if self._classes:
            self._groups.check_classes(self._classes)
        apart = (*self._slices.columns, *self._groups.columns)
        self._tally: ClassTally | None = None
        self.columns = tuple(dict.fromkeys([*(one.name for one in features), label.name, *apart]))

    def question(self, rows: Rows) -> Question:
        """See `Scorer.question`."""
        from modelry.datasets.forms import tensor_values

        pairs = zip(self._inputs, self._features, strict=True)
        return Question(
            tensors={
                name: _as_taken(tensor_values(column, rows.batch.column(column.name)), datatype)
                for (name, datatype), column in pairs
            }
        )

    def add(self, rows: Rows, answers: Answers) -> None:
        """See `Scorer.add`."""
        self._slices.add(rows)
        self._groups.add(rows)
        if len(answers.arrays) != 1:
            raise InvalidInput(
                f"The version answers with {len(answers.arrays)} tensors "
                f"({', '.join(answers.arrays)[:200]}); expected one, with a score for each class.",
                param="version",
            )
        (scores,) = answers.arrays.values()
        scores = scores.reshape(len(scores), -1)
        if self._tally is None:
            names = self._classes or [str(at) for at in range(scores.shape[1])]
            self._tally = ClassTally(names, self._slices, self._groups)
        probable = bool((scores >= 0).all()) and bool(np.allclose(scores.sum(1), 1, atol=1e-3))
        for (row, label), line in zip(known_values(rows, self._label.name), scores, strict=True):
            true = self._tally.number(str(label))
            said = int(line.argmax())
            own = float(line[true]) if true < len(line) else 0.0
            best = float(line[said])
            told = (best, own) if probable else (math.nan, math.nan)
            self._tally.add(row, true, said, *told)

    def report(self) -> Json:
        """See `Scorer.report`."""
        tally = self._tally or ClassTally(self._classes, self._slices, self._groups)
        return tally.report()


def _are_probabilities(scores: Array) -> bool:
    return bool(((scores >= 0) & (scores <= 1 + _ROUNDING)).all())  # NaN is none


def _as_taken(values: Array, datatype: str) -> Array:
    """In the type that the version takes; pixels kept as bytes become the numbers 0 to 255."""
    return values.astype(NUMPY_TYPES[Datatype(datatype)], copy=False)


def _per_class(counts: Array, names: Sequence[str]) -> list[Json]:
    columns = precision_recall_f1(counts)
    rows = counts.sum(axis=1)
    return [
        {
            "label": name,
            "rows": int(rows[at]),
            **{
                what: round(float(values[at]), 6)
                for what, values in zip(("precision", "recall", "f1"), columns, strict=True)
            },
        }
        for at, name in enumerate(names)
    ]


def _confusion(counts: Array, names: Sequence[str]) -> Json:
    if len(names) <= MOST_SHOWN:
        return {"classes": list(names), "counts": counts.tolist()}
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(wrong, axis=None)[::-1][:MOST_SHOWN]
    pairs = zip(*np.unravel_index(order, wrong.shape), strict=True)
    return {
        "most_often": [
            {"label": names[true], "answer": names[said], "rows": int(wrong[true, said])}
            for true, said in pairs
            if wrong[true, said]
        ]
    }
