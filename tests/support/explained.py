"""Models whose explanations are known, and how to ask for one."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image
from tests.support.onnx_models import model_of
from tests.support.task_models import WORDS, ServedVersion

from modelry.explaining import explain as explaining
from modelry.explaining import objects
from modelry.explaining.asking import Subject
from modelry.explaining.contract import Explained, Wish
from modelry.explaining.course import Course, Progress
from modelry.explaining.explain import explain
from modelry.runtime_api.engine import StopSignal

SIDE = 32
Box = tuple[int, int, int, int]
DETECTING: Mapping[str, Any] = {
    "pre": [
        {"decode": "gray"},
        {"letterbox": [SIDE, SIDE]},
        {"scale": "1/255"},
        {"layout": "nhwc"},
    ],
    "post": [{"decode_boxes": "finished"}, "unletterbox"],
}
"""The steps of a version of `finds_squares`."""


def linear(weights: Sequence[float], element: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """The weighted sum of a row, plus 3."""
    kind = helper.tensor_dtype_to_np_dtype(element)
    return model_of(
        [
            helper.make_node("MatMul", ["row", "weights"], ["sum"]),
            helper.make_node("Add", ["sum", "three"], ["value"]),
        ],
        {"row": (element, ["batch", len(weights)])},
        {"value": (element, ["batch", 1])},
        {"weights": np.array(weights, kind)[:, None], "three": np.array([3], kind)},
    )


def looks_at(top: int, left: int, size: int = 8) -> onnx.ModelProto:
    """Two classes: 'bright' grows with one square of a grey image alone, and 'dark' is 0."""
    seen = np.zeros((SIDE * SIDE, 2), "f4")
    square = np.zeros((SIDE, SIDE), "f4")
    square[top : top + size, left : left + size] = 4 / size**2
    seen[:, 1] = square.ravel()
    return model_of(
        [
            helper.make_node("Reshape", ["image", "flat"], ["pixels"]),
            helper.make_node("MatMul", ["pixels", "seen"], ["logits"]),
        ],
        {"image": (TensorProto.FLOAT, ["batch", SIDE, SIDE, 1])},
        {"logits": (TensorProto.FLOAT, ["batch", 2])},
        {"flat": np.array([-1, SIDE * SIDE]), "seen": seen},
    )


def finds_squares(squares: Sequence[Box], classes: Sequence[int] | None = None) -> onnx.ModelProto:
    """A detector: a box (x0, y0, x1, y1) for each square of a grey image, as sure as it is bright.

    Args:
        squares: where it looks, in pixels of its input.
        classes: of the boxes; each has its own by default.
    """
    count = len(squares)
    numbers = range(count) if classes is None else classes
    seen = np.zeros((SIDE, SIDE, count), "f4")
    for at, (left, top, right, bottom) in enumerate(squares):
        seen[top:bottom, left:right, at] = 1 / ((right - left) * (bottom - top))
    return model_of(
        [
            helper.make_node("Reshape", ["image", "flat"], ["pixels"]),
            helper.make_node("MatMul", ["pixels", "seen"], ["bright"]),
            helper.make_node("Reshape", ["bright", "column"], ["scores"]),
            helper.make_node("Mul", ["scores", "zero"], ["zeros"]),
            helper.make_node("Add", ["zeros", "boxes"], ["corners"]),
            helper.make_node("Add", ["zeros", "numbers"], ["classes"]),
            helper.make_node("Concat", ["corners", "scores", "classes"], ["found"], axis=2),
        ],
        {"image": (TensorProto.FLOAT, ["batch", SIDE, SIDE, 1])},
        {"found": (TensorProto.FLOAT, ["batch", count, 6])},
        {
            "flat": np.array([-1, SIDE * SIDE]),
            "column": np.array([-1, count, 1]),
            "zero": np.array(0, "f4"),
            "seen": seen.reshape(-1, count),
            "boxes": np.array([squares], "f4"),
            "numbers": np.array(numbers, "f4").reshape(1, -1, 1),
        },
    )


def words_that_count(scores: Mapping[str, float]) -> onnx.ModelProto:
    """Two classes: 'yes' grows with the scores of the words in a text, and 'no' is 0."""
    table = np.zeros((len(WORDS), 2), "f4")
    for word, score in scores.items():
        table[WORDS.index(word), 1] = score
    shape = ["batch", "length"]
    return model_of(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["looked_up"]),
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask", "last"], ["wide"]),
            helper.make_node("Mul", ["looked_up", "wide"], ["kept"]),
            helper.make_node("ReduceSum", ["kept", "length_axis"], ["logits"], keepdims=0),
        ],
        {
            "input_ids": (TensorProto.INT64, shape),
            "attention_mask": (TensorProto.INT64, shape),
        },
        {"logits": (TensorProto.FLOAT, ["batch", 2])},
        {"table": table, "last": np.array([-1]), "length_axis": np.array([1])},
    )


def bright_square(top: int, left: int, size: int = 8, scale: int = 1) -> bytes:
    """A PNG of noise with a bright square."""
    pixels = np.random.default_rng(0).integers(0, 60, (SIDE, SIDE), np.uint8)
    pixels[top : top + size, left : left + size] = 250
    file = io.BytesIO()
    Image.fromarray(pixels).resize((SIDE * scale,) * 2, Image.Resampling.NEAREST).save(file, "PNG")
    return file.getvalue()


def plain(colour: int, width: int = SIDE, height: int = SIDE) -> bytes:
    """A PNG of one grey."""
    return as_png(np.full((height, width), colour, np.uint8))


def as_png(pixels: Any) -> bytes:
    """Grey pixels (height, width) as a file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def within(box: Sequence[float], other: Sequence[float]) -> bool:
    """Whether a box (left, top, right, bottom) lies in another one."""
    return all(np.array(box[:2]) >= other[:2]) and all(np.array(box[2:]) <= other[2:])


class Explainer:
    """Explains answers of a version without a worker, and counts the rows that its engine ran.

    Attributes:
        rows: that it ran.
        row_s: how long one takes, by a clock of its own; needs `in_time_of`.
        told: how far the explanations were.
    """

    def __init__(
        self,
        version: ServedVersion,
        columns: Sequence[str] = (),
        *,
        background: Sequence[Any] = (),
    ) -> None:
        self.rows = 0
        self.row_s = 0.0
        self.told: list[Progress] = []
        self.version = version
        self._columns = columns
        self._background = background

    def __call__(self, item: Mapping[str, Any], **wish: Any) -> Explained:
        """Explain `item`."""
        subject = Subject(
            item,
            {},
            self.version.predictor,
            self._run,
            4 if self.row_s else 64,  # a slow engine is given little at once
            self._columns,
            background=self._background,
            tell=self.told.append,
        )
        return explain(subject, Wish(**wish), StopSignal())

    def _run(self, inputs: Any, rows: int) -> Any:
        self.rows += rows
        return self.version.engine.infer(inputs, StopSignal())

    def clock(self) -> float:
        """Seconds of its engine's time."""
        return self.rows * self.row_s


def in_time_of(explainer: Explainer, patch: pytest.MonkeyPatch, row_s: float) -> Explainer:
    """The explainer, whose explanations take the time that its engine takes, and no other."""
    explainer.row_s = row_s
    for module in (explaining, objects):
        patch.setattr(module, "Course", partial(Course, clock=explainer.clock))
    return explainer
