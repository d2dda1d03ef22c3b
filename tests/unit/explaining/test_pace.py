"""How many rows explanations ask at once and what they make of doubles."""

from __future__ import annotations

import numpy as np
import pytest

from modelry.explaining.asking import _different
from modelry.explaining.pace import QUIET_SLICE_S, Pace
from modelry.worker.courtesy import SHARED_SLICE_S, Courtesy


def settled(pace: Pace, row_s: float, run_s: float = 0.0) -> int:
    for _ in range(20):
        rows = pace.rows
        pace.ran(rows, run_s + rows * row_s)
    return pace.rows


@pytest.mark.parametrize(("row_s", "rows"), [(1.0, 1), (0.004, 2), (0.0001, 64), (1e-9, 4096)])
def test_runs_grow_until_they_take_their_time(row_s: float, rows: int) -> None:
    pace = Pace(4096)
    assert pace.rows == 1
    assert settled(pace, row_s) == rows
    assert rows * row_s <= QUIET_SLICE_S or rows == 1


def test_one_run_tells_how_long_the_next_one_may_be() -> None:
    pace = Pace(4096)
    pace.ran(1, QUIET_SLICE_S / 100)
    assert pace.rows == 64  # which take no longer than 64 runs of one


def test_a_run_that_was_disturbed_is_made_up_for_and_a_rest_is_not_minded() -> None:
    pace = Pace(4096)
    usual = settled(pace, 1e-5)
    pace.ran(usual, 1.0)
    assert pace.rows < usual
    assert settled(pace, 1e-5) == usual
    pace.ran(3, 0.0001)  # the fixed costs of a run, for three rows
    assert pace.rows == usual


def test_runs_are_short_while_the_engine_is_shared() -> None:
    is_shared = False
    courtesy = Courtesy(lambda _: is_shared, lambda: (0.0, 0.0))
    pace = Pace(4096, courtesy.slice_s)
    alone = settled(pace, 1e-5)
    is_shared = True
    assert pace.rows * 1e-5 <= SHARED_SLICE_S < alone * 1e-5


def test_each_different_row_is_kept_once() -> None:
    random = np.random.default_rng(0)
    rows = random.integers(0, 2, (200, 5)).astype(float)
    unique, places = _different(rows)
    assert (unique[places] == rows).all()
    assert len(unique) == len(np.unique(rows, axis=0)) < 33
