"""Rows in columns, by graphs that tell where each column goes and by those that do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tests.support.processing import ANY, graph_of

from modelry.domain.signature import Datatype
from modelry.explaining.tables import RowParts
from modelry.runtime_api.tensors import Array

COLUMNS = [
    {"name": "age", "input": "x", "default": "nan"},
    {"name": "size", "type": "category", "values": ["S", "M", "L"], "input": "x"},
    {"name": "visits", "type": "integer", "input": "count"},
    {"name": "income", "input": "x"},
    {"name": "member", "type": "boolean", "input": "x"},
]
NAMES = [column["name"] for column in COLUMNS]
INPUTS = [("count", Datatype.INT64, (ANY,)), ("x", Datatype.FP32, (ANY, 4))]
ROW = [31.5, "M", 3, 100, True]
BACKGROUND = [[None, "M", 4, 90.5, False], [20, "L", 3, 100, True], [31.5, "S", 3, 0.1, True]]


def both() -> tuple[RowParts, RowParts]:
    """The same row where places are known, and where they are found by changing cells."""
    graph = graph_of(pre=[{"columns": COLUMNS}], inputs=INPUTS)

    def prepare(items: Sequence[Mapping[str, Any]]) -> Mapping[str, Array]:
        return graph.before(items)[0]

    known, found = (
        RowParts({"row": ROW}, BACKGROUND, prepare, NAMES, places)
        for places in (graph.column_places, None)
    )
    return known, found


def test_places_that_are_told_are_those_that_are_found() -> None:
    known, found = both()
    presences = np.random.default_rng(0).integers(0, 2, (40, len(NAMES))).astype(float)
    ours, theirs = known.inputs(presences), found.inputs(presences)
    assert ours.keys() == theirs.keys() == {"count", "x"}
    for name, array in ours.items():
        assert array.dtype == theirs[name].dtype
        np.testing.assert_array_equal(array, theirs[name])


def test_a_part_that_is_away_has_the_cell_of_each_background_row_in_turn() -> None:
    known, _ = both()
    made = known.inputs(np.array([[1.0] * 5, [0, 0, 1, 1, 1], [1, 1, 0, 0, 0]]))
    assert made["count"].tolist() == [3, 3, 3, 3, 3, 3, 4, 3, 3]
    expected = [
        *[[31.5, 1, 100, 1]] * 3,
        *([np.nan, 1, 100, 1], [20, 2, 100, 1], [31.5, 0, 100, 1]),
        *([31.5, 1, 90.5, 0], [31.5, 1, 100, 1], [31.5, 1, 0.1, 1]),
    ]
    np.testing.assert_array_equal(made["x"], np.array(expected, "f4"))


def test_numbers_of_inputs_are_gathered_by_the_columns_that_they_come_from() -> None:
    values = {"count": np.array([7]), "x": np.array([[1.0, 2.0, 4.0, 8.0]])}
    for parts in both():
        assert parts.gathered(values).tolist() == [1, 2, 7, 4, 8]
