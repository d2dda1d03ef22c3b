"""Convolutional networks as ONNX files, as something to train further."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from modelry.processing.declaration import normalize_steps
from modelry.training.contract import BaseVersion

PRE = [{"decode": "gray"}, {"resize": [8, 8]}, {"scale": "1/255"}, {"layout": "nchw"}]


def network(classes: int, *, width: int = 16, seed: int = 0) -> onnx.ModelProto:
    """A convolution, two residual blocks, the mean, a linear layer and a softmax, begun at random.

    The second block is written as exporters of dynamic shapes do: it asks for sizes.
    """
    draw = np.random.default_rng(seed)

    def kernel(outer: int, inner: int, size: int = 3) -> np.ndarray:
        spread = np.sqrt(2 / (inner * size * size))
        return draw.normal(size=(outer, inner, size, size)).astype("f4") * np.float32(spread)

    weights = {
        "stem": kernel(width, 1),
        "a1": kernel(width, width),
        "a2": kernel(width, width) * np.float32(0.5),
        "b1": kernel(2 * width, width),
        "b2": kernel(2 * width, 2 * width) * np.float32(0.5),
        "short": kernel(2 * width, width, 1),
        "scale": np.ones(width, "f4"),
        "shift": np.zeros(width, "f4"),
        "mean": np.full(width, 0.1, "f4"),
        "variance": np.full(width, 0.9, "f4"),
        "from": np.array([0]),
        "to": np.array([1]),
        "rest": np.array([-1]),
        "out": draw.normal(size=(classes, 2 * width)).astype("f4") * np.float32(0.1),
        "bias": np.zeros(classes, "f4"),
    }
    same, halved = {"pads": [1, 1, 1, 1]}, {"strides": [2, 2]}
    nodes = [
        helper.make_node("Conv", ["image", "stem"], ["s"], **same),
        helper.make_node("BatchNormalization", ["s", "scale", "shift", "mean", "variance"], ["n"]),
        helper.make_node("Relu", ["n"], ["block0"]),
        helper.make_node("Conv", ["block0", "a1"], ["a"], **same),
        helper.make_node("Relu", ["a"], ["ar"]),
        helper.make_node("Conv", ["ar", "a2"], ["aa"], **same),
        helper.make_node("Add", ["block0", "aa"], ["ab"]),
        helper.make_node("Relu", ["ab"], ["block1"]),
        helper.make_node("Conv", ["block1", "b1"], ["b"], **same, **halved),
        helper.make_node("Relu", ["b"], ["br"]),
        helper.make_node("Conv", ["br", "b2"], ["bb"], **same),
        helper.make_node("Conv", ["block1", "short"], ["bs"], **halved),
        helper.make_node("Add", ["bs", "bb"], ["bc"]),
        helper.make_node("Relu", ["bc"], ["block2"]),
        helper.make_node("GlobalAveragePool", ["block2"], ["pool"]),
        helper.make_node("Shape", ["image"], ["sizes"]),
        helper.make_node("Slice", ["sizes", "from", "to"], ["rows"]),
        helper.make_node("Concat", ["rows", "rest"], ["flat"], axis=0),
        helper.make_node("Reshape", ["pool", "flat"], ["features"]),
        helper.make_node("Gemm", ["features", "out", "bias"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["scores"]),
    ]
    return model_of(nodes, weights, ["n", 1, 8, 8], ["n", classes], "scores")


def model_of(
    nodes: list[Any],
    weights: dict[str, Any],
    takes: list[Any],
    gives: list[Any] | None,
    output: str = "scores",
    *,
    opset: int = 17,
) -> onnx.ModelProto:
    """A model of one input `image`."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, takes)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, gives)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def kept(model: onnx.ModelProto, folder: Path) -> Path:
    """The model as a file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "model.onnx"
    file.write_bytes(model.SerializeToString())
    return file


def version_of(pre: list[Any] | None = None, **changes: Any) -> BaseVersion:
    """What the catalogue would know of such a model."""
    manifest = {
        "task": "image-classification",
        "format": "onnx",
        "pre": normalize_steps(PRE if pre is None else pre, "pre"),
        "post": normalize_steps([{"top_k": 3}], "post"),
        **changes,
    }
    return BaseVersion("base@1", manifest)
