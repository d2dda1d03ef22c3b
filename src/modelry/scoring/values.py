"""Scores answers that are numbers."""

from __future__ import annotations

from array import array

import numpy as np

from modelry.domain.datasets import ColumnRole
from modelry.metrics.regression import mean_absolute_error, r_squared, root_mean_squared_error
from modelry.scoring.columns import known_values, one_column
from modelry.scoring.contract import Answers, Json, Question, Rows, Subject
from modelry.scoring.groups import Groups
from modelry.scoring.measuring import measured
from modelry.scoring.questions import ColumnItems
from modelry.scoring.slicing import Slices
from modelry.scoring.worst import Worst


class ValueScorer:
    """A `Scorer` of one number per row."""

    def __init__(self, subject: Subject, items: ColumnItems) -> None:
        self._label = one_column(subject, ColumnRole.LABEL)
        self._items = items
        self._true, self._said = array("d"), array("d")
        self._slices, self._groups = Slices(subject), Groups(subject)
        self._groups.check_classes(())
        self._worst = Worst()
        apart = (*self._slices.columns, *self._groups.columns)
        self.columns = tuple(dict.fromkeys([*items.columns, self._label.name, *apart]))

    def question(self, rows: Rows) -> Question:
        """See `Scorer.question`."""
        return Question(self._items.of(rows))

    def add(self, rows: Rows, answers: Answers) -> None:
        """See `Scorer.add`."""
        self._slices.add(rows)
        self._groups.add(rows)
        right = known_values(rows, self._label.name)
        for (row, value), answer in zip(right, answers.items, strict=True):
            true, said = float(value), float(answer["value"])
            self._true.append(true)
            self._said.append(said)
            self._worst.add(abs(said - true), {"row": row, "label": true, "answer": said})

    def report(self) -> Json:
        """See `Scorer.report`."""
        true, said = np.array(self._true), np.array(self._said)
        report: Json = {
            "metrics": {
                "mean_absolute_error": measured(mean_absolute_error, true, said),
                "root_mean_squared_error": measured(root_mean_squared_error, true, said),
                "r_squared": measured(r_squared, true, said),
            },
            "worst": self._worst.told(),
            "slices": self._slices.told({"mean_absolute_error": np.abs(said - true)}),
        }
        if self._groups.columns:
            report["groups"], compared = self._groups.of_values(true, said)
            report["metrics"] |= compared
        return report
