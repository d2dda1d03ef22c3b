"""What pieces of work may use by default."""

from __future__ import annotations

import os

from modelry.bootstrap.works import explanation_limits, work_limits
from modelry.settings import Settings


def test_explanations_leave_a_core_to_those_that_are_asked_meanwhile(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(4)))
    assert work_limits(Settings()).threads == 4
    assert explanation_limits(Settings()).threads == 3
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    assert explanation_limits(Settings()).threads == 1


def test_the_threads_that_settings_tell_are_those_of_all_work():
    assert work_limits(Settings(work_threads=2)).threads == 2
    assert explanation_limits(Settings(work_threads=2)).threads == 2
