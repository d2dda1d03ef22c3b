"""Raw tensors in parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.explained import SIDE, linear, looks_at, words_that_count
from tests.support.task_models import WORDS, ServedVersion, tokenizer_file, written

from modelry.domain.errors import InvalidInput, NotSupported
from modelry.explaining.asking import Subject
from modelry.explaining.contract import Wish
from modelry.explaining.explain import explain
from modelry.explaining.tensors import TensorParts, TensorPredictor, joined, row_of
from modelry.processing.values import Context
from modelry.runtime_api.engine import StopSignal
from modelry.tasks.prediction import Prepared


def explained(version: ServedVersion, tensors: Any, output: str = "", **wish: Any) -> Any:
    """What is told of a row of tensors."""
    predictor = TensorPredictor(version.predictor)
    item = {"tensors": tensors, "baseline": 0.0, "output": output}
    subject = Subject(
        item, {}, predictor, lambda inputs, _: version.engine.infer(inputs, StopSignal()), 64
    )
    return explain(subject, Wish(**wish), StopSignal()).told


@pytest.mark.parametrize("method", ["leave-one-out", "shapley"])
def test_numbers_of_a_linear_model_have_their_share(tmp_path: Path, method: str) -> None:
    version = ServedVersion("tabular", written(tmp_path, model=linear([2.0, -1.0, 0.5])))
    told = explained(version, {"row": np.array([[3, 4, 5]], "f4")}, method=method)
    assert told["attribution"]["arrays"]["row"] == pytest.approx(np.array([[6, -4, 2.5]]), abs=1e-6)
    assert [one["name"] for one in told["attribution"]["parts"]] == ["row[0]", "row[1]", "row[2]"]
    assert "row[0]" in told["sentence"]
    assert told["baseline"] == "the number 0"


def test_an_image_is_cut_into_cells_of_all_channels(tmp_path: Path) -> None:
    version = ServedVersion(
        "image-classification", written(tmp_path, model=looks_at(8, 20)), labels=["dark", "bright"]
    )
    image = np.random.default_rng(0).random((1, SIDE, SIDE, 1)).astype("f4") + 1
    told = explained(version, {"image": image}, method="leave-one-out")
    weights = told["attribution"]["arrays"]["image"]
    assert weights.shape == image.shape
    assert (weights[0, 8:16, 20:28] > 0).all()
    assert weights.sum() == pytest.approx(weights[0, 8:16, 20:28].sum())
    assert told["target"]["label"] == "bright"


def test_tokens_go_with_their_mask(tmp_path: Path) -> None:
    files = written(tmp_path, model=words_that_count({"good": 3.0}), tokenizer=tokenizer_file())
    version = ServedVersion("text-classification", files, labels=["no", "yes"])
    ids = np.array([[2, WORDS.index("cat"), WORDS.index("good"), 3]])
    told = explained(version, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
    weights = told["attribution"]["arrays"]
    assert weights["input_ids"].argmax() == weights["attention_mask"].argmax() == 2
    assert len(told["attribution"]["parts"]) == 4
    named = explained(version, {"input_ids": ids, "attention_mask": np.ones_like(ids)}, "logits")
    assert named["target"]["label"] == "1"
    assert named["target"]["score"] == pytest.approx(3.0)
    with pytest.raises(InvalidInput, match="no output 'nothing'; there are: logits"):
        explained(version, {"input_ids": ids, "attention_mask": np.ones_like(ids)}, "nothing")


def parts_of(baseline: float = 0.0, **arrays: Any) -> TensorParts:
    return TensorParts(Prepared(arrays, 1, Context(1), {}, {}), baseline)


def test_numbers_that_stay_are_not_touched() -> None:
    """Whole numbers beyond 2^53, such as hashes, and what is infinite, come through."""
    large, endless = np.array([[2**53 + 1, -(2**63)]]), np.array([[np.inf, 1]], "f4")
    parts = parts_of(ids=large, values=endless)
    made = parts.inputs(np.array([[1, 1, 1, 1], [1, 0, 0, 1]]))
    assert made["ids"].tolist() == [[2**53 + 1, -(2**63)], [2**53 + 1, 0]]
    assert made["values"].tolist() == [[np.inf, 1], [0, 1]]
    assert (made["ids"].dtype, made["values"].dtype) == (np.int64, np.float32)


def test_columns_that_are_tensors_of_one_whole_number_are_parts_of_their_own() -> None:
    parts = parts_of(age=np.array([[44]]), rooms=np.array([[3]]))
    assert parts.count == 2
    made = parts.inputs(np.array([[0, 1]]))
    assert (made["age"].tolist(), made["rooms"].tolist()) == ([[0]], [[3]])


def test_a_number_that_a_tensor_cannot_hold_is_no_baseline() -> None:
    assert parts_of(255, a=np.zeros((1, 2), "u1")).inputs(np.zeros((1, 2)))["a"].max() == 255
    assert parts_of(1, a=np.zeros((1, 2), bool)).inputs(np.zeros((1, 2)))["a"].all()
    for baseline, array in ((300, "u1"), (-1, "u2"), (1e20, "i8"), (1e6, "f2")):
        with pytest.raises(InvalidInput, match=f"baseline is .* holds {np.dtype(array)}, of"):
            parts_of(baseline, a=np.zeros((1, 2), array))


def test_many_numbers_are_taken_in_runs() -> None:
    parts = parts_of(a=np.ones((1, 1000), "f4"), b=np.ones((1, 3, 5), "f4"))
    assert parts.count <= 256
    made = parts.inputs(np.zeros((2, parts.count)))
    assert made["a"].shape == (2, 1000)
    assert not made["a"].any()
    assert not made["b"].any()


def test_tensors_without_numbers_are_refused() -> None:
    for array in (np.array([[b"a"]], object), np.ones((1, 0), "f4")):
        with pytest.raises(NotSupported, match="no numbers"):
            parts_of(words=array)


def test_rows_are_told_together_as_tensors() -> None:
    assert row_of({"x": np.arange(6).reshape(3, 2)}, 1)["x"].tolist() == [[2, 3]]
    row = {"target": {"index": 1, "label": "é", "score": 0.5}, "faithfulness": None}
    found = joined([row, row], [{"x": np.ones((1, 2))}] * 2)
    assert found["attributions.x"].shape == (2, 2)
    assert found["label"].tolist() == ["é".encode()] * 2
    assert "is_better_than_random" not in found
