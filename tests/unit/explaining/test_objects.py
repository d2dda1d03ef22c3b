"""Maps of the objects of a detection, by a real engine that is known to look at its boxes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.support.explained import (
    DETECTING,
    Box,
    Explainer,
    as_png,
    finds_squares,
    plain,
    within,
)
from tests.support.task_models import ServedVersion, written

from modelry.domain.errors import InvalidInput
from modelry.explaining.objects import MOST_OBJECTS, likeness
from modelry.processing.values import Boxes

DOG, CAT = (2, 10, 12, 18), (18, 8, 30, 20)
"""In pixels of the input; an image of 64 x 32 has bars there above 8 and below 24."""


def detector(folder: Path, *squares: Box, labels: tuple[str, ...] = ("dog", "cat")) -> Explainer:
    files = written(folder, model=finds_squares(squares or (DOG, CAT)))
    return Explainer(ServedVersion("object-detection", files, labels=list(labels), **DETECTING))


def bright(*squares: Box, width: int = 64, height: int = 32) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 40, (height, width), np.uint8)
    for left, top, right, bottom in squares:
        pixels[top:bottom, left:right] = 240
    return as_png(pixels)


# what the model finds in them, in pixels of the image as it is sent
DOG_SENT, CAT_SENT = (4, 4, 24, 20), (36, 0, 60, 24)
BOTH = bright(DOG_SENT, CAT_SENT)


@pytest.mark.parametrize("method", ["d-rise", "occlusion"])
def test_the_map_of_each_box_falls_on_its_object(tmp_path: Path, method: str) -> None:
    told = detector(tmp_path)({"image": BOTH}, method=method).told
    objects = {one["label"]: one for one in told["attribution"]["objects"]}
    assert set(objects) == {"dog", "cat"}
    for label, box in (("dog", DOG_SENT), ("cat", CAT_SENT)):
        assert objects[label]["box"] == pytest.approx(box, abs=1e-4)
        left, top, right, bottom = objects[label]["regions"][0]["box"]
        assert within([(left + right) / 2, (top + bottom) / 2] * 2, box)
        assert objects[label]["inside"] > 0.5
        assert objects[label]["faithfulness"]["is_better_than_random"]
        assert objects[label]["faithfulness"]["stability"] > 0.5
    assert told["method"] == method
    assert told["target"]["label"] == told["attribution"]["objects"][0]["label"]
    assert (told["attribution"]["width"], told["attribution"]["height"]) == (64, 32)
    assert "'cat' at (36, 0) to (60, 24)" in told["sentence"]


def test_all_objects_share_what_is_asked(tmp_path: Path) -> None:
    explainer = detector(tmp_path)
    wish = {"method": "d-rise", "calls": 300, "checks": False}
    one = explainer({"image": BOTH}, target="dog", **wish)
    alone = explainer.rows
    both = explainer({"image": BOTH}, **wish)
    assert alone == 1 + one.told["parameters"]["calls"]
    assert explainer.rows - alone == 1 + both.told["parameters"]["calls"] <= 301
    assert both.usage == {"images": 1, "explanations": 1, "model_calls": explainer.rows - alone}


def test_objects_are_named_by_label_or_by_their_place_in_the_answer(tmp_path: Path) -> None:
    explainer = detector(tmp_path)
    wish = {"checks": False, "calls": 300}
    by_label = explainer({"image": BOTH}, target="cat", **wish).told
    by_place = explainer({"image": BOTH}, target=str(by_label["target"]["index"]), **wish).told
    assert by_place["target"] == by_label["target"]
    assert by_place["attribution"] == by_label["attribution"]
    assert len(by_label["attribution"]["objects"]) == 1
    with pytest.raises(
        InvalidInput, match=r"finds 2 objects.*\(cat, dog\) or an index from 0 to 1"
    ):
        explainer({"image": BOTH}, target="bird")
    with pytest.raises(InvalidInput, match="index from 0 to 1") as told:
        explainer({"image": BOTH}, target="2")
    assert told.value.param == "target"


def test_an_image_without_objects_has_nothing_to_explain(tmp_path: Path) -> None:
    explainer = detector(tmp_path)
    with pytest.raises(InvalidInput, match=r"finds no object in this image.*lower min_score"):
        explainer({"image": plain(0, 64)})
    with pytest.raises(InvalidInput, match="background is for rows"):
        explainer({"image": BOTH}, background=((1.0,),))
    with pytest.raises(InvalidInput, match="objects in an image can be explained by: d-rise"):
        explainer({"image": BOTH}, method="shapley")


def test_no_more_objects_are_explained_than_there_is_room_for_and_it_says_so(
    tmp_path: Path,
) -> None:
    squares = [(at, 0, at + 1, 32) for at in range(MOST_OBJECTS + 3)]
    explainer = detector(tmp_path, *squares, labels=("line",) * 1)
    told = explainer({"image": plain(200)}, checks=False, calls=256).told
    assert len(told["attribution"]["objects"]) == MOST_OBJECTS
    assert told["parameters"]["objects_found"] == MOST_OBJECTS + 3
    assert f"{MOST_OBJECTS} of {MOST_OBJECTS + 3} objects are explained" in told["sentence"]


def test_a_picture_has_a_tile_for_each_object_with_its_box(tmp_path: Path) -> None:
    explained = detector(tmp_path)({"image": BOTH}, picture=True, checks=False)
    with Image.open(io.BytesIO(explained.picture)) as drawn:
        pixels = np.asarray(drawn, int)
    assert pixels.shape == (32, 64 + 4 + 64, 3)
    labels = [one["label"] for one in explained.told["attribution"]["objects"]]
    offset = 68 * labels.index("dog")
    assert pixels[4, offset + 10].tolist() == [255, 200, 0]  # the box's upper edge
    redness = pixels[:, :, 0] - pixels[:, :, 2]
    assert redness[12, offset + 14] > 60 > redness[28, offset + 62] + 20


def test_likeness_is_the_best_overlap_times_score_among_boxes_of_the_class() -> None:
    objects = Boxes(
        np.array([[0, 0, 10, 10], [20, 0, 30, 10]], float), np.ones(2), np.array([3, 4])
    )
    shifted = np.array([[5, 0, 15, 10], [0, 0, 10, 10], [20, 0, 30, 10]], float)
    some = Boxes(shifted, np.array([0.9, 0.2, 0.5]), np.array([3, 3, 9]))
    none = Boxes(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))
    found = likeness([none, some, none], objects)
    assert found == pytest.approx(np.array([[0, 0], [0.9 / 3, 0], [0, 0]]))
    assert likeness([none], objects).tolist() == [[0, 0]]
