"""Scores answers that are texts, against the texts that the rows have."""

from __future__ import annotations

from array import array

import numpy as np

from modelry.domain.datasets import ColumnRole, ColumnType
from modelry.metrics.text import bleu, chrf, exact_matches, rouge_l, rouge_n
from modelry.scoring.columns import known_values, one_column
from modelry.scoring.contract import Answers, Json, Question, Rows, Subject
from modelry.scoring.groups import refuse_groups
from modelry.scoring.measuring import mean, measured
from modelry.scoring.questions import source_items
from modelry.scoring.slicing import Slices
from modelry.scoring.worst import Worst


class TextScorer:
    """A `Scorer` of written texts; keeps the texts, which a report tells nobody."""

    def __init__(self, subject: Subject) -> None:
        self._items = source_items(subject)
        self._target = one_column(subject, ColumnRole.TARGET, ColumnType.TEXT)
        self._is_summary = subject.task == "summarization"
        self._written: list[str] = []
        self._wanted: list[str] = []
        self._close = array("d")
        self._slices = Slices(subject)
        refuse_groups(subject)
        self._worst = Worst()
        columns = [*self._items.columns, self._target.name, *self._slices.columns]
        self.columns = tuple(dict.fromkeys(columns))

    def question(self, rows: Rows) -> Question:
        """See `Scorer.question`."""
        return Question(self._items.of(rows))

    def add(self, rows: Rows, answers: Answers) -> None:
        """See `Scorer.add`."""
        self._slices.add(rows)
        right = known_values(rows, self._target.name)
        for (row, wanted), answer in zip(right, answers.items, strict=True):
            written = str(answer["text"])
            self._written.append(written)
            self._wanted.append(wanted)
            close = rouge_l([written], [wanted])
            self._close.append(close)
            self._worst.add(-close, {"row": row, "rouge_l": round(close, 3)})

    def report(self) -> Json:
        """See `Scorer.report`."""
        close = np.array(self._close)
        metrics = {"exact": {"value": exact_matches(self._written, self._wanted)}}
        if self._is_summary:
            metrics["rouge_1"] = {"value": rouge_n(self._written, self._wanted, 1)}
            metrics["rouge_2"] = {"value": rouge_n(self._written, self._wanted, 2)}
        else:
            metrics["chrf"] = {"value": chrf(self._written, self._wanted)}
            metrics["bleu"] = {"value": bleu(self._written, self._wanted)}
        metrics["rouge_l"] = measured(mean, close)
        return {
            "metrics": metrics,
            "worst": self._worst.told(),
            "slices": self._slices.told({"rouge_l": close}),
        }
