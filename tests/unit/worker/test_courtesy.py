"""When work in the background stands back."""

from __future__ import annotations

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
from modelry.worker.pressure import FILE, waited_s

BUSY_S = 0.002
LOOK_S = 1.01 * LOOKED_AT_S


class Watched:
    """A machine on which time passes as told, and what stands back on it."""

    def __init__(self, *, is_shared: bool = False) -> None:
        self.now = 100.0
        self.waited_s = 0.0
        self.courtesy = Courtesy(lambda _within_s: is_shared, lambda: self.waited_s)
        self.courtesy.look(self.now)

    def passes(self, seconds: float, share: float, look_s: float = LOOK_S) -> Courtesy:
        """Somebody waits for a core for a share of so many seconds."""
        for _ in range(round(seconds / look_s)):
            self.now += look_s
            self.waited_s += share * look_s
            self.courtesy.look(self.now)
        return self.courtesy


def test_a_quiet_machine_is_used_without_rests() -> None:
    who = Watched().passes(1, CROWDED_SHARE / 2)
    assert who.rest_s(BUSY_S) == 0
    assert who.slice_s() == QUIET_SLICE_S


def test_work_rests_for_most_of_the_time_while_others_wait_for_cores() -> None:
    who = Watched().passes(1, 2 * CROWDED_SHARE)
    assert who.rest_s(BUSY_S) > 4 * BUSY_S
    assert who.slice_s() == CROWDED_SLICE_S


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


def test_what_was_before_a_pause_is_forgotten() -> None:
    machine = Watched()
    assert machine.passes(1, 4 * CROWDED_SHARE).is_crowded
    machine.waited_s += 1000
    assert not machine.passes(3600, 0.0, look_s=3600).is_crowded


def test_an_engine_that_others_ask_is_left_to_them_half_of_the_time() -> None:
    who = Watched(is_shared=True).courtesy
    assert who.slice_s() == SHARED_SLICE_S
    assert who.rest_s(BUSY_S) == pytest.approx(BUSY_S)


def test_rests_have_an_end() -> None:
    assert Watched().passes(1, 4 * CROWDED_SHARE).rest_s(10) < 0.1


def test_the_kernel_tells_for_how_long_somebody_waited(tmp_path: Path) -> None:
    told = tmp_path / "cpu"
    told.write_text(
        "some avg10=1.14 avg60=9.16 avg300=12.70 total=28589983440\n"
        "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    )
    assert waited_s(told) == pytest.approx(28589.98344)


def test_a_kernel_that_tells_nothing_is_borne(tmp_path: Path) -> None:
    empty = tmp_path / "cpu"
    empty.touch()
    assert waited_s(empty) is None
    assert waited_s(tmp_path / "missing") is None


@pytest.mark.skipif(not FILE.exists(), reason="this kernel does not tell")
def test_what_this_kernel_tells_is_read_again_and_again() -> None:
    first, second = waited_s(), waited_s()
    assert first is not None
    assert second is not None
    assert second >= first
