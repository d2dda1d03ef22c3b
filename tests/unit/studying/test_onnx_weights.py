"""Weights of ONNX files: which are found, and what is left when they are drawn anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tests.support.onnx_models import model_of, tiny_cnn

from modelry.studying.onnx_weights import layers_of
from modelry.studying.randomising import _judged, redraw


def weights_of(path: Path) -> dict[str, np.ndarray]:
    return {
        one.name: numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer
    }  # fmt: skip


def test_layers_come_in_their_order_and_the_last_is_drawn_anew_alone(tmp_path: Path) -> None:
    path = tmp_path / "cnn.onnx"
    path.write_bytes(tiny_cnn().SerializeToString())
    layers = layers_of(path)
    assert [one.operator for one in layers] == ["Conv", "Gemm"]
    assert [one.count for one in layers[0].weights] == [32 * 9, 32]
    before = weights_of(path)
    redraw(path, layers[1:], seed=3)
    after = weights_of(path)
    onnx.checker.check_model(onnx.load(path))
    assert np.array_equal(before["w"], after["w"])
    assert np.array_equal(before["b2"], after["b2"]), "nothing but zeros has no other order"
    assert abs(np.corrcoef(before["w2"].ravel(), after["w2"].ravel())[0, 1]) < 0.05
    assert after["w2"].std() == np.float32(0) or np.isclose(
        after["w2"].std(), before["w2"].std(), rtol=0.05
    )
    again = tmp_path / "again.onnx"
    again.write_bytes(tiny_cnn().SerializeToString())
    redraw(again, layers_of(again)[1:], seed=3)
    assert again.read_bytes() == path.read_bytes()


def test_sizes_scales_and_axes_are_no_weights(tmp_path: Path) -> None:
    model = model_of(
        [
            helper.make_node("Resize", ["x", "", "scales"], ["r"]),
            helper.make_node("Reshape", ["r", "shape"], ["f"]),
            helper.make_node("DequantizeLinear", ["q", "step", "zero"], ["d"]),
            helper.make_node("Transpose", ["d"], ["t"], perm=[1, 0]),
            helper.make_node("MatMul", ["f", "t"], ["m"]),
            helper.make_node("Add", ["m", "one"], ["y"]),
        ],
        {"x": (TensorProto.FLOAT, [1, 1, 2, 2])},
        {"y": (TensorProto.FLOAT, [1, 3])},
        {
            "scales": np.array([1, 1, 2, 2], "f4"),
            "shape": np.array([1, 16]),
            "q": np.arange(48, dtype="i1").reshape(3, 16),
            "step": np.array(0.5, "f4"),
            "zero": np.array(0, "i1"),
            "one": np.array([1], "f4"),
        },
    )
    path = tmp_path / "quantised.onnx"
    path.write_bytes(model.SerializeToString())
    (layer,) = layers_of(path)
    assert layer.operator == "MatMul"
    redraw(path, [layer], seed=0)
    found = weights_of(path)
    assert found["scales"].tolist() == [1, 1, 2, 2]
    assert sorted(found["q"].ravel().tolist()) == list(range(48)), "they changed places"
    assert found["q"].ravel().tolist() != list(range(48))


def test_what_a_forest_learnt_is_a_layer(tmp_path: Path) -> None:
    leaves = np.linspace(-1, 1, 40).tolist()
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        target_weights=leaves,
        nodes_values=[0.5] * 40,
    )
    path = tmp_path / "forest.onnx"
    shapes = {"x": (TensorProto.FLOAT, ["n", 3])}, {"y": (TensorProto.FLOAT, ["n", 1])}
    path.write_bytes(model_of([node], *shapes).SerializeToString())
    (layer,) = layers_of(path)
    alike = {"correlation": {"value": 0.1, "low": 0.0, "high": 0.2}}
    assert _judged([layer], alike) is None, "its splits are as they were"
    assert _judged([], alike) is True
    redraw(path, [layer], seed=1)
    (found,) = onnx.load(path).graph.node
    attributes = {one.name: list(one.floats) for one in found.attribute}
    assert attributes["nodes_values"] == [0.5] * 40
    assert not np.allclose(attributes["target_weights"], leaves)
