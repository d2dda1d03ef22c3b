"""A job's events in OpenAI's words, newest first, from any place on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from modelry.domain.jobs import EventKind, JobEvent
from modelry.services.finetuning.events import newest_first
from modelry.services.training.result import LAST_STEP
from modelry.testing.samples import NOW

KINDS = [
    (EventKind.STATE, {"state": "queued"}),
    (EventKind.STATE, {"state": "running"}),
    (EventKind.LOG, {"lines": [[NOW.isoformat(), "one"], [NOW.isoformat(), "two"]]}),
    (EventKind.METRICS, {"points": [[1, {"loss": 0.5}], [2, {"loss": None, "x": 1.0}]]}),
    (EventKind.CHECKPOINT, {"step": 2, "digest": "d", "size_bytes": 1}),
    (EventKind.ARTEFACT, {"name": "a", "digest": "d", "size_bytes": 1}),
    (EventKind.CHECKPOINT, {"step": LAST_STEP, "digest": "d", "size_bytes": 1}),
    (EventKind.STATE, {"state": "queued", "error": {"code": "work_failed", "message": "Killed."}}),
    (EventKind.STATE, {"state": "paused"}),
    (EventKind.STATE, {"state": "queued"}),
    (EventKind.STATE, {"state": "failed", "error": {"code": "x", "message": "No rows."}}),
]
TOLD = [
    ("error", "The job failed: No rows."),
    ("info", "Fine-tuning job queued"),
    ("info", "Fine-tuning job paused"),
    ("warn", "The attempt failed, and is made again: Killed."),
    ("info", "Saved the state of step 2, from which the job can go on"),
    ("info", "Step 2: x=1"),
    ("info", "Step 1: train_loss=0.5"),
    ("info", "two"),
    ("info", "one"),
    ("info", "Fine-tuning job started"),
    ("info", "Created fine-tuning job: ftjob-1"),
]


def events(times: int = 1) -> list[JobEvent]:
    made = [one for _ in range(times) for one in KINDS]
    return [
        JobEvent(number, NOW + timedelta(seconds=number), 1, kind, data)
        for number, (kind, data) in enumerate(made, start=1)
    ]


def test_each_line_and_point_is_one() -> None:
    found = list(newest_first("job-1", lambda low, count: events()[low : low + count], 11, None))
    assert [(one.level, one.message) for one in found] == TOLD
    assert found[6].data == {"step": 1, "train_loss": 0.5}
    assert found[6].kind == "metrics"


@pytest.mark.parametrize("times", [1, 5])
def test_every_place_is_one_to_go_on_from(times: int) -> None:
    whole = events(times)

    def read(low: int, count: int) -> Sequence[JobEvent]:
        return whole[low : low + count]

    found = list(newest_first("job-1", read, len(whole), None))
    assert len(found) == times * len(TOLD)
    assert [one.place for one in found] == sorted((one.place for one in found), reverse=True)
    for at, one in enumerate(found):
        following = list(newest_first("job-1", read, len(whole), one.place))
        assert following == found[at + 1 :]
    assert list(newest_first("job-1", read, len(whole), (10**9, 0))) == found
