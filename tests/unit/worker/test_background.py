"""When the rests are taken that work in the background owes to others."""

from __future__ import annotations

import threading
import time
from typing import Any, cast

import pytest

from modelry.domain.errors import Cancelled
from modelry.explaining.pace import Pace
from modelry.runtime_api.engine import StopSignal
from modelry.worker import background
from modelry.worker.background import Background
from modelry.worker.engine_lane import EngineLane

REST_S = 0.04
MARGIN_S = REST_S / 2


class Crowded:
    """Wants the same rest after each run."""

    def __init__(self, *_given: Any) -> None:
        pass

    def begin(self, *_given: Any, **_more: Any) -> None:
        pass

    def look(self, now: float) -> None:
        pass

    def slice_s(self) -> float:
        return 0.01

    def rest_s(self, now: float, busy_s: float) -> float:
        del now, busy_s
        return REST_S


class NoCalls:
    def answer_all(self, *_given: Any) -> None:
        pass


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Background:
    monkeypatch.setattr(background, "Courtesy", Crowded)
    return Background(EngineLane(cast("Any", NoCalls()), 16))


def runs(work: Background, count: int) -> list[float]:
    """So many runs of one piece of work: when each began, and when the last one was known."""
    pace = work.pace(16, others_are_asked=False)
    return [*(begun(work, pace) for _ in range(count)), time.monotonic()]


def begun(work: Background, pace: Pace, stop: StopSignal | None = None) -> float:
    """When a run began."""
    return work.run(time.monotonic, 1, pace, stop or StopSignal())


def test_runs_are_a_rest_apart_and_the_answer_waits_for_none(work: Background) -> None:
    first, second, known = runs(work, 2)
    assert second - first >= REST_S
    assert known - second < MARGIN_S


def test_the_next_work_takes_the_rest_that_the_last_one_left(work: Background) -> None:
    before, _ = runs(work, 1)
    after, _ = runs(work, 1)
    assert after - before >= REST_S


def test_a_pause_between_works_is_a_rest(work: Background) -> None:
    runs(work, 1)
    time.sleep(REST_S)
    asked = time.monotonic()
    after, _ = runs(work, 1)
    assert after - asked < MARGIN_S


def test_a_run_that_failed_owes_nothing(work: Background) -> None:
    pace = work.pace(16, others_are_asked=False)

    def breaks() -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        work.run(breaks, 1, pace, StopSignal())
    asked = time.monotonic()
    assert begun(work, pace) - asked < MARGIN_S


def test_a_rest_ends_when_its_caller_goes_away_and_is_owed_by_the_next_work(
    work: Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    long_s = 20 * REST_S
    monkeypatch.setattr(Crowded, "rest_s", lambda *_given: long_s)
    pace, stop = work.pace(16, others_are_asked=False), StopSignal()
    begun(work, pace, stop)
    asked = time.monotonic()
    threading.Timer(MARGIN_S, stop.set).start()
    with pytest.raises(Cancelled):
        begun(work, pace, stop)
    assert time.monotonic() - asked < long_s / 2
    next_pace = work.pace(16, others_are_asked=False)
    assert begun(work, next_pace) - asked >= 0.9 * long_s


def test_who_went_away_before_has_nothing_run(work: Background) -> None:
    pace, stop = work.pace(16, others_are_asked=False), StopSignal()
    begun(work, pace, stop)
    stop.set()
    asked = time.monotonic()
    with pytest.raises(Cancelled):
        begun(work, pace, stop)
    assert time.monotonic() - asked < MARGIN_S
