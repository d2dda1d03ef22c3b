"""Small models that tell, by what they answer, whether a request came through whole."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper
from tests.support.onnx_models import Shape, model_of
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

DATATYPES: dict[str, int] = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BF16": TensorProto.BFLOAT16,
    "BYTES": TensorProto.STRING,
}
"""ONNX element types by their names in the Open Inference Protocol."""

WORDS = ("[UNK]", "[PAD]", "cat", "dog", "car", "the", "a", "sits", "runs", "drives")
EMBEDDING_SIZE = 64


def multiplier(factor: float, shape: Shape = ("batch", 3)) -> bytes:
    """`y = x * factor` in float32: the factor tells which version answered."""
    model = model_of(
        [helper.make_node("Mul", ["x", "factor"], ["y"])],
        {"x": (TensorProto.FLOAT, shape)},
        {"y": (TensorProto.FLOAT, shape)},
        {"factor": np.array(factor, "f4")},
    )
    return bytes(model.SerializeToString())


def echo_of(*datatypes: str) -> bytes:
    """For each datatype an input `in_<DATATYPE>` that comes back as `out_<DATATYPE>`."""
    model = model_of(
        [helper.make_node("Identity", [f"in_{name}"], [f"out_{name}"]) for name in datatypes],
        {f"in_{name}": (DATATYPES[name], ("batch", 2)) for name in datatypes},
        {f"out_{name}": (DATATYPES[name], ("batch", 2)) for name in datatypes},
    )
    return bytes(model.SerializeToString())


def word_vectors() -> tuple[bytes, bytes]:
    """A model that looks a vector up for each of `WORDS`, and its tokenizer.json.

    Cats and dogs lie close together; cars lie elsewhere.
    """
    rng = np.random.default_rng(0)
    table = rng.normal(size=(len(WORDS), EMBEDDING_SIZE)).astype("f4") * 0.05
    animal, machine = rng.normal(size=(2, EMBEDDING_SIZE)).astype("f4")
    for words, direction in (
        (("cat", "dog", "sits", "runs"), animal),
        (("car", "drives"), machine),
    ):
        for word in words:
            table[WORDS.index(word)] += direction
    model = model_of(
        [helper.make_node("Gather", ["table", "input_ids"], ["last_hidden_state"])],
        {
            "input_ids": (TensorProto.INT64, ("batch", "tokens")),
            "attention_mask": (TensorProto.INT64, ("batch", "tokens")),
        },
        {"last_hidden_state": (TensorProto.FLOAT, ("batch", "tokens", EMBEDDING_SIZE))},
        {"table": table},
    )
    tokenizer = Tokenizer(WordLevel({word: at for at, word in enumerate(WORDS)}, "[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()  # type: ignore[assignment]
    tokenizer.enable_padding(pad_id=1, pad_token="[PAD]")
    return bytes(model.SerializeToString()), tokenizer.to_str().encode()


WORD_VECTORS_MANIFEST = """\
name: {name}
task: text-embedding
files: {{model: words.onnx, tokenizer: tokenizer.json}}
limits: {{context: 32}}
metadata: {{matryoshka: "16, 32"}}
"""


def dominant_colour(size: int = 32) -> bytes:
    """Scores of (red, green, blue): the mean of each channel of an image, sharpened."""
    model = model_of(
        [
            helper.make_node("GlobalAveragePool", ["image"], ["means"]),
            helper.make_node("Flatten", ["means"], ["flat"]),
            helper.make_node("Mul", ["flat", "sharp"], ["logits"]),
        ],
        {"image": (TensorProto.FLOAT, ("batch", 3, size, size))},
        {"logits": (TensorProto.FLOAT, ("batch", 3))},
        {"sharp": np.array(8.0, "f4")},
    )
    return bytes(model.SerializeToString())


COLOUR_MANIFEST = """\
name: {name}
task: image-classification
files: {{model: colours.onnx}}
labels: [red, green, blue]
pre: [decode: rgb, resize: [32, 32], scale: 1/255, layout: nchw]
post: [softmax, top_k: 3, label]
"""


def left_half_detector(size: int = 64) -> bytes:
    """Finds one thing, in the left half of its input; its class is the colour that prevails.

    Gives ten equal candidates as YOLOv8 does: centre, width and height in pixels of the input,
    then the mean of red, green and blue as scores.
    """
    box = np.array([[[size / 4], [size / 2], [size / 2], [size]]], "f4")
    nodes: list[Any] = [
        helper.make_node("GlobalAveragePool", ["image"], ["means"]),
        helper.make_node("Reshape", ["means", "column"], ["scores"]),
        helper.make_node("Slice", ["scores", "zero", "one", "one"], ["first"]),
        helper.make_node("Mul", ["first", "nothing"], ["zeros"]),
        helper.make_node("Add", ["zeros", "box"], ["boxes"]),
        helper.make_node("Concat", ["boxes", "scores"], ["one_found"], axis=1),
        helper.make_node("Tile", ["one_found", "ten"], ["found"]),
    ]
    model = model_of(
        nodes,
        {"image": (TensorProto.FLOAT, ("batch", 3, size, size))},
        {"found": (TensorProto.FLOAT, ("batch", 7, 10))},
        {
            "column": np.array([0, 3, 1]),
            "ten": np.array([1, 1, 10]),
            "zero": np.array([0]),
            "one": np.array([1]),
            "nothing": np.array(0, "f4"),
            "box": box,
        },
    )
    return bytes(model.SerializeToString())


DETECTOR_MANIFEST = """\
name: {name}
task: object-detection
files: {{model: halves.onnx}}
labels: [red, green, blue]
pre: [decode: rgb, letterbox: [64, 64], scale: 1/255, layout: nchw]
post: [decode_boxes: {{family: yolov8, min_score: 0.5}}, nms: 0.5, unletterbox, label]
"""
