"""What the management API tells of jobs, as typed values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol


class KnownById(Protocol):
    """Something with an id, such as a `Job`."""

    @property
    def id(self) -> str:
        """Its id."""
        ...


def ids_of(jobs: Sequence[str | KnownById]) -> list[str]:
    """The ids of jobs that are given as such, or as their ids."""
    return [one if isinstance(one, str) else one.id for one in jobs]


ENDED = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class JobFailure:
    """Why a job or an attempt failed."""

    code: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How far a job is in its phase; `total` and `left_s`, in seconds, are None while unknown."""

    done: int
    total: int | None = None
    unit: str = ""
    phase: str = ""
    at: datetime | None = None
    left_s: float | None = None


@dataclass(frozen=True, slots=True)
class JobAttempt:
    """One attempt at a job; `outcome` is None while it is under way.

    `engine_s` and `cpu_s` are seconds that its processes were there, and of their processor time.
    """

    number: int
    server_id: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    outcome: str | None = None
    error: JobFailure | None = None
    engine_s: float = 0.0
    cpu_s: float = 0.0


@dataclass(frozen=True, slots=True)
class JobArtefact:
    """A file that is kept with a job."""

    name: str
    digest: str
    size_bytes: int
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as the server told it.

    `state` is queued, running, paused, succeeded, failed or cancelled; `request` (cancel or pause)
    is what somebody wants of it while it runs. `history` and `artefacts` are told of single jobs
    only, not in lists.
    """

    job_id: str
    kind: str
    state: str
    name: str = ""
    request: str | None = None
    priority: int = 0
    retries: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    not_before: datetime | None = None
    submitted_at: datetime | None = None
    submitted_by: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    attempts: int = 0
    progress: JobProgress | None = None
    outcome: Mapping[str, Any] | None = None
    error: JobFailure | None = None
    history: tuple[JobAttempt, ...] = ()
    artefacts: tuple[JobArtefact, ...] = ()

    @property
    def has_ended(self) -> bool:
        """Whether nothing happens to it any more by itself."""
        return self.state in ENDED


@dataclass(frozen=True, slots=True)
class JobLogLine:
    """One line of a job's log."""

    at: datetime
    attempt: int
    line: str


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The values of one step; None for what is no finite number."""

    step: int
    values: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JobEvent:
    """Something that happened to a job, or that it told.

    `kind` is `job` (how it is now: see `job`), `state`, `metrics`, `log`, `checkpoint`, `artefact`,
    `end`, or `alive` when nothing happened for a while. `sequence` is 0 for what is not kept.
    """

    kind: str
    sequence: int = 0
    data: Mapping[str, Any] = field(default_factory=dict)
    job: JobRecord | None = None

    @property
    def lines(self) -> list[str]:
        """The lines of a `log`."""
        return [str(line) for _, line in self.data.get("lines", ())]

    @property
    def points(self) -> list[CurvePoint]:
        """The points of `metrics`."""
        return [CurvePoint(step, values) for step, values in self.data.get("points", ())]
