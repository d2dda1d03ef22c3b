"""When work in the background stands back."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

import pytest

from modelry.explaining.pace import QUIET_SLICE_S
from modelry.worker.courtesy import (
    CROWDED_SHARE,
    CROWDED_SLICE_S,
    LOOKED_AT_S,
    SHARED_SLICE_S,
    Courtesy,
)
from modelry.worker.pressure import CORES, PRESSURE, used_s, waited_s

BUSY_S = 0.002
LOOK_S = 1.01 * LOOKED_AT_S


class Watched:
    """A machine on which time passes as told, and what stands back on it."""

    def __init__(self, *, is_shared: bool = False) -> None:
        self.now = 100.0
        self.waited_s = self.used_s = 0.0
        self.courtesy = Courtesy(lambda _within_s: is_shared, lambda: (self.waited_s, self.used_s))
        self.courtesy.begin(self.now, math.inf)

    def passes(
        self, seconds: float, share: float, look_s: float = LOOK_S, cores: float = 1.0
    ) -> Courtesy:
        """Somebody waits for a core for a share of so many seconds; others use so many cores."""
        for _ in range(round(seconds / look_s)):
            self.now += look_s
            self.waited_s += share * look_s
            self.used_s += cores * look_s
            self.courtesy.look(self.now)
        return self.courtesy


def test_a_quiet_machine_is_used_without_rests() -> None:
    machine = Watched()
    who = machine.passes(1, CROWDED_SHARE / 2)
    assert who.rest_s(machine.now, BUSY_S) == 0
    assert who.slice_s() == QUIET_SLICE_S


def test_work_rests_for_most_of_the_time_while_others_wait_for_cores() -> None:
    machine = Watched()
    who = machine.passes(1, 2 * CROWDED_SHARE)
    assert who.rest_s(machine.now, BUSY_S) > 4 * BUSY_S
    assert who.slice_s() == CROWDED_SLICE_S


def test_requests_to_other_engines_are_told_where_they_show_in_no_figure() -> None:
    machine = Watched()
    machine.courtesy.begin(machine.now, 0, others_are_asked=True)
    who = machine.passes(1, 0.0, cores=0.0)
    assert not who.is_crowded
    assert who.rest_s(machine.now, BUSY_S) > 4 * BUSY_S
    assert who.slice_s() == CROWDED_SLICE_S
    who.begin(machine.now, 0)
    assert who.rest_s(machine.now, BUSY_S) == 0


def test_threads_of_its_own_engine_that_wait_for_each_other_make_no_crowd() -> None:
    machine = Watched()
    assert not machine.passes(1, 6 * CROWDED_SHARE, cores=0.1).is_crowded
    assert machine.passes(1, 6 * CROWDED_SHARE, cores=0.5).is_crowded


def test_a_crowd_is_seen_at_the_first_look() -> None:
    assert Watched().passes(LOOK_S, 2 * CROWDED_SHARE).is_crowded


def test_one_moment_of_waiting_makes_no_crowd() -> None:
    machine = Watched()
    machine.passes(1, 0.0)
    assert not machine.passes(LOOK_S, 0.4).is_crowded


def test_a_crowd_that_has_gone_is_noticed() -> None:
    machine = Watched()
    machine.passes(1, 4 * CROWDED_SHARE)
    assert not machine.passes(2, 0.0).is_crowded


def test_many_short_runs_are_watched_together() -> None:
    assert Watched().passes(1, 2 * CROWDED_SHARE, look_s=LOOKED_AT_S / 20).is_crowded


def test_what_others_wait_for_between_works_is_their_own_affair() -> None:
    machine = Watched()
    machine.passes(1, 0.0)
    machine.now += 1
    machine.waited_s += 0.5
    machine.courtesy.begin(machine.now, 1)
    assert not machine.passes(LOOK_S, 0.0).is_crowded


@pytest.mark.parametrize(("pause_s", "is_remembered"), [(1.0, True), (10.0, False)])
def test_a_crowd_is_remembered_for_a_moment(pause_s: float, is_remembered: bool) -> None:
    machine = Watched()
    assert machine.passes(1, 4 * CROWDED_SHARE).is_crowded
    machine.now += pause_s
    machine.courtesy.begin(machine.now, pause_s)
    assert machine.courtesy.is_crowded is is_remembered


def test_works_that_follow_each_other_closely_are_watched_as_one() -> None:
    machine = Watched()
    for _ in range(100):
        machine.courtesy.begin(machine.now, LOOKED_AT_S / 10)
        machine.passes(LOOKED_AT_S / 5, 2 * CROWDED_SHARE, look_s=LOOKED_AT_S / 5)
    assert machine.courtesy.is_crowded


def test_an_engine_that_others_ask_is_left_to_them_for_most_of_the_time() -> None:
    machine = Watched(is_shared=True)
    who = machine.passes(1, 0.0)
    assert who.slice_s() == SHARED_SLICE_S
    assert who.rest_s(machine.now, BUSY_S) > 2 * BUSY_S


def test_rests_have_an_end() -> None:
    machine = Watched()
    assert machine.passes(1, 4 * CROWDED_SHARE).rest_s(machine.now, 10) < 0.1


def test_what_is_done_within_a_moment_needs_no_rest() -> None:
    machine = Watched()
    machine.passes(1, 4 * CROWDED_SHARE)
    who = machine.courtesy
    who.begin(machine.now, 1.0)
    assert who.rest_s(machine.now + LOOKED_AT_S / 2, BUSY_S) == 0
    who.begin(machine.now + LOOKED_AT_S / 2, 0.001)  # one after the other is as much as one
    assert who.rest_s(machine.now + 2 * LOOKED_AT_S, BUSY_S) > 0


def test_short_works_with_pauses_between_them_need_no_rests() -> None:
    machine = Watched()
    machine.passes(1, 4 * CROWDED_SHARE)
    who = machine.courtesy
    for pause_s, is_enough in ((2.1 * BUSY_S, True), (0.5 * BUSY_S, False)):
        rests = []
        for _ in range(200):
            machine.now += pause_s
            who.begin(machine.now, pause_s)
            machine.now += BUSY_S
            rests.append(who.rest_s(machine.now, BUSY_S))
        assert (sum(rests[100:]) == 0) is is_enough


def test_the_kernel_tells_for_how_long_somebody_waited(tmp_path: Path) -> None:
    told = tmp_path / "cpu"
    told.write_text(
        "some avg10=1.14 avg60=9.16 avg300=12.70 total=28589983440\n"
        "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    )
    assert waited_s(told) == pytest.approx(28589.98344)


def test_the_kernel_tells_for_how_long_cores_were_in_use(tmp_path: Path) -> None:
    told = tmp_path / "stat"
    told.write_text("cpu  100 20 30 9999 888 5 45 7 0 0\ncpu0 50 10 15 9999 0 0 0 0 0 0\n")
    assert used_s(told) == pytest.approx(200 / os.sysconf("SC_CLK_TCK"))
    assert used_s(tmp_path / "missing") is None


@pytest.mark.skipif(not CORES.exists(), reason="this kernel does not tell")
def test_what_this_process_uses_is_among_what_the_kernel_tells() -> None:
    before, own = used_s(), time.process_time()
    while time.process_time() - own < 0.1:
        pass
    after = used_s()
    assert before is not None
    assert after is not None
    assert after - before >= 0.05


def test_a_kernel_that_tells_nothing_is_borne(tmp_path: Path) -> None:
    empty = tmp_path / "cpu"
    empty.touch()
    assert waited_s(empty) is None
    assert waited_s(tmp_path / "missing") is None


@pytest.mark.skipif(not PRESSURE.exists(), reason="this kernel does not tell")
def test_what_this_kernel_tells_is_read_again_and_again() -> None:
    first, second = waited_s(), waited_s()
    assert first is not None
    assert second is not None
    assert second >= first
