"""Explanations of models whose explanation is known, by real engines."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import numpy as np
import pytest
from onnx import TensorProto
from PIL import Image
from tests.support.explained import (
    Explainer,
    bright_square,
    linear,
    looks_at,
    within,
    words_that_count,
)
from tests.support.task_models import ServedVersion, tokenizer_file, written

from modelry.domain.errors import InvalidInput, NotSupported

WEIGHTS = [2.0, -1.0, 0.5, 0.0]
COLUMNS = ["a", "b", "c", "d"]


def table(
    folder: Path, weights: list[float] = WEIGHTS, element: int = TensorProto.FLOAT
) -> Explainer:
    names = [chr(ord("a") + at) for at in range(len(weights))]
    files = written(folder, model=linear(weights, element))
    version = ServedVersion("tabular", files, pre=[{"columns": names}])
    return Explainer(version, names)


def image(folder: Path, top: int = 8, left: int = 20) -> Explainer:
    files = written(folder, model=looks_at(top, left))
    return Explainer(ServedVersion("image-classification", files, labels=["dark", "bright"]))


def text(folder: Path, **scores: float) -> Explainer:
    files = written(folder, model=words_that_count(scores), tokenizer=tokenizer_file())
    return Explainer(ServedVersion("text-classification", files, labels=["no", "yes"]))


def weights_of(told: dict[str, Any]) -> dict[str, float]:
    found = told["attribution"]
    entries = found.get("columns") or found.get("words")
    return {one.get("name", one.get("text")): one["weight"] for one in entries}


@pytest.mark.parametrize("count", [4, 14])
@pytest.mark.parametrize(("element", "error"), [(TensorProto.FLOAT, 1e-6), (TensorProto.DOUBLE, 0)])
def test_shapley_values_of_a_linear_model_are_its_closed_form(
    tmp_path: Path, count: int, element: int, error: float
) -> None:
    """Sums are made in 64 bits: what is left is how an engine in 32 bits rounds its scores."""
    random = np.random.default_rng(5)
    weights = random.normal(size=count).astype("f4").tolist()
    background = random.normal(size=(7, count)).astype("f4").tolist()
    row = random.normal(size=count).astype("f4").tolist()
    explainer = table(tmp_path, weights, element)
    explained = explainer({"row": row}, background=tuple(background), calls=2048)
    expected = np.array(weights) * (np.array(row) - np.mean(background, axis=0))
    found = list(weights_of(explained.told).values())
    assert found == pytest.approx(expected, rel=0, abs=error or 1e-12)
    assert explained.told["target"]["score"] == pytest.approx(np.dot(weights, row) + 3, abs=1e-5)
    assert explained.told["parameters"]["is_exact"] == (count == 4)


def test_a_row_without_background_is_told_what_to_send(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="background has 0 rows; send 1 to 200") as told:
        table(tmp_path)({"row": [1, 2, 3, 4]})
    assert told.value.param == "background"


def test_columns_that_do_nothing_have_no_weight_and_the_check_tells_the_order_is_good(
    tmp_path: Path,
) -> None:
    background = [[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 9.0]]
    explained = table(tmp_path)({"row": [5.0, 5.0, 5.0, 5.0]}, background=tuple(background))
    found = weights_of(explained.told)
    assert found == pytest.approx({"a": 10, "b": -5, "c": 2.5, "d": 0}, abs=1e-5)
    faithfulness = explained.told["faithfulness"]
    assert faithfulness["insertion"] > faithfulness["random_insertion"][0]
    assert faithfulness["deletion"] < faithfulness["random_deletion"][0]
    assert faithfulness["stability"] > 0.9
    assert "spoke most: a = 5, c = 5; against it: b = 5" in explained.told["sentence"]


@pytest.mark.parametrize(
    "wish", [{"goal": {"above": 1}}, {"changeable": {"a": 1}}, {"most_changes": 2}]
)
def test_wishes_of_another_method_are_not_passed_over(tmp_path: Path, wish: Any) -> None:
    (name,) = wish
    with pytest.raises(InvalidInput, match=f"{name} is for the method 'counterfactual'"):
        table(tmp_path)({"row": [5.0] * 4}, background=([0.0] * 4,), **wish)


@pytest.mark.parametrize("method", ["occlusion", "rise"])
def test_the_square_that_decides_is_found(tmp_path: Path, method: str) -> None:
    explained = image(tmp_path)({"image": bright_square(8, 20, scale=3)}, method=method)
    told = explained.told
    assert told["target"]["label"] == "bright"
    assert (told["attribution"]["width"], told["attribution"]["height"]) == (96, 96)
    assert within(told["attribution"]["regions"][0]["box"], (57, 21, 87, 51))
    assert told["faithfulness"]["is_better_than_random"]
    assert "do not rely" not in told["sentence"]


def test_a_picture_shows_it(tmp_path: Path) -> None:
    explained = image(tmp_path)({"image": bright_square(8, 20)}, picture=True)
    with Image.open(io.BytesIO(explained.picture)) as drawn:
        pixels = np.asarray(drawn, float)
    assert pixels.shape == (32, 32, 3)
    redness = pixels[:, :, 0] - pixels[:, :, 2]
    assert redness[12, 24] > 60 > abs(redness[28, 4]) + 20


def test_an_image_that_nothing_can_be_taken_from_says_so(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.new("L", (32, 32), 0).save(file, "PNG")
    explained = image(tmp_path)({"image": file.getvalue()})
    assert explained.told["sentence"].startswith("No part counted for")
    assert "do not rely" in explained.told["sentence"]


@pytest.mark.parametrize("method", ["leave-one-out", "shapley"])
def test_the_word_that_decides_is_found_with_its_place(tmp_path: Path, method: str) -> None:
    explained = text(tmp_path, good=3.0, bad=-2.0)(
        {"text": "The cat is  good, dog bad."}, method=method
    )
    words = explained.told["attribution"]["words"]
    best = max(words, key=lambda one: one["weight"])
    worst = min(words, key=lambda one: one["weight"])
    assert (best["text"], best["start"], best["end"]) == ("good", 12, 16)
    assert worst["text"] == "bad"
    assert [one["text"] for one in words] == ["The", "cat", "is", "good", ",", "dog", "bad", "."]


def test_another_class_is_explained_when_it_is_asked_for(tmp_path: Path) -> None:
    explainer = text(tmp_path, good=3.0)
    by_label, by_index = (explainer({"text": "good cat"}, target=one) for one in ("no", 0))
    assert weights_of(by_label.told) == weights_of(by_index.told)
    assert weights_of(by_label.told)["good"] < 0
    with pytest.raises(
        InvalidInput, match=r"one of the labels \(no, yes\) or an index from 0 to 1"
    ):
        explainer({"text": "good cat"}, target="maybe")
    for none in (7, -1, True, "9" * 5000, "\u0663"):
        with pytest.raises(InvalidInput, match="index from 0 to 1"):
            explainer({"text": "good cat"}, target=none)


def test_a_text_of_one_word_and_of_none(tmp_path: Path) -> None:
    explainer = text(tmp_path, good=3.0)
    assert weights_of(explainer({"text": "good"}).told)["good"] > 0.3
    with pytest.raises(InvalidInput, match="no words"):
        explainer({"text": "  "})


def test_a_method_of_another_kind_of_input_is_refused_with_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="a text can be explained by: leave-one-out, shapley"):
        text(tmp_path)({"text": "good"}, method="rise")
    with pytest.raises(InvalidInput, match="needs at least 4"):
        text(tmp_path)({"text": "good bad cat"}, calls=3)
    with pytest.raises(InvalidInput, match="picture is for images"):
        text(tmp_path)({"text": "good"}, picture=True)


def test_what_is_asked_is_counted_and_nothing_is_asked_twice(tmp_path: Path) -> None:
    explainer = text(tmp_path, good=1.0)
    explained = explainer({"text": "good bad"}, checks=False)
    assert explained.usage == {"input_tokens": 4, "explanations": 1, "model_calls": explainer.rows}
    assert explained.told["faithfulness"] is None
    assert explainer.rows == 1 + 3  # itself, and each of good, bad, and both once


def test_the_same_seed_gives_the_same_explanation(tmp_path: Path) -> None:
    explainer = image(tmp_path)
    item = {"image": bright_square(8, 20)}
    first, again, other = (
        explainer(item, method="rise", seed=seed, checks=False).told["attribution"]["grid"]
        for seed in (1, 1, 2)
    )
    assert first == again != other


def test_what_would_not_fit_into_memory_is_refused_before_it_is_made(tmp_path: Path) -> None:
    explainer = text(tmp_path, good=1.0)
    with pytest.raises(InvalidInput, match="20000 calls about an input of 500 parts"):
        explainer({"text": "good " * 500}, method="shapley", calls=20_000)
    assert explainer.rows == 1
    names = [f"c{at}" for at in range(800)]
    files = written(tmp_path, model=linear([1.0] * 800))
    wide = Explainer(ServedVersion("tabular", files, pre=[{"columns": names}]), names)
    with pytest.raises(NotSupported, match=r"800 columns is too wide .* with 200 background rows"):
        wide({"row": [1.0] * 800}, background=([0.0] * 800,) * 200)


def test_weights_that_were_found_elsewhere_are_measured_and_told(tmp_path: Path) -> None:
    background = ([0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 9.0])
    row = {"row": [5.0, 5.0, 5.0, 5.0]}
    explained = table(tmp_path)
    own = explained(row, background=background).told["faithfulness"]
    told = explained(row, background=background, given=(10.0, -5.0, 2.5, 0.0)).told
    assert told["method"] == "given"
    assert weights_of(told) == {"a": 10, "b": -5, "c": 2.5, "d": 0}
    assert told["faithfulness"] == {**own, "stability": None, "calls": ANY}
    with pytest.raises(InvalidInput, match="given has 1 weights; the input has 4 parts"):
        explained(row, background=background, given=(1.0,))
