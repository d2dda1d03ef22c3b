"""Object detection, from image files to boxes in their pixels, by real engines."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.support.onnx_models import tiny_cnn
from tests.support.task_models import ServedVersion, facts_of, manifest, written, yolo_like

from modelry.domain.errors import ImageInvalid, InvalidInput, ManifestInvalid, ModelFailed
from modelry.tasks.rules import InstalledTasks

RULES = InstalledTasks()
PLACES = 8 * 8 + 4 * 4 + 2 * 2
LABELS = ["cat", "dog"]
FINISHED = [{"decode_boxes": "finished"}, "unletterbox"]


def image_file(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (9, 9, 9)).save(file, "PNG")
    return file.getvalue()


def yolov8_output() -> np.ndarray[Any, Any]:
    """A cat seen twice and a dog, as centre, size and class scores per place of a 64 x 64 input."""
    output = np.zeros((1, 4 + len(LABELS), PLACES), "f4")
    output[0, :, 3] = [20, 24, 16, 8, 0.9, 0.1]
    output[0, :, 4] = [20.5, 24, 16, 8, 0.8, 0.0]
    output[0, :, 70] = [48, 40, 8, 8, 0.0, 0.6]
    return output


def served(folder: Path, model: Any, **more: Any) -> ServedVersion:
    return ServedVersion("object-detection", written(folder, model=model), **more)


def test_boxes_come_back_in_pixels_of_each_image(tmp_path: Path) -> None:
    version = served(tmp_path, yolo_like(yolov8_output()), labels=LABELS)
    # 128 x 64 is halved to 64 x 32 with bars of 16 above and below; 64 x 64 stays
    files = [image_file(128, 64), image_file(64, 64)]
    answer = version.predict([{"image": file} for file in files])
    wide, square = answer.items
    assert (wide["width"], wide["height"]) == (128, 64)
    assert [found["label"] for found in wide["objects"]] == ["cat", "dog"]
    assert wide["objects"][0]["box"] == pytest.approx([24, 8, 56, 24])
    assert wide["objects"][0]["score"] == pytest.approx(0.9)
    assert square["objects"][0]["box"] == pytest.approx([12, 20, 28, 28])
    assert square["objects"][1] == {
        "label": "dog",
        "index": 1,
        "score": pytest.approx(0.6),
        "box": pytest.approx([44, 36, 52, 44]),
    }
    assert answer.usage == {"images": 2}


def test_options_narrow_the_answer(tmp_path: Path) -> None:
    version = served(tmp_path, yolo_like(yolov8_output()))
    item = {"image": image_file(64, 64)}
    for options, count in (({"min_score": 0.7}, 1), ({"max_objects": 1}, 1), ({}, 2)):
        (found,) = version.predict([item], options).items
        assert len(found["objects"]) == count
    assert version.predict([item], {"min_score": 1}).items[0]["objects"] == []


@pytest.mark.parametrize(
    "options", [{"min_score": 2}, {"min_score": "0.5"}, {"max_objects": 0}, {"top_k": 1}]
)
def test_wrong_options_are_named(tmp_path: Path, options: dict[str, Any]) -> None:
    version = served(tmp_path, yolo_like(yolov8_output()))
    with pytest.raises(InvalidInput) as told:
        version.predict([{"image": image_file(64, 64)}], options)
    assert told.value.param == next(iter(options))


def test_declared_boxes_of_a_model_whose_file_does_not_tell(tmp_path: Path) -> None:
    model = yolo_like([[[4, 8, 12, 16, 0.9, 1], [0, 0, 9, 9, 0.1, 0]]])
    files = written(tmp_path, model=model)
    with pytest.raises(ManifestInvalid, match="decode_boxes") as told:
        RULES.steps(manifest("object-detection", files), facts_of(files))
    assert told.value.param == "post"
    assert "'output0' [-1, 2, 6]" in told.value.message
    assert "yolov8" in told.value.message
    version = served(tmp_path, model, labels=LABELS, post=FINISHED)
    (item,) = version.predict([{"image": image_file(64, 64)}]).items
    assert [(found["label"], found["box"]) for found in item["objects"]] == [
        ("dog", [4.0, 8.0, 12.0, 16.0])
    ]


def test_a_wrong_image_is_named(tmp_path: Path) -> None:
    version = served(tmp_path, yolo_like(yolov8_output()))
    with pytest.raises(ImageInvalid, match="Item 2 of 2"):
        version.predict([{"image": image_file(64, 64)}, {"image": b"BM" + bytes(60)}])


@pytest.mark.parametrize("place", [(0, 3), (4, 3)], ids=["a box", "a score"])
def test_boxes_that_are_no_numbers_are_told(tmp_path: Path, place: tuple[int, int]) -> None:
    output = yolov8_output()
    output[0][place] = np.nan
    version = served(tmp_path, yolo_like(output))
    with pytest.raises(ModelFailed, match="NaN"):
        version.predict([{"image": image_file(64, 64)}])


def test_steps_must_end_in_objects(tmp_path: Path) -> None:
    with pytest.raises(ManifestInvalid, match="unletterbox") as told:
        served(tmp_path, yolo_like(yolov8_output()), post=[{"decode_boxes": "yolov8"}])
    assert told.value.param == "post"


def test_labels_must_be_as_many_as_classes(tmp_path: Path) -> None:
    with pytest.raises(ManifestInvalid, match="2 classes"):
        served(tmp_path, yolo_like(yolov8_output()), labels=["a", "b", "c"])


def test_detectors_are_recognised_by_shapes_and_metadata(tmp_path: Path) -> None:
    def best(model: Any) -> Any:
        return RULES.recognise(facts_of(written(tmp_path, model=model)))[0]

    assert best(yolo_like(yolov8_output())).task == "object-detection"
    rows = np.zeros((1, 3 * PLACES, 7), "f4")
    assert "4 + 1 + classes" in best(yolo_like(rows)).notes[1]
    unknown = best(yolo_like(np.zeros((1, 9, 6), "f4")))
    assert unknown.task == "tensor"
    assert "decode_boxes" in " ".join(unknown.notes)
    finished = yolo_like(np.zeros((1, 300, 6), "f4"))
    finished.metadata_props.add(key="task", value="detect")
    assert best(finished).task == "object-detection"
    posed = yolo_like(yolov8_output())
    posed.metadata_props.add(key="task", value="pose")
    assert best(posed).task == "tensor"
    assert best(tiny_cnn()).task == "image-classification"
