"""Whether the check of an explanation tells right ones from wrong ones."""

from __future__ import annotations

import numpy as np
import pytest

from modelry.explaining.contract import Scores
from modelry.explaining.faithfulness import Faithfulness, RandomOrders, measure
from modelry.explaining.smoothing import even_weights
from modelry.runtime_api.tensors import Array

GRID = (14, 14)
MAPS = 100


def sees_square(top: int, left: int, side: int = 4, least: float = 0.7) -> Scores:
    """A model that is sure as soon as it sees enough of a square, as networks are of objects."""
    seen = np.zeros(GRID)
    seen[top : top + side, left : left + side] = 1 / side**2

    def scores(presences: Array) -> Array:
        found: Array = 1 / (1 + np.exp(-20 * (presences @ seen.ravel() - least)))
        return found

    return scores


def blurred(top: int, left: int, side: int = 4) -> Array:
    """A map that is highest at a square, and falls off around it."""
    rows, columns = np.indices(GRID)
    middle = (side - 1) / 2
    away = np.hypot(rows - top - middle, columns - left - middle)
    weights: Array = np.exp(-(away**2) / side**2).ravel()
    return weights


def checked(scores: Scores, weights: Array, seed: int = 0) -> Faithfulness:
    return measure(scores, weights, RandomOrders(seed, lambda random: even_weights(GRID, random)))


@pytest.mark.parametrize(("top", "left"), [(0, 0), (2, 9), (5, 5), (10, 10)])
def test_a_map_of_what_the_model_sees_is_better_than_random(top: int, left: int) -> None:
    found = checked(sees_square(top, left), blurred(top, left))
    assert found.is_better_than_random
    assert found.p_value == pytest.approx(1 / 25)


def test_a_map_of_somewhere_else_is_not() -> None:
    found = checked(sees_square(1, 1), blurred(9, 9))
    assert not found.is_better_than_random
    assert found.p_value is not None
    assert found.p_value > 0.5


def test_maps_by_chance_are_seldom_taken_for_right_ones_however_even_they_are() -> None:
    random = np.random.default_rng(1)
    scores = sees_square(3, 6)
    even = sum(
        checked(scores, even_weights(GRID, random), seed).is_better_than_random
        for seed in range(MAPS)
    )
    uneven = sum(
        checked(scores, random.random(GRID[0] * GRID[1]), seed).is_better_than_random
        for seed in range(MAPS)
    )
    assert even <= 0.1 * MAPS  # of a test at 4 %: the 99th percentile
    assert uneven <= 0.05 * MAPS


def test_a_model_that_always_says_the_same_has_no_right_explanation() -> None:
    found = checked(lambda presences: np.full(len(presences), 0.7), blurred(3, 3))
    assert found.p_value == 1
    assert not found.is_better_than_random


def test_weights_that_are_all_the_same_have_no_order_that_could_be_right() -> None:
    found = checked(sees_square(0, 0), np.zeros(GRID[0] * GRID[1]))
    assert found.p_value == 1
    assert not found.is_better_than_random


def test_orders_in_pairs_tell_the_same_and_ask_half_as_often() -> None:
    random = np.random.default_rng(0)
    weights = random.normal(size=60)

    def scores(presences: Array) -> Array:
        found: Array = presences @ weights
        return found

    single, paired = (
        measure(scores, weights, RandomOrders(0, pairs=pairs)) for pairs in (None, 12)
    )
    assert single.is_better_than_random
    assert paired.p_value == pytest.approx(single.p_value)
    assert paired.prediction is not None
    assert paired.prediction[0] == pytest.approx(1)
