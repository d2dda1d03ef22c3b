"""Tabular, from rows to classes and numbers, by real engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from tests.support.onnx_models import identity, model_of
from tests.support.task_models import (
    ServedVersion,
    facts_of,
    linear_classifier,
    manifest,
    scalar_columns,
    written,
)

from modelry.domain.errors import InvalidInput, ManifestInvalid, ModelFailed
from modelry.tasks.rules import InstalledTasks

RULES = InstalledTasks()


def served(folder: Path, model: Any, **more: Any) -> ServedVersion:
    return ServedVersion("tabular", written(folder, model=model), **more)


def test_a_row_gets_its_classes_with_their_probabilities(tmp_path: Path) -> None:
    version = served(tmp_path, linear_classifier([0, 1, 2]), labels=["setosa", "lily", "iris"])
    answer = version.predict([{"row": [0.0, 5.0, 1]}, {"row": {"f0": 9, "f1": 0, "f2": 0}}])
    first, second = (item["labels"] for item in answer.items)
    assert [entry["label"] for entry in first] == ["lily", "iris", "setosa"]
    powers = np.exp([0.0, 5.0, 1.0])
    assert first[0]["score"] == pytest.approx(powers[1] / powers.sum(), abs=1e-6)
    assert second[0]["index"] == 0
    assert answer.usage == {"rows": 2}


def test_declared_columns_have_names_and_types(tmp_path: Path) -> None:
    columns = ["length", {"name": "kind", "type": "category", "values": ["a", "b"]}]
    version = served(tmp_path, linear_classifier([0, 1]), pre=[{"columns": columns}])
    (item,) = version.predict([{"row": {"kind": "b", "length": 0}}]).items
    assert item["labels"][0]["index"] == 1
    with pytest.raises(InvalidInput, match="one of 'a', 'b'") as told:
        version.predict([{"row": {"kind": "c", "length": 0}}])
    assert told.value.param == "kind"


def test_each_input_is_a_column_and_a_number_comes_out(tmp_path: Path) -> None:
    version = served(tmp_path, scalar_columns())
    answer = version.predict([{"row": {"age": 40, "score": 0.5}}, {"row": [1, 2]}], most=1)
    assert answer.items == [{"value": 80.5}, {"value": 4.0}]
    assert answer.usage == {"rows": 2}


def test_several_numbers_come_out_as_they_are(tmp_path: Path) -> None:
    version = served(tmp_path, identity(TensorProto.FLOAT, ("batch", 3)))
    assert version.predict([{"row": [1, 2, 3]}]).items == [{"values": [1.0, 2.0, 3.0]}]


def test_text_comes_out_as_text(tmp_path: Path) -> None:
    version = served(tmp_path, linear_classifier(["no", "yes"]), post=[{"output": "label"}])
    assert version.predict([{"row": [0, 1]}, {"row": [1, 0]}]).items == [
        {"value": "yes"},
        {"value": "no"},
    ]


def test_class_indexes_are_named_by_the_labels(tmp_path: Path) -> None:
    model = linear_classifier([0, 1])
    del model.graph.output[1]
    version = served(tmp_path, model, labels=["no", "yes"])
    assert version.predict([{"row": [0, 1]}]).items == [{"labels": [{"label": "yes", "index": 1}]}]


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ({"age": 1}, "'score' is missing"),
        ({"age": 1, "score": 2, "wage": 3}, "'wage'"),
        ({"age": "1", "score": 2}, "'age' is '1'"),
        ({"age": True, "score": 2}, "'age' is True"),
        ({"age": 1.5, "score": 2}, "'age' is 1.5"),
        ({"age": 10**30, "score": 2}, "'age'"),
        ({"age": 1, "score": 1e300}, "score"),
        ({"age": 1, "score": float("nan")}, "'score' is nan"),
        ({"age": 1, "score": float("inf")}, "'score' is inf"),
        ({"age": 1, "score": {}}, "'score'"),
        ([1], "1 values"),
        ("1,2", "'1,2'"),
        (None, "None"),
    ],
)
def test_a_wrong_cell_is_named_with_its_item(tmp_path: Path, row: Any, word: str) -> None:
    version = served(tmp_path, scalar_columns())
    with pytest.raises(InvalidInput) as told:
        version.predict([{"row": [1, 2]}, {"row": row}])
    assert word in told.value.message


def test_answers_that_are_no_numbers_are_told(tmp_path: Path) -> None:
    model = model_of(
        [helper.make_node("Log", ["x"], ["y"])],
        {"x": (TensorProto.FLOAT, ["batch", 2])},
        {"y": (TensorProto.FLOAT, ["batch", 2])},
    )
    version = served(tmp_path, model)
    with pytest.raises(ModelFailed, match="item 2") as told:
        version.predict([{"row": [1, 2]}, {"row": [-1, 2]}])
    assert told.value.param == "items[1]"
    with pytest.raises(ModelFailed, match="item 3"):
        version.predict([{"row": [1, 2]}, {"row": [1, 2]}, {"row": [0, 2]}], most=2)


@pytest.mark.parametrize(
    ("model", "task", "word"),
    [
        (linear_classifier([0, 1]), "tabular", "LinearClassifier"),
        (scalar_columns(), "tabular", "each input is one column"),
        (identity(TensorProto.FLOAT, ("batch", 3)), "tabular", "3 column(s)"),
        (identity(TensorProto.FLOAT, ("batch", None)), "tensor", "as they are"),
        (identity(TensorProto.INT64, ("batch", 3)), "tensor", "as they are"),
    ],
)
def test_tables_are_recognised_and_told_why(
    tmp_path: Path, model: Any, task: str, word: str
) -> None:
    best = RULES.recognise(facts_of(written(tmp_path, model=model)))[0]
    assert best.task == task
    assert word in " ".join(best.notes)


def test_what_the_file_does_not_tell_must_be_declared(tmp_path: Path) -> None:
    files = written(tmp_path, model=identity(TensorProto.FLOAT, ("batch", None)))
    with pytest.raises(ManifestInvalid, match="which columns 'x' takes") as told:
        RULES.steps(manifest("tabular", files), facts_of(files))
    assert told.value.param == "pre"
    two = linear_classifier([0, 1])
    two.graph.node[0].output[1] = two.graph.output[1].name = "scores"
    files = written(tmp_path, model=two)
    with pytest.raises(ManifestInvalid, match="which is the answer") as answer:
        RULES.steps(manifest("tabular", files), facts_of(files))
    assert answer.value.param == "post"
