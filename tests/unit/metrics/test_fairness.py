"""Metrics of fairness, against numbers worked out by hand and Fairlearn's definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from modelry.metrics.fairness import (
    demographic_parity_difference,
    demographic_parity_ratio,
    equalised_odds_difference,
    group_counts,
    interval,
    rates,
)

GROUPS = np.array([0] * 10 + [1] * 10)
OF = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0], bool)
SAID = np.array([1, 1, 1, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0], bool)
COUNTS = group_counts(GROUPS, OF, SAID, 2)


def test_rates_of_groups() -> None:
    found = rates(COUNTS)
    assert found.selection.tolist() == [0.4, 0.2]
    assert found.true_positive.tolist() == [0.75, 0.2]
    assert found.false_positive.tolist() == pytest.approx([1 / 6, 0.2])
    assert found.accuracy.tolist() == [0.8, 0.5]


def test_what_is_compared() -> None:
    assert float(demographic_parity_difference(COUNTS)) == pytest.approx(0.2)
    assert float(demographic_parity_ratio(COUNTS)) == pytest.approx(0.5)
    assert float(equalised_odds_difference(COUNTS)) == pytest.approx(0.55)


def test_a_group_without_such_rows_has_no_rate_and_one_group_is_not_compared() -> None:
    alone = group_counts(np.zeros(3, int), np.ones(3, bool), np.ones(3, bool), 2)
    found = rates(alone)
    assert math.isnan(found.false_positive[0])
    assert math.isnan(found.selection[1])
    assert math.isnan(demographic_parity_difference(alone))
    assert math.isnan(demographic_parity_ratio(alone))
    assert math.isnan(equalised_odds_difference(alone))
    assert all(map(math.isnan, interval(demographic_parity_difference, alone)))


def test_what_is_said_of_nobody_has_no_ratio() -> None:
    counts = group_counts(GROUPS, OF, np.zeros(20, bool), 2)
    assert float(demographic_parity_difference(counts)) == 0
    assert math.isnan(demographic_parity_ratio(counts))


def test_the_interval_is_that_of_rows_drawn_anew() -> None:
    low, high = interval(demographic_parity_difference, COUNTS * 50)
    assert low < 0.2 < high
    random = np.random.default_rng(1)
    rows = np.tile(np.arange(20), 50)
    drawn = []
    for _ in range(300):
        chosen = random.choice(rows, len(rows))
        counts = group_counts(GROUPS[chosen], OF[chosen], SAID[chosen], 2)
        drawn.append(float(demographic_parity_difference(counts)))
    assert (low, high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.015)
