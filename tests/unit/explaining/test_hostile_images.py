"""Images and models of which nothing can be told: answers that say so, or clear errors."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.support.explained import SIDE, Explainer, as_png, bright_square, looks_at, plain
from tests.support.onnx_models import model_of
from tests.support.task_models import ServedVersion, written

from modelry.domain.errors import ImageInvalid, InvalidInput
from modelry.explaining.images import ImageParts
from modelry.processing.values import Context, Geometry
from modelry.tasks.prediction import Prepared

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")  # no division by zero


def same_for_all() -> onnx.ModelProto:
    """Two classes, of the same scores whatever the image."""
    return model_of(
        [
            helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2], keepdims=0),
            helper.make_node("Mul", ["mean", "none"], ["nothing"]),
            helper.make_node("Add", ["nothing", "bias"], ["logits"]),
        ],
        {"image": (TensorProto.FLOAT, ["batch", SIDE, SIDE, 1])},
        {"logits": (TensorProto.FLOAT, ["batch", 2])},
        {"none": np.zeros((1, 2), "f4"), "bias": np.array([0.3, 1.7], "f4")},
    )


def classifier(folder: Path, model: onnx.ModelProto) -> Explainer:
    files = written(folder, model=model)
    return Explainer(ServedVersion("image-classification", files, labels=["dark", "bright"]))


@pytest.mark.parametrize("method", ["occlusion", "rise"])
@pytest.mark.parametrize(
    ("model", "image"),
    [
        (same_for_all(), bright_square(8, 20)),
        (looks_at(8, 20), plain(0)),
        (looks_at(8, 20), plain(255, 1, 1)),
        (looks_at(8, 20), plain(90, 3000, 1)),
    ],
    ids=["constant model", "black image", "one pixel", "one line"],
)
def test_where_nothing_counts_it_says_so_after_few_calls(
    tmp_path: Path, method: str, model: onnx.ModelProto, image: bytes
) -> None:
    told = classifier(tmp_path, model)({"image": image}, method=method, picture=True).told
    assert told["sentence"].startswith("No part counted for")
    assert "do not rely" in told["sentence"]
    assert not np.any(told["attribution"]["grid"])
    assert told["parameters"]["stopped"] == "settled"
    assert told["parameters"]["calls"] <= 300
    assert told["faithfulness"]["is_better_than_random"] is False


def test_an_image_of_a_hundred_megapixels_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 10_000, 10_000, 8, 0, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(1000)))
    image = b"\x89PNG\r\n\x1a\n" + head + body + chunk(b"IEND", b"")
    explainer = classifier(tmp_path, looks_at(8, 20))
    with pytest.raises(ImageInvalid, match="10000 x 10000 pixels; at most 50000000"):
        explainer({"image": image})
    assert explainer.rows == 0


def test_what_a_model_sees_may_be_too_large_to_be_changed_a_thousand_times() -> None:
    """For models of no fixed size, whose engine sees all that is decoded."""
    geometry = [Geometry(10_000, 7000)]
    pixels = np.broadcast_to(np.zeros(1, "f4"), (1, 7000, 10_000, 3))
    context = Context(1, geometry, (7000, 10_000))
    with pytest.raises(InvalidInput, match="sees 10000 x 7000 pixels of this image, 210000000"):
        ImageParts(Prepared({"image": pixels}, 1, context, {}, {}))


def test_a_tall_image_is_drawn_as_it_is(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (2000, 2), np.uint8)
    explained = classifier(tmp_path, looks_at(8, 20))(
        {"image": as_png(pixels)}, picture=True, checks=False
    )
    assert explained.told["attribution"]["seen"] == pytest.approx([0, 0, 2, 2000])
    assert explained.picture.startswith(b"\x89PNG")
