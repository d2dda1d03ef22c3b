"""Asking stops when the order of the parts is settled, and says how often it asked and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.explained import Explainer, bright_square, looks_at
from tests.support.task_models import ServedVersion, written

from modelry.explaining.contract import Wish
from modelry.explaining.rise import rise
from modelry.explaining.settling import LEAST_PORTIONS, agreement
from modelry.explaining.shapley import shapley


def test_agreement_is_a_bound_of_how_well_the_mean_agrees_with_the_truth() -> None:
    random = np.random.default_rng(3)
    truth = random.normal(size=60)
    kept = []
    for _ in range(100):
        estimates = truth + random.normal(scale=1.5, size=(12, 60))
        told = agreement(estimates)
        kept.append(float(np.corrcoef(estimates.mean(axis=0), truth)[0, 1]) >= told)
        assert told < 0.97
    assert np.mean(kept) >= 0.9


def test_agreement_of_the_same_of_noise_and_of_few() -> None:
    same = np.tile(np.arange(5.0), (6, 1))
    assert agreement(same) == 1
    assert agreement(np.zeros((6, 5))) == 1
    assert agreement(same[: LEAST_PORTIONS - 1]) == 0
    noise = np.random.default_rng(0).normal(size=(16, 200))
    assert agreement(noise) < 0.8
    both = np.stack([np.tile(np.arange(200.0), (16, 1)), noise], axis=2)
    assert agreement(both) == pytest.approx(agreement(noise))


def explainer(folder: Path) -> Explainer:
    files = written(folder, model=looks_at(8, 20))
    return Explainer(ServedVersion("image-classification", files, labels=["dark", "bright"]))


@pytest.mark.parametrize("method", ["occlusion", "rise"])
def test_an_image_that_is_easy_to_explain_takes_fewer_calls(tmp_path: Path, method: str) -> None:
    ask = explainer(tmp_path)
    item = {"image": bright_square(8, 20)}
    told = ask(item, method=method, checks=False, calls=4000).told["parameters"]
    assert told["stopped"] == "settled"
    assert told["agreement"] >= 0.95
    assert told["most_calls"] == 4000 > 4 * told["calls"]
    assert ask.rows == 1 + told["calls"]


def test_occlusion_is_content_with_the_calls_that_there_are(tmp_path: Path) -> None:
    told = explainer(tmp_path)({"image": bright_square(8, 20)}, checks=False, calls=80).told
    assert told["parameters"]["stopped"] == "calls"
    assert 40 <= told["parameters"]["calls"] <= 80


class Cells:
    """A grid; nothing else is asked of an image here."""

    grid = (8, 8)
    count = 64
    mask_cells = 8


def test_masks_keep_more_where_too_little_is_seen_behind_them() -> None:
    """An object that is found where all of its cells can be seen well."""
    place = [8 * row + column for row in range(2, 6) for column in range(3, 7)]

    def scores(presences: Any) -> Any:
        return (presences[:, place].mean(axis=1) > 0.97) * 0.8

    found = rise(scores, Cells(), Wish(calls=1500))  # type: ignore[arg-type]
    assert found.parameters["kept"] > 0.5
    assert set(np.argsort(-found.weights)[:4]) <= set(place)
    assert found.remark == ""


def test_what_is_never_seen_again_has_no_weights_and_says_why() -> None:
    found = rise(
        lambda presences: (presences.min(axis=1) == 1) * 0.8,
        Cells(),  # type: ignore[arg-type]
        Wish(calls=800),
    )
    assert not found.weights.any()
    assert "No mask left enough" in found.remark
    assert found.parameters["calls"] == 800


class Parts:
    """So many parts; nothing else is asked of them here."""

    def __init__(self, count: int) -> None:
        self.count = count


def sampled(count: int, score: Any, calls: int | None = None, seed: int = 0) -> Any:
    asked: list[int] = []

    def scores(presences: Any) -> Any:
        asked.append(len(presences))
        return score(presences)

    found = shapley(scores, Parts(count), Wish(calls=calls, seed=seed))  # type: ignore[arg-type]
    assert sum(asked) == found.parameters["calls"]
    return found


def test_sampled_shapley_values_settle_near_the_closed_form() -> None:
    """Pairs of parts that count together alone: each has half of what they do."""
    count = 24
    effects = np.random.default_rng(2).normal(size=count // 2)

    def score(presences: Any) -> Any:
        return (presences[:, ::2] * presences[:, 1::2]) @ effects

    found = sampled(count, score, calls=20_000)
    assert found.parameters["stopped"] == "settled"
    assert found.parameters["calls"] < 4000
    truth = np.repeat(effects / 2, 2)
    assert np.corrcoef(found.weights, truth)[0, 1] > 0.99
    assert found.weights.sum() == pytest.approx(effects.sum())
    assert np.mean(np.abs(found.weights - truth) <= found.interval) > 0.8


def test_sampled_shapley_values_of_noise_take_all_calls() -> None:
    random = np.random.default_rng(2)
    found = sampled(30, lambda presences: random.normal(size=len(presences)), calls=600)
    assert found.parameters["stopped"] == "calls"
    assert 580 <= found.parameters["calls"] <= 600


@pytest.mark.parametrize(("count", "calls"), [(3, 8), (4, 10), (4, 15), (11, 24), (11, 2048)])
def test_few_calls_are_enough_for_what_adds_up(count: int, calls: int) -> None:
    effects = np.arange(count) - 1.5
    found = sampled(count, lambda presences: presences @ effects + 7, calls=calls)
    assert found.weights == pytest.approx(effects, abs=1e-9)
    assert found.parameters["is_exact"] == (calls >= 2**count)
