"""Image classification, from image files to labels, by real engines."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto
from PIL import Image
from tests.support.onnx_models import identity, model_of, tiny_cnn
from tests.support.task_models import (
    ServedVersion,
    channel_means,
    facts_of,
    manifest,
    written,
)

from modelry.domain.errors import ImageInvalid, InvalidInput, ManifestInvalid, ModelFailed
from modelry.tasks.rules import InstalledTasks

RULES = InstalledTasks()
MEAN = np.array([123.675, 116.28, 103.53])
STD = np.array([58.395, 57.12, 57.375])
COLOURS = ["red", "green", "blue"]


def image_file(colour: tuple[int, ...], size: tuple[int, int] = (48, 40)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def served(folder: Path, model: Any, **more: Any) -> ServedVersion:
    return ServedVersion("image-classification", written(folder, model=model), **more)


def softmax(scores: Any) -> Any:
    powers = np.exp(scores - np.max(scores))
    return powers / powers.sum()


def test_an_image_becomes_labelled_probabilities(tmp_path: Path) -> None:
    version = served(tmp_path, channel_means(), labels=COLOURS)
    answer = version.predict([{"image": image_file((0, 200, 10))}])
    (item,) = answer.items
    assert [entry["label"] for entry in item["labels"]] == ["green", "blue", "red"]
    expected = softmax((np.array([0, 200, 10]) - MEAN) / STD)
    assert item["labels"][0]["score"] == pytest.approx(expected[1], abs=1e-5)
    assert item["labels"][0]["index"] == 1
    assert answer.usage == {"images": 1}


def test_steps_follow_the_signature(tmp_path: Path) -> None:
    words = {
        (3, 224, "nchw"): ["decode", "resize", "center_crop", "normalize", "layout"],
        (3, 32, "nhwc"): ["decode", "resize", "scale", "layout"],
        (1, 28, "nchw"): ["decode", "resize", "scale", "layout"],
        (3, "side", "nchw"): ["decode", "resize", "center_crop", "normalize", "layout"],
    }
    for (channels, size, layout), expected in words.items():
        version = served(tmp_path, channel_means(channels, size, layout=layout))
        assert [step["step"] for step in version.steps.pre] == expected
        assert version.predict([{"image": image_file((9, 9, 9), (300, 200))}]).items
        assert any("declare 'pre'" in note for note in version.steps.notes)


def test_whole_number_models_get_the_pixels_as_they_are(tmp_path: Path) -> None:
    model = channel_means(layout="nhwc", element=TensorProto.UINT8)
    version = served(tmp_path, model, post=[{"top_k": 3}])
    (item,) = version.predict([{"image": image_file((3, 200, 100))}]).items
    assert [entry["score"] for entry in item["labels"]] == pytest.approx([200, 100, 3])


@pytest.mark.parametrize("ends_in", ["", "Softmax"])
def test_softmax_is_applied_once(tmp_path: Path, ends_in: str) -> None:
    version = served(tmp_path, channel_means(ends_in=ends_in))
    assert ("softmax" in [step["step"] for step in version.steps.post]) == (ends_in == "")
    (item,) = version.predict([{"image": image_file((255, 0, 0))}]).items
    expected = softmax((np.array([255, 0, 0]) - MEAN) / STD)
    assert item["labels"][0]["score"] == pytest.approx(expected[0], abs=1e-5)


def test_five_labels_by_default_and_as_many_as_asked(tmp_path: Path) -> None:
    version = served(tmp_path, tiny_cnn())
    item = {"image": image_file((5, 6, 7))}
    assert len(version.predict([item]).items[0]["labels"]) == 5
    assert len(version.predict([item], {"top_k": 10}).items[0]["labels"]) == 10
    assert len(version.predict([item], {"top_k": 500}).items[0]["labels"]) == 10


def test_a_batch_of_images_of_different_sizes(tmp_path: Path) -> None:
    version = served(tmp_path, channel_means(), labels=COLOURS)
    files = [image_file((255, 0, 0), (20, 90)), image_file((0, 0, 255), (64, 64))]
    answer = version.predict([{"image": file} for file in files], most=1)
    assert [item["labels"][0]["label"] for item in answer.items] == ["red", "blue"]
    assert answer.usage == {"images": 2}


@pytest.mark.parametrize(
    ("item", "error", "word"),
    [
        ({"image": b"GIF89a"}, ImageInvalid, "image"),
        ({"image": image_file((1, 2, 3))[:60]}, ImageInvalid, "image"),
        ({"image": b""}, ImageInvalid, "image"),
        ({"image": "cat.png"}, InvalidInput, "bytes of an image"),
        ({"image": None}, InvalidInput, "bytes of an image"),
        ({"text": "cat"}, InvalidInput, "'text'"),
        ({}, InvalidInput, "bytes of an image"),
    ],
)
def test_a_wrong_image_is_named(
    tmp_path: Path, item: Any, error: type[Exception], word: str
) -> None:
    version = served(tmp_path, channel_means())
    with pytest.raises(error) as told:
        version.predict([{"image": image_file((1, 2, 3))}, item])
    assert "Item 2 of 2" in str(told.value)
    assert word in str(told.value)


def test_scores_that_are_no_numbers_are_told(tmp_path: Path) -> None:
    nodes = list(channel_means(ends_in="Log").graph.node)
    model = model_of(
        nodes,
        {"image": (TensorProto.FLOAT, ["batch", 3, 32, 32])},
        {"scores": (TensorProto.FLOAT, ["batch", 3])},
    )
    version = served(tmp_path, model)
    with pytest.raises(ModelFailed, match="NaN"):
        version.predict([{"image": image_file((0, 0, 0))}])


def test_images_are_recognised_and_told_why(tmp_path: Path) -> None:
    best = RULES.recognise(facts_of(written(tmp_path, model=tiny_cnn())))[0]
    assert best.task == "image-classification"
    assert "images of 1 channel(s), 28x28" in best.notes[0]
    assert "10 numbers" in best.notes[1]


@pytest.mark.parametrize(
    "model",
    [identity(1, ("batch", 3)), identity(1, ("batch", 7, 32, 32)), identity(7, ("batch", 3, 8, 8))],
    ids=["rows", "seven channels", "integers"],
)
def test_other_tensors_are_no_images(tmp_path: Path, model: Any) -> None:
    files = written(tmp_path, model=model)
    found = RULES.recognise(facts_of(files))
    assert "image-classification" not in [one.task for one in found]
    with pytest.raises(ManifestInvalid, match="one input of images") as told:
        RULES.steps(manifest("image-classification", files), facts_of(files))
    assert told.value.param == "pre"


def test_what_does_not_fit_points_at_its_step(tmp_path: Path) -> None:
    with pytest.raises(ManifestInvalid, match="resize") as told:
        served(tmp_path, channel_means(), pre=["decode", {"resize": [64, 64]}, {"layout": "nchw"}])
    assert told.value.param == "pre"
    with pytest.raises(ManifestInvalid, match="sofmax") as unknown:
        served(tmp_path, channel_means(), post=["sofmax"])
    assert unknown.value.param == "post[0]"
    with pytest.raises(ManifestInvalid, match="takes by itself") as own:
        served(tmp_path, channel_means(3, 20_000))
    assert own.value.param == "pre"
