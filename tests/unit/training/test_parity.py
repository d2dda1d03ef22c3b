import math

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from modelry.domain.errors import ModelFailed, NotSupported
from modelry.domain.signature import DYNAMIC, Datatype, Signature, TensorSpec
from modelry.training.contract import Parity
from modelry.training.parity import Exported, compare

ROWS = {"x": np.arange(20, dtype=np.float32).reshape(10, 2)}


def doubling(folder, operator="Add", shape=("n", 2)):
    """A model that doubles (or does something else with its input and itself)."""
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "x"], ["y"])],
        "made",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    opsets = [helper.make_opsetid("", 18)]
    file = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), file)
    return Exported(file)


def twice(rows):
    return {"y": rows["x"] * 2}


def test_the_same_answers_are_no_distance_apart(tmp_path):
    parity = compare(doubling(tmp_path), twice, ROWS)
    assert parity == Parity(rows=10, max_abs=0.0, max_rel=0.0, tolerance=1e-4)
    assert parity.is_met


@pytest.mark.parametrize(
    ("change", "far"), [(3e-4, 3e-4), (-1.0, 1.0), (math.nan, math.inf), (math.inf, math.inf)]
)
def test_one_other_value_in_one_row_is_found(tmp_path, change, far):
    def trained(rows):
        answers = rows["x"] * 2
        answers[rows["x"] == 13] += np.float32(change)
        return {"y": answers}

    parity = compare(doubling(tmp_path), trained, ROWS)
    assert parity.max_abs == pytest.approx(far, rel=0.01)
    assert not parity.is_met


def test_answers_of_another_shape_are_infinitely_far(tmp_path):
    parity = compare(doubling(tmp_path), lambda rows: {"y": rows["x"][:, :1]}, ROWS)
    assert parity.max_abs == math.inf


def test_rows_are_asked_in_batches_of_several_sizes(tmp_path):
    asked = []

    def trained(rows):
        asked.append(rows["x"].shape)
        return twice(rows)

    parts = [ROWS, {"x": np.ones((3, 2), np.float32)}]
    assert compare(doubling(tmp_path), trained, parts).rows == 13
    assert [count for count, _ in asked] == [1, 2, 7, 3]


def test_a_batch_size_that_was_baked_in_is_found(tmp_path):
    with pytest.raises(ModelFailed, match="The exported model failed"):
        compare(doubling(tmp_path, shape=(2, 2)), twice, ROWS)


def test_the_metric_is_told_for_both(tmp_path):
    parity = compare(
        doubling(tmp_path, "Mul"), twice, ROWS, metric=("mean", lambda found: found["y"].mean())
    )
    assert parity.to_wire()["metric"] == "mean"
    assert parity.trained_metric == pytest.approx(19)
    assert parity.exported_metric == pytest.approx((np.arange(20) ** 2).mean())


def test_a_file_that_is_no_model_is_told(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(ModelFailed, match="cannot be loaded"):
        Exported(tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("name", "shape"), [("z", (DYNAMIC, 2)), ("x", (DYNAMIC, 3)), ("x", (4, 2))]
)
def test_another_signature_than_the_graph_was_built_for_is_refused(tmp_path, name, shape):
    output = (TensorSpec("y", Datatype.FP32, (DYNAMIC, 2)),)
    exported = doubling(tmp_path)
    exported.check(Signature((TensorSpec("x", Datatype.FP32, (DYNAMIC, 2)),), output, batched=True))
    with pytest.raises(NotSupported, match="the recipe declares"):
        exported.check(Signature((TensorSpec(name, Datatype.FP32, shape),), output, batched=True))
