"""How outputs of many short runs become scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import pytest

from modelry.explaining.asking import Asking, Subject
from modelry.explaining.course import Course
from modelry.explaining.pace import Pace
from modelry.processing.values import Context
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.tensors import Array
from modelry.tasks.prediction import Predictor, Prepared


class SumsRows:
    """Two scores for each row, and how many rows were read together."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def scores(self, prepared: Prepared, outputs: Mapping[str, Array]) -> Array:
        assert len(prepared.inputs["x"]) == prepared.count == len(outputs["y"])
        self.read.append(prepared.count)
        found: Array = np.stack([outputs["y"], prepared.inputs["x"].sum(axis=1)], axis=1)
        return found


def asked(rows_at_once: int, columns: int, index: int) -> tuple[Array, Array, list[int]]:
    """Scores of random rows, the rows, and how many of them were read together."""
    rows = np.random.default_rng(0).normal(size=(100, columns))
    predictor = SumsRows()

    def run(inputs: Mapping[str, Array], count: int) -> Mapping[str, Array]:
        assert len(inputs["x"]) == count
        return {"y": inputs["x"].sum(axis=1), "wide": np.zeros((count, 10_000))}

    pace = Pace(rows_at_once, lambda: 1.0)
    prepared = Prepared({"x": rows[:1]}, 1, Context(1), {}, {})
    subject = Subject(
        {}, {}, cast("Predictor", cast("Any", predictor)), run, rows_at_once, pace=pace
    )
    return (
        Asking(subject, prepared, index, Course(StopSignal())).of_inputs({"x": rows}),
        rows,
        predictor.read,
    )


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("rows_at_once", [1, 2, 16, 64])
def test_each_row_has_its_score_however_they_are_cut(rows_at_once: int, index: int) -> None:
    found, rows, _ = asked(rows_at_once, 3, index)
    assert found == pytest.approx(rows.sum(axis=1))


def test_outputs_of_short_runs_are_read_together_up_to_a_bound() -> None:
    _, _, read = asked(4, 3, 0)
    assert sum(read) == 100
    assert 1 < len(read) < 25


def test_outputs_of_single_rows_are_read_one_by_one() -> None:
    _, _, read = asked(1, 3, 0)
    assert read == [1] * 100
