"""Intervals hold what they promise, and calibration is what its paper says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from modelry.metrics.calibration import expected_calibration_error, reliability
from modelry.metrics.intervals import bootstrap


def test_an_interval_is_as_wide_as_theory_says() -> None:
    right = (np.arange(2000) < 1600).astype(float)
    low, high = bootstrap([right], lambda values: float(values.mean()))
    spread = 1.96 * math.sqrt(0.8 * 0.2 / 2000)
    assert low == pytest.approx(0.8 - spread, abs=0.004)
    assert high == pytest.approx(0.8 + spread, abs=0.004)


def test_the_same_rows_give_the_same_interval() -> None:
    values = np.random.default_rng(0).normal(size=50)
    assert bootstrap([values], np.mean) == bootstrap([values], np.mean)
    assert bootstrap([values], np.mean, seed=1) != bootstrap([values], np.mean)


def test_columns_are_drawn_together() -> None:
    values = np.arange(40.0)
    low, high = bootstrap([values, values], lambda one, other: float(np.abs(one - other).max()))
    assert (low, high) == (0.0, 0.0)


def test_resamples_without_a_value_are_left_out_and_no_rows_have_none() -> None:
    values = np.array([0.0, 1.0])
    low, high = bootstrap([values], lambda drawn: 1.0 if drawn.any() else math.nan)
    assert (low, high) == (1.0, 1.0)
    assert all(map(math.isnan, bootstrap([values], lambda _: math.nan)))
    assert all(map(math.isnan, bootstrap([np.empty(0)], np.mean)))


def test_scores_and_shares_are_compared_bin_by_bin() -> None:
    scores = np.array([0.95, 0.95, 0.95, 0.95, 0.05, 0.0, 1.0])
    right = np.array([1, 1, 1, 0, 0, 0, 1])
    table = reliability(scores, right, bins=10)
    assert [(one.rows, one.accuracy) for one in table] == [(2, 0.0), (5, 0.8)]
    wanted = (2 * abs(0.025 - 0) + 5 * abs((4 * 0.95 + 1) / 5 - 0.8)) / 7
    assert expected_calibration_error(scores, right, bins=10) == pytest.approx(wanted)
    assert math.isnan(expected_calibration_error(np.empty(0), np.empty(0)))
