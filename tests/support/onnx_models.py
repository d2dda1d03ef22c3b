"""Small ONNX models that tests load, and load specifications for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from modelry.runtime_api.engine import LoadSpec

Shape = Sequence[int | str | None]


def model_of(
    nodes: list[Any],
    inputs: dict[str, tuple[int, Shape]],
    outputs: dict[str, tuple[int, Shape | None]],
    weights: dict[str, Any] | None = None,
) -> onnx.ModelProto:
    """A checked model; inputs and outputs are (element type, shape)."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, *spec) for name, spec in inputs.items()],
        [helper.make_tensor_value_info(name, *spec) for name, spec in outputs.items()],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def tiny_cnn() -> onnx.ModelProto:
    """Conv 32x3x3, ReLU, MaxPool, Dense 10 over (batch, 1, 28, 28) float32, seeded."""
    rng = np.random.default_rng(0)
    return model_of(
        [
            helper.make_node("Conv", ["x", "w", "b"], ["c"], kernel_shape=[3, 3]),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("Flatten", ["p"], ["f"]),
            helper.make_node("Gemm", ["f", "w2", "b2"], ["y"]),
        ],
        {"x": (TensorProto.FLOAT, ["batch", 1, 28, 28])},
        {"y": (TensorProto.FLOAT, ["batch", 10])},
        {
            "w": rng.normal(size=(32, 1, 3, 3)).astype("f4"),
            "b": np.zeros(32, "f4"),
            "w2": rng.normal(size=(32 * 13 * 13, 10)).astype("f4") * 0.05,
            "b2": np.zeros(10, "f4"),
        },
    )


def identity(element_type: int, shape: Shape = ("batch", 3)) -> onnx.ModelProto:
    """Gives `x` back as `y`."""
    return model_of(
        [helper.make_node("Identity", ["x"], ["y"])],
        {"x": (element_type, shape)},
        {"y": (element_type, shape)},
    )


def endless() -> onnx.ModelProto:
    """Takes the sine of `x` a thousand million times."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Sin", ["v"], ["v2"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, ["batch"]),
        ],
        [
            helper.make_tensor_value_info("c2", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v2", TensorProto.FLOAT, ["batch"]),
        ],
    )
    return model_of(
        [helper.make_node("Loop", ["times", "", "x"], ["y"], body=body)],
        {"x": (TensorProto.FLOAT, ["batch"])},
        {"y": (TensorProto.FLOAT, ["batch"])},
        {"times": np.array(10**9)},
    )


def spec_for(
    model: onnx.ModelProto | bytes, folder: Path, runtime: str = "onnx", **options: Any
) -> LoadSpec:
    """Writes `model` into `folder` and says how to load it."""
    path = folder / "stored-under-another-name"
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    manifest = {"name": "tested", "files": {"model": {"name": "tested.onnx"}}}
    return LoadSpec("tensor", runtime, manifest, {"model": path}, options)


def allocating() -> onnx.ModelProto:
    """Gives the sum over as many zeros as `n` says."""
    return model_of(
        [
            helper.make_node("ConstantOfShape", ["n"], ["zeros"]),
            helper.make_node("ReduceSum", ["zeros"], ["y"], keepdims=0),
        ],
        {"n": (TensorProto.INT64, [1])},
        {"y": (TensorProto.FLOAT, [])},
    )


def growing() -> onnx.ModelProto:
    """Collects `x` a thousand million times and keeps all of it."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Sin", ["x"], ["kept"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
        ],
        [
            helper.make_tensor_value_info("c2", TensorProto.BOOL, []),
            helper.make_tensor_value_info("kept", TensorProto.FLOAT, ["n"]),
        ],
    )
    return model_of(
        [helper.make_node("Loop", ["times", ""], ["y"], body=body)],
        {"x": (TensorProto.FLOAT, ["n"])},
        {"y": (TensorProto.FLOAT, ["times", "n"])},
        {"times": np.array(10**9)},
    )
