"""The JSON shapes of jobs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from modelry.domain.jobs import (
    DEFAULT_RETRIES,
    MAX_DEPENDENCIES,
    MAX_PRIORITY,
    MAX_RETRIES,
    Attempt,
    EventKind,
    Job,
    JobError,
    JobEvent,
    JobProgress,
    JobState,
)
from modelry.domain.jobs import Artefact as KeptArtefact
from modelry.protocols.management.shapes import Answer, Body, Moment, ShortText
from modelry.services.jobs.reading import JobDetails
from modelry.services.jobs.submission import MAX_NAME_CHARS

JobId = Annotated[str, Field(min_length=1, max_length=64)]


class SubmitBody(Body):
    """A job to put into the queue.

    `kind` and its `parameters` say what is to be done. `priority`: the highest of the tenant goes
    first. `after`: ids of jobs that must succeed before. `not_before`: when it may begin.
    `retries`: how many failures in a row that another attempt may mend are tried again.
    """

    kind: ShortText
    parameters: dict[str, Any] = Field(default_factory=dict)
    name: Annotated[str, Field(max_length=MAX_NAME_CHARS)] = ""
    priority: Annotated[int, Field(strict=True, ge=-MAX_PRIORITY, le=MAX_PRIORITY)] = 0
    after: Annotated[list[JobId], Field(max_length=MAX_DEPENDENCIES)] = Field(default_factory=list)
    not_before: Moment | None = None
    retries: Annotated[int, Field(strict=True, ge=0, le=MAX_RETRIES)] = DEFAULT_RETRIES


class Failure(Answer):
    """Why it failed."""

    code: str
    message: str

    @classmethod
    def of(cls, error: JobError | None) -> Failure | None:
        """The shape of `error`."""
        return None if error is None else cls(code=error.code, message=error.message)


class Progress(Answer):
    """How far it is in its phase; `total` and `left_s`, in seconds, are null while unknown."""

    done: int
    total: int | None
    unit: str
    phase: str
    at: datetime
    left_s: float | None

    @classmethod
    def of(cls, progress: JobProgress | None) -> Progress | None:
        """The shape of `progress`."""
        if progress is None:
            return None
        return cls(
            done=progress.done,
            total=progress.total,
            unit=progress.unit,
            phase=progress.phase,
            at=progress.at,
            left_s=progress.left_s(),
        )


class JobShape(Answer):
    """A job.

    `request` is what somebody wants of it while it runs: `cancel` or `pause`. `attempts` counts
    those that began. `after` are jobs that must succeed before it begins.
    """

    job_id: str
    kind: str
    name: str
    state: JobState
    request: str | None
    priority: int
    retries: int
    parameters: dict[str, Any]
    after: list[str]
    not_before: datetime | None
    submitted_at: datetime
    submitted_by: str
    started_at: datetime | None
    ended_at: datetime | None
    attempts: int
    progress: Progress | None
    outcome: dict[str, Any] | None
    error: Failure | None

    @classmethod
    def of(cls, job: Job) -> JobShape:
        """The shape of `job`."""
        return cls(**fields_of(job))


def fields_of(job: Job) -> dict[str, Any]:
    """What is told of a job."""
    same = {
        name: getattr(job, name)
        for name in JobShape.model_fields
        if name not in ("after", "progress", "error", "outcome", "parameters", "request")
    }
    return {
        **same,
        "request": None if job.request is None else job.request.value,
        "after": list(job.dependencies),
        "progress": Progress.of(job.progress),
        "error": Failure.of(job.error),
        "outcome": None if job.outcome is None else dict(job.outcome),
        "parameters": dict(job.parameters),
    }


class AttemptShape(Answer):
    """One attempt; `outcome` is null while it is under way.

    `engine_s` and `cpu_s` are seconds that its processes were there, and of their processor time.
    """

    number: int
    server_id: str
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    error: Failure | None
    engine_s: float
    cpu_s: float

    @classmethod
    def of(cls, attempt: Attempt) -> AttemptShape:
        """The shape of `attempt`."""
        return cls(
            number=attempt.number,
            server_id=attempt.server_id,
            started_at=attempt.started_at,
            ended_at=attempt.ended_at,
            outcome=None if attempt.outcome is None else attempt.outcome.value,
            error=Failure.of(attempt.error),
            engine_s=attempt.compute.engine_us / 1e6,
            cpu_s=attempt.compute.cpu_us / 1e6,
        )


class ArtefactShape(Answer):
    """A file that is kept with a job."""

    name: str
    digest: str
    size_bytes: int
    at: datetime

    @classmethod
    def of(cls, artefact: KeptArtefact) -> ArtefactShape:
        """The shape of `artefact`."""
        return cls(**{name: getattr(artefact, name) for name in cls.model_fields})


class JobDetailsShape(JobShape):
    """A job with its attempts and artefacts."""

    history: list[AttemptShape]
    artefacts: list[ArtefactShape]

    @classmethod
    def of_details(cls, details: JobDetails) -> JobDetailsShape:
        """The shape of `details`."""
        return cls(
            **fields_of(details.job),
            history=[AttemptShape.of(one) for one in details.attempts],
            artefacts=[ArtefactShape.of(one) for one in details.artefacts],
        )


class JobList(Answer):
    """Jobs, newest first; `next` is `before` of the next page."""

    jobs: list[JobShape]
    next: str | None


class LogLine(Answer):
    """One line of a job's log."""

    at: datetime
    attempt: int
    line: str


class LogPage(Answer):
    """Lines, oldest first; ask `after` the number `next` for those that come then."""

    lines: list[LogLine]
    next: int

    @classmethod
    def of(cls, after: int, events: Sequence[JobEvent]) -> LogPage:
        """The lines of `events`."""
        lines = [
            LogLine(at=datetime.fromisoformat(at), attempt=event.attempt, line=line)
            for event in events
            if event.kind is EventKind.LOG
            for at, line in event.data["lines"]
        ]
        return cls(lines=lines, next=events[-1].sequence if events else after)


class Point(Answer):
    """The values of one step; null for what is no finite number."""

    step: int
    values: dict[str, float | None]


class Curves(Answer):
    """Points by step."""

    points: list[Point]


class Kinds(Answer):
    """The kinds of jobs that the server knows."""

    kinds: list[str]
