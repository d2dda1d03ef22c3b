"""How far explanations are, and what is told when their time is over."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.explained import (
    DETECTING,
    Explainer,
    as_png,
    bright_square,
    finds_squares,
    in_time_of,
    linear,
    looks_at,
    within,
)
from tests.support.task_models import ServedVersion, written

from modelry.domain.errors import InvalidInput
from modelry.explaining.course import CHECKING, EXPLAINING, Course, Progress, TimeIsUp
from modelry.explaining.settling import TRUSTED
from modelry.runtime_api.engine import StopSignal

IMAGE = {"image": bright_square(8, 20)}
SQUARE = (19, 7, 29, 17)


def image(folder: Path) -> Explainer:
    files = written(folder, model=looks_at(8, 20))
    return Explainer(ServedVersion("image-classification", files, labels=["dark", "bright"]))


def table(folder: Path, columns: int) -> Explainer:
    names = [f"c{at}" for at in range(columns)]
    files = written(folder, model=linear([float(at) for at in range(columns)]))
    return Explainer(ServedVersion("tabular", files, pre=[{"columns": names}]), names)


def test_calls_are_told_phase_by_phase_up_to_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    explainer = in_time_of(image(tmp_path), monkeypatch, 0.01)
    told = explainer(IMAGE, method="rise").told
    phases = [one.phase for one in explainer.told]
    assert phases == sorted(phases, reverse=True)
    assert set(phases) == {EXPLAINING, CHECKING}
    explaining = [one for one in explainer.told if one.phase == EXPLAINING]
    assert explaining[0] == Progress(EXPLAINING, 0, told["parameters"]["most_calls"])
    calls = [one.calls for one in explaining]
    assert calls == sorted(calls)
    assert calls[-1] <= told["cost"]["explaining_calls"]
    assert calls[-1] > 0.8 * told["cost"]["explaining_calls"]
    for one in explainer.told:
        assert one.most_calls is not None
        assert one.calls <= one.most_calls
    assert "most_seconds" not in told["cost"]


def test_time_that_suffices_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    explainer = in_time_of(image(tmp_path), monkeypatch, 0.001)
    for method in ("rise", "occlusion"):
        free = explainer(IMAGE, method=method).told
        timed = explainer(IMAGE, method=method, seconds=60.0).told
        cost = timed.pop("cost")
        assert (cost["most_seconds"], cost["left_out"]) == (60, [])
        assert timed == {name: one for name, one in free.items() if name != "cost"}


def test_masks_end_in_time_and_leave_some_for_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    explainer = in_time_of(image(tmp_path), monkeypatch, 0.01)
    before = explainer.clock()
    told = explainer(IMAGE, method="rise", calls=5000, seconds=6.0, seed=3).told
    assert explainer.clock() - before <= 6.5
    parameters, cost = told["parameters"], told["cost"]
    assert parameters["stopped"] == "seconds"
    assert 33 <= parameters["calls"] < 600
    assert 0 < parameters["agreement"] <= 1
    assert len(told["interval"]) == len(told["attribution"]["grid"]) ** 2
    assert within(told["attribution"]["regions"][0]["box"], SQUARE)
    assert told["faithfulness"]["is_better_than_random"]
    assert told["faithfulness"]["stability"] is None
    assert cost["left_out"] == ["stability"]
    assert cost["seconds"] <= 6.5
    assert "asking before it was sure, as 6 s were given. There was no" in told["sentence"]
    assert parameters["calls"] <= cost["explaining_calls"] < cost["model_calls"]


@pytest.mark.parametrize(("seconds", "told_so"), [(0.4, True), (0.7, False)])
def test_a_map_that_is_mostly_chance_says_how_much_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, told_so: bool
) -> None:
    explainer = in_time_of(image(tmp_path), monkeypatch, 0.01)
    told = explainer(IMAGE, method="rise", calls=5000, seconds=seconds, checks=False).told
    parameters = told["parameters"]
    assert parameters["stopped"] == "seconds"
    assert (parameters["agreement"] < TRUSTED) == told_so
    found = re.search(
        rf"as {seconds:g} s were given, after ([\d,]+) of up to about ([\d,]+) calls that "
        "being sure may take: too few to trust it",
        told["sentence"],
    )
    assert bool(found) == told_so
    if found:
        calls, in_all = (int(one.replace(",", "")) for one in found.groups())
        assert calls == parameters["calls"]
        assert 2 * calls < in_all <= 5000


def test_maps_of_objects_that_are_mostly_chance_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = written(tmp_path, model=finds_squares([(2, 10, 12, 18), (18, 8, 30, 20)]))
    version = ServedVersion("object-detection", files, labels=["dog", "cat"], **DETECTING)
    explainer = in_time_of(Explainer(version), monkeypatch, 0.1)
    pixels = np.full((32, 64), 20, np.uint8)
    pixels[4:20, 4:24] = pixels[0:24, 36:60] = 240
    told = explainer({"image": as_png(pixels)}, seconds=4.0, checks=False).told
    assert told["parameters"]["stopped"] == "seconds"
    assert re.search(
        r"calls that being sure may take: too few to trust [12] of the 2 maps", told["sentence"]
    )


def test_a_check_that_would_take_most_of_the_time_is_left_out_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    explainer = in_time_of(image(tmp_path), monkeypatch, 0.01)
    told = explainer(IMAGE, method="rise", seconds=2.0).told
    assert told["faithfulness"] is None
    assert told["cost"]["left_out"] == ["faithfulness"]
    assert "no time left for measuring how far it can be trusted" in told["sentence"]
    assert told["cost"]["seconds"] == pytest.approx(2.0, abs=0.7)
    assert "left_out" in explainer(IMAGE, method="occlusion", seconds=2.0).told["cost"]


def test_a_check_that_nearly_fits_has_half_the_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    explainer = in_time_of(image(tmp_path), monkeypatch, 0.01)
    told = explainer(IMAGE, method="rise", seconds=3.0).told
    assert told["faithfulness"]["is_better_than_random"]
    assert 0 < told["faithfulness"]["calls"] <= 182
    assert told["cost"]["left_out"] == ["points", "stability"]
    assert "no time left for more than half the points of the curves" in told["sentence"]
    assert told["cost"]["seconds"] <= 3.1


@pytest.mark.parametrize(
    ("method", "columns", "words"),
    [
        ("leave-one-out", 20, r"'leave-one-out' cannot end before 21 calls"),
        ("shapley", 8, r"'shapley' cannot end before 256 calls, which take about \d"),
        ("shapley", 20, r"'shapley' cannot end before 422 calls"),
    ],
)
def test_what_cannot_be_cut_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, columns: int, words: str
) -> None:
    explainer = in_time_of(table(tmp_path, columns), monkeypatch, 0.1)
    rows = [[0.0] * columns]
    with pytest.raises(InvalidInput, match=words) as refused:
        explainer({"row": [1.0] * columns}, method=method, background=rows, seconds=1.0)
    assert refused.value.param == "seconds"


def test_occlusion_needs_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    explainer = in_time_of(image(tmp_path), monkeypatch, 0.1)
    with pytest.raises(InvalidInput, match=r"'occlusion' cannot end before \d+ calls"):
        explainer(IMAGE, method="occlusion", seconds=1.0)
    told = explainer(IMAGE, method="occlusion", seconds=8.0, checks=False).told
    assert told["parameters"]["stopped"] == "seconds"
    assert within(told["attribution"]["regions"][0]["box"], SQUARE)


def test_shapley_values_that_are_drawn_tell_what_they_know_by_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    explainer = in_time_of(table(tmp_path, 24), monkeypatch, 0.01)
    rows = [[0.0] * 24]
    told = explainer({"row": [1.0] * 24}, background=rows, seconds=3.0, checks=False).told
    assert told["parameters"]["stopped"] in ("seconds", "settled")
    weights = {one["name"]: one["weight"] for one in told["attribution"]["columns"]}
    assert weights == pytest.approx({f"c{at}": float(at) for at in range(24)}, abs=1e-3)


def test_the_maps_of_objects_end_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = written(tmp_path, model=finds_squares([(2, 10, 12, 18), (18, 8, 30, 20)]))
    version = ServedVersion("object-detection", files, labels=["dog", "cat"], **DETECTING)
    explainer = in_time_of(Explainer(version), monkeypatch, 0.1)
    pixels = np.full((32, 64), 20, np.uint8)
    pixels[4:20, 4:24] = pixels[0:24, 36:60] = 240
    told = explainer({"image": as_png(pixels)}, seconds=60.0).told
    assert told["cost"]["seconds"] <= 65
    assert told["cost"]["left_out"] == ["stability"]
    assert all(one["faithfulness"] is not None for one in told["attribution"]["objects"])
    assert {one.phase for one in explainer.told} == {EXPLAINING, CHECKING}


def test_changes_that_flip_are_those_that_were_found_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    explainer = in_time_of(table(tmp_path, 6), monkeypatch, 0.01)
    rows = [[float(at)] * 6 for at in range(20)]
    asked: dict[str, Any] = {"method": "counterfactual", "background": rows}
    told = explainer({"row": [0.0] * 6}, goal={"above": 170}, **asked, seconds=1.5).told
    assert told["parameters"]["is_complete"] is False
    assert told["cost"]["seconds"] <= 2.2
    assert "It stopped asking before" in told["sentence"]
    if not told["attribution"]["found"]:
        assert "was found in time" in told["sentence"]


def test_the_first_call_is_always_made_and_the_others_in_time_only() -> None:
    now = [0.0]
    course = Course(StopSignal(), 1.0, clock=lambda: now[0])
    now[0] = 5.0
    course.look()
    course.asked(1)
    with pytest.raises(TimeIsUp):
        course.look()
    assert not course.fits(1)
