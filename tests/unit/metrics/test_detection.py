"""Average precision against numbers of COCO's own evaluation, and its properties."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelry.domain.errors import InvalidInput
from modelry.metrics.detection import DetectionScores, box_iou

KNOWN = json.loads((Path(__file__).parent / "coco_known.json").read_text())
CLASSES = 4


def _corners(rows: list[list[float]]) -> np.ndarray:
    boxes = np.array([row[1:5] for row in rows], dtype=np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def _add(scores: DetectionScores, image: dict[str, Any]) -> None:
    found, true = image["found"], image["true"]
    scores.add(_corners(found), [row[5] for row in found], [row[0] for row in found],
               _corners(true), [row[0] for row in true])  # fmt: skip


@pytest.fixture(scope="module")
def collected() -> DetectionScores:
    scores = DetectionScores(CLASSES)
    for image in KNOWN["images"]:
        _add(scores, image)
    return scores


@pytest.mark.parametrize("name", ["map", "map_50", "map_75", "recall"])
def test_it_is_what_cocos_own_evaluation_gives(collected: DetectionScores, name: str) -> None:
    assert getattr(collected.result(), name) == pytest.approx(KNOWN["expected"][name], abs=1e-12)


def test_so_is_each_class_and_one_without_objects_has_none(collected: DetectionScores) -> None:
    expected = KNOWN["expected"]["by_class"]
    assert expected[3] is None
    assert collected.result().by_class == pytest.approx(expected, abs=1e-12)


def test_images_and_objects_are_counted(collected: DetectionScores) -> None:
    told = collected.result()
    assert told.images == len(KNOWN["images"])
    assert told.objects == sum(len(image["true"]) for image in KNOWN["images"])


def test_finding_exactly_what_is_there_is_perfect() -> None:
    scores = DetectionScores(2)
    scores.add([[0, 0, 10, 10], [20, 20, 30, 35]], [0.9, 0.4], [0, 1],
               [[20, 20, 30, 35], [0, 0, 10, 10]], [1, 0])  # fmt: skip
    assert scores.result().to_metrics() == {"map": 1, "map_50": 1, "map_75": 1, "recall": 1}


def test_a_second_find_of_the_same_object_is_wrong() -> None:
    scores = DetectionScores(1)
    box = [0, 0, 10, 10]
    scores.add([box, box], [0.9, 0.8], [0, 0], [box, [50, 50, 60, 60]], [0, 0])
    assert scores.result().map_50 == pytest.approx(51 / 101)  # half of the objects, no more


def test_an_overlap_of_exactly_the_threshold_counts() -> None:
    scores = DetectionScores(1)
    scores.add([[0, 0, 10, 10]], [1.0], [0], [[0, 0, 10, 20]], [0])
    told = scores.result()
    assert (told.map_50, told.map_75) == (1.0, 0.0)


def test_nothing_found_is_0_and_nothing_to_find_is_nothing() -> None:
    scores = DetectionScores(1)
    scores.add([], [], [], [[0, 0, 10, 10]], [0])
    assert scores.result().map == 0.0
    empty = DetectionScores(1)
    empty.add([[0, 0, 1, 1]], [0.5], [0], [], [])
    assert empty.result().map is None
    assert empty.result().to_metrics() == {}


@pytest.mark.parametrize(
    ("found", "scores", "classes", "told"),
    [
        ([[0, 0, 1, 1]], [0.5, 0.5], [0], "2 values for 1 boxes"),
        ([[0, 0, 1, 1]], [float("nan")], [0], "finite one for each"),
        ([[0, 0, 1, float("inf")]], [0.5], [0], "four finite numbers"),
        ([[0, 0, 1, 1]], [0.5], [3], "expected 0 to 1"),
        ([[0, 0, 1, 1]], [0.5], [0, 1], "1 boxes and 2 classes"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    found: Any, scores: Any, classes: Any, told: str
) -> None:
    with pytest.raises(InvalidInput, match=told):
        DetectionScores(2).add(found, scores, classes, [], [])


_BOX = st.tuples(*[st.integers(0, 20)] * 2, *[st.integers(0, 12)] * 2).map(
    lambda it: [it[0], it[1], it[0] + it[2], it[1] + it[3]]
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(_BOX, st.integers(0, 1), st.floats(0, 1)), max_size=6),
       st.lists(st.tuples(_BOX, st.integers(0, 1)), max_size=5))  # fmt: skip
def test_it_is_between_0_and_1_and_no_stricter_threshold_is_met_more_often(
    found: list[Any], true: list[Any]
) -> None:
    scores = DetectionScores(2)
    scores.add([one[0] for one in found], [one[2] for one in found], [one[1] for one in found],
               [one[0] for one in true], [one[1] for one in true])  # fmt: skip
    told = scores.result()
    if told.map is None:
        assert not true
        return
    assert told.map_50 is not None
    assert told.map_75 is not None
    assert 0 <= told.map_75 <= told.map_50 + 1e-12 <= 1 + 1e-12
    assert told.map <= told.map_50 + 1e-12


@settings(max_examples=40, deadline=None)
@given(st.lists(_BOX, min_size=1, max_size=4), st.lists(_BOX, min_size=1, max_size=4))
def test_overlaps_are_symmetric_and_at_most_1(first: list[Any], second: list[Any]) -> None:
    one, other = np.array(first, float), np.array(second, float)
    assert np.allclose(box_iou(one, other), box_iou(other, one).T)
    assert (box_iou(one, other) <= 1).all()


def test_an_image_that_counts_twice_is_as_if_it_were_there_twice() -> None:
    once, twice = DetectionScores(CLASSES), DetectionScores(CLASSES)
    images = KNOWN["images"][:4]
    for image in images:
        _add(once, image)
    for image in [images[0], images[0], images[2], images[3]]:
        _add(twice, image)
    weighed = once.result(np.array([2, 0, 1, 1]))
    assert weighed.to_metrics() == pytest.approx(twice.result().to_metrics())
    assert weighed.objects == twice.result().objects


def test_no_images_give_no_numbers() -> None:
    assert DetectionScores(2).result().to_metrics() == {}
