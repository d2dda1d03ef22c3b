"""Silence of processes: stuck, or starved of cores."""

import os

import pytest

from modelry.adapters.processes import silence
from modelry.adapters.processes.silence import STARVED_FACTOR, Silence, waited_s


@pytest.fixture
def waits(monkeypatch):
    """What the kernel would tell, in seconds."""
    told = {"s": 5.0}
    monkeypatch.setattr(silence, "waited_s", lambda _: told["s"])
    return told


def test_a_stuck_process_is_given_up(waits):
    judge = Silence(1, 30.0)
    assert not judge.is_too_long(100.0, 101.0)
    assert not judge.is_too_long(100.0, 130.0)
    waits["s"] += 3.0  # a machine that is busy, but not that busy
    assert judge.is_too_long(100.0, 131.0)


def test_a_starved_process_is_waited_for_but_not_for_ever(waits):
    judge = Silence(1, 30.0)
    assert not judge.is_too_long(100.0, 101.0)
    waits["s"] += 25.0
    assert not judge.is_too_long(100.0, 131.0)
    assert judge.is_too_long(100.0, 100.0 + 30.0 * STARVED_FACTOR + 1)


def test_waiting_before_it_spoke_last_does_not_count(waits):
    judge = Silence(1, 30.0)
    assert not judge.is_too_long(100.0, 101.0)
    waits["s"] += 100.0
    assert not judge.is_too_long(125.0, 126.0)
    assert judge.is_too_long(125.0, 156.0)


def test_the_kernel_tells_how_long_threads_waited():
    assert waited_s(os.getpid()) >= 0.0
    assert waited_s(2**31 - 1) == 0.0
