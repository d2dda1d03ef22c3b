"""What a job told, as the events of OpenAI's API: each line and each point is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from modelry.domain.jobs import EventKind, JobEvent, JobState
from modelry.services.finetuning.curves import openai_names
from modelry.services.finetuning.naming import fine_tuning_id
from modelry.services.training.result import LAST_STEP

_READ_AT_ONCE = 20
"""Events of a job; each may hold thousands of lines."""

Place = tuple[int, int]
"""An event's sequence, and where in it."""


@dataclass(frozen=True, slots=True)
class FineTuningEvent:
    """Something that happened.

    Attributes:
        place: among all events of the job.
        level: `info`, `warn` or `error`.
        kind: `message` or `metrics`.
    """

    place: Place
    at: datetime
    level: str
    message: str
    kind: str = "message"
    data: Mapping[str, Any] = field(default_factory=dict)


Window = Callable[[int, int], Sequence[JobEvent]]
"""Gives the events after a sequence, as many as are asked for."""


def newest_first(
    job_id: str, read: Window, last_sequence: int, before: Place | None
) -> Iterator[FineTuningEvent]:
    """The events of a job, the last one first.

    Args:
        job_id: which.
        read: gives its events; they are numbered without gaps.
        last_sequence: of them.
        before: only those that came before this one.
    """
    high = last_sequence if before is None else min(before[0], last_sequence)
    while high > 0:
        low = max(0, high - _READ_AT_ONCE)
        for event in reversed(read(low, high - low)):
            for found in reversed(list(_of(job_id, event))):
                if before is None or found.place < before:
                    yield found
        high = low


def _of(job_id: str, event: JobEvent) -> Iterator[FineTuningEvent]:
    """What one event of a job tells."""
    data, sequence = event.data, event.sequence
    if event.kind is EventKind.STATE:
        level, message = _state(job_id, event)
        yield FineTuningEvent((sequence, 0), event.at, level, message)
    elif event.kind is EventKind.LOG:
        for place, (at, line) in enumerate(data["lines"]):
            yield FineTuningEvent((sequence, place), datetime.fromisoformat(at), "info", line)
    elif event.kind is EventKind.METRICS:
        for place, (step, values) in enumerate(data["points"]):
            told = openai_names(values)
            shown = ", ".join(
                f"{name}={value:.4g}" for name, value in told.items() if value is not None
            )
            yield FineTuningEvent(
                (sequence, place),
                event.at,
                "info",
                f"Step {step}: {shown}",
                "metrics",
                {"step": step, **told},
            )
    elif event.kind is EventKind.CHECKPOINT and data["step"] != LAST_STEP:
        message = f"Saved the state of step {data['step']}, from which the job can go on"
        yield FineTuningEvent((sequence, 0), event.at, "info", message)


def _state(job_id: str, event: JobEvent) -> tuple[str, str]:
    state, error = JobState(event.data["state"]), event.data.get("error")
    told = "" if error is None else f": {error['message']}"
    if state is JobState.QUEUED and event.sequence == 1:
        return "info", f"Created fine-tuning job: {fine_tuning_id(job_id)}"
    if state is JobState.QUEUED and error is not None:
        return "warn", f"The attempt failed, and is made again{told}"
    return {
        JobState.QUEUED: ("info", "Fine-tuning job queued"),
        JobState.RUNNING: ("info", "Fine-tuning job started"),
        JobState.PAUSED: ("info", "Fine-tuning job paused"),
        JobState.SUCCEEDED: ("info", "The job has successfully completed"),
        JobState.FAILED: ("error", f"The job failed{told}"),
        JobState.CANCELLED: ("info", f"The job was cancelled{told}"),
    }[state]
