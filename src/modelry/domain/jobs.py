"""Jobs: long work as a state machine.

    queued ──claim──▶ running ──succeed──▶ succeeded
      ▲ ▲               │ ├─────fail─────▶ failed ──resume──▶ queued
      │ └─retry/release─┘ ├────cancel────▶ cancelled
      └──────resume── paused ◀──pause──┘
      (cancelled for want of a job that it depends on ──revive──▶ queued)

`TRANSITIONS` is the one table of what can happen; `Job.after` is the one way to make it happen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from modelry.domain.errors import (
    AuditUnavailable,
    Conflict,
    DeadlineExceeded,
    KeyUnavailable,
    MemoryExhausted,
    ModelNotReady,
    ModelryError,
    Overloaded,
    ReplicaLost,
    ScratchExhausted,
    SourceUnavailable,
    WorkFailed,
)
from modelry.domain.usage import NO_COMPUTE, Compute

DEFAULT_RETRIES = 3
MAX_RETRIES = 100
MAX_PRIORITY = 100
MAX_DEPENDENCIES = 64
MAX_LOSSES = 10
"""How often in a row, without a checkpoint in between, a server may end under a job: beyond that it
is taken that the job itself ends it.
"""
FIRST_PAUSE_S = 2.0
LONGEST_PAUSE_S = 300.0
"""Before another attempt, doubled with each failure in a row."""


class JobState(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})
"""A job in one of these does nothing any more by itself; only a failed one can be resumed."""


class JobAct(StrEnum):
    """What can happen to a job."""

    CLAIM = "claim"
    """An attempt begins."""
    SUCCEED = "succeed"
    FAIL = "fail"
    RETRY = "retry"
    """An attempt failed; there will be another one."""
    RELEASE = "release"
    """The server ended, or lost the job; another attempt goes on with it."""
    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"
    REVIVE = "revive"
    """What it depends on, and was cancelled for, is tried again."""


TRANSITIONS: Mapping[tuple[JobState, JobAct], JobState] = {
    (JobState.QUEUED, JobAct.CLAIM): JobState.RUNNING,
    (JobState.QUEUED, JobAct.CANCEL): JobState.CANCELLED,
    (JobState.QUEUED, JobAct.PAUSE): JobState.PAUSED,
    (JobState.RUNNING, JobAct.SUCCEED): JobState.SUCCEEDED,
    (JobState.RUNNING, JobAct.FAIL): JobState.FAILED,
    (JobState.RUNNING, JobAct.RETRY): JobState.QUEUED,
    (JobState.RUNNING, JobAct.RELEASE): JobState.QUEUED,
    (JobState.RUNNING, JobAct.CANCEL): JobState.CANCELLED,
    (JobState.RUNNING, JobAct.PAUSE): JobState.PAUSED,
    (JobState.PAUSED, JobAct.RESUME): JobState.QUEUED,
    (JobState.PAUSED, JobAct.CANCEL): JobState.CANCELLED,
    (JobState.FAILED, JobAct.RESUME): JobState.QUEUED,
    (JobState.CANCELLED, JobAct.REVIVE): JobState.QUEUED,
}
"""Every change of state that there is. The acts of a running job end its attempt."""


class JobRequest(StrEnum):
    """What somebody wants of a running job; it happens when its attempt has ended."""

    CANCEL = "cancel"
    PAUSE = "pause"


class AttemptOutcome(StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PAUSED = "paused"
    RELEASED = "released"
    """The server ended in an orderly way."""
    LOST = "lost"
    """The server was killed, or did not renew its lease."""


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job, or an attempt, failed: a code of the error tree, and words."""

    code: str
    message: str

    @classmethod
    def of(cls, error: ModelryError) -> JobError:
        """What `error` tells."""
        return cls(error.code, error.message)


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How far a job is in its current phase; `total` None while unknown.

    `since` and `since_done` are when this phase was first told, and how far it was then: what is
    left is estimated from them.
    """

    done: int
    total: int | None
    unit: str
    phase: str
    at: datetime
    since: datetime
    since_done: int = 0

    def left_s(self) -> float | None:
        """Seconds that are left of this phase at the speed so far; None while that is unknown."""
        gone_s = (self.at - self.since).total_seconds()
        made = self.done - self.since_done
        if self.total is None or made <= 0 or gone_s <= 0:
            return None
        return max(0, self.total - self.done) * gone_s / made


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it is kept.

    Attributes:
        parameters: what its handler's `check` gave.
        priority: -100 to 100; within a tenant the highest goes first.
        retries: how many failures in a row that another attempt could mend are tried again.
        dependencies: ids of jobs that must succeed before it begins.
        not_before: it is not begun before.
        submitted_by: the key or member in whose name it runs.
        attempts: how many began; the number of the current one is its fencing token.
        failures: in a row, since the last checkpoint.
        losses: servers lost in a row, since the last checkpoint.
        request: what somebody wants of it while it runs.
        outcome: what its handler gave.
        last_sequence: of its events.
    """

    tenant_id: str
    job_id: str
    kind: str
    parameters: Mapping[str, Any]
    submitted_at: datetime
    submitted_by: str
    name: str = ""
    state: JobState = JobState.QUEUED
    priority: int = 0
    retries: int = DEFAULT_RETRIES
    dependencies: tuple[str, ...] = ()
    not_before: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    attempts: int = 0
    failures: int = 0
    losses: int = 0
    request: JobRequest | None = None
    progress: JobProgress | None = None
    outcome: Mapping[str, Any] | None = None
    error: JobError | None = None
    last_sequence: int = 0

    @property
    def has_ended(self) -> bool:
        """Whether nothing happens to it any more by itself."""
        return self.state in ENDED

    def may(self, act: JobAct) -> bool:
        """Whether `act` can happen to it now."""
        return (self.state, act) in TRANSITIONS

    def after(self, act: JobAct, at: datetime, **changes: Any) -> Job:
        """The job once `act` happened at `at`.

        Args:
            act: what happened.
            at: when.
            changes: other attributes that change with it.

        Raises:
            Conflict: it cannot happen in the state that the job is in.
        """
        state = TRANSITIONS.get((self.state, act))
        if state is None:
            raise Conflict(
                f"Job '{self.job_id}' is {self.state}; {_possible(act)}.", param="job_id"
            )
        implied: dict[str, Any] = {"state": state, "request": None}
        if act is JobAct.CLAIM:
            implied |= {
                "attempts": self.attempts + 1,
                "started_at": self.started_at or at,
                "not_before": None,
            }
        if act in (JobAct.RESUME, JobAct.REVIVE):
            implied |= {"error": None, "ended_at": None, "failures": 0, "losses": 0}
        if state in ENDED:
            implied["ended_at"] = at
        return replace(self, **implied | changes)


def _possible(act: JobAct) -> str:
    states = " or ".join(sorted(state for state, one in TRANSITIONS if one is act))
    return f"it takes a job that is {states} to {act} it"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a job, by one server.

    `compute` is what its processes used so far; once it has ended that goes into the ledger of
    usage, and `is_metered` says that it is there.
    """

    tenant_id: str
    job_id: str
    number: int
    server_id: str
    started_at: datetime
    ended_at: datetime | None = None
    outcome: AttemptOutcome | None = None
    error: JobError | None = None
    compute: Compute = NO_COMPUTE
    is_metered: bool = False


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on a job until `expires_at`; `token` is the attempt's number.

    Whoever writes for the job shows the token: another attempt has a higher one, and the writes
    of the one before are refused from then on, whatever the clocks say.
    """

    tenant_id: str
    job_id: str
    token: int
    server_id: str
    expires_at: datetime


class EventKind(StrEnum):
    """What a job's event tells."""

    STATE = "state"
    METRICS = "metrics"
    LOG = "log"
    CHECKPOINT = "checkpoint"
    ARTEFACT = "artefact"


@dataclass(frozen=True, slots=True)
class JobEvent:
    """Something that a job told, or that happened to it; one event may hold many lines or points.

    `sequence` counts from 1 for each job. `attempt` is 0 where none was under way.
    """

    sequence: int
    at: datetime
    attempt: int
    kind: EventKind
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A content from which another attempt can go on."""

    step: int
    digest: str
    size_bytes: int
    attempt: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Artefact:
    """A content that is kept with a job under a name."""

    name: str
    digest: str
    size_bytes: int
    at: datetime


_RETRYABLE = (
    AuditUnavailable,
    DeadlineExceeded,
    KeyUnavailable,
    ModelNotReady,
    Overloaded,
    ReplicaLost,
    SourceUnavailable,
    WorkFailed,
)


_FINAL = (MemoryExhausted, ScratchExhausted)
"""What would come again: the same work needs the same room."""


def is_retryable(error: ModelryError) -> bool:
    """Whether another attempt may end otherwise: by kind, or because the error says when."""
    if isinstance(error, _FINAL):
        return False
    return isinstance(error, _RETRYABLE) or error.retry_after_s is not None


def pause_s(failures: int, asked_s: float | None = None) -> float:
    """Seconds to wait before the attempt after `failures` failures in a row.

    Args:
        failures: at least 1.
        asked_s: what the error asked for.
    """
    grown = FIRST_PAUSE_S * 2.0 ** min(failures - 1, 16)
    return min(max(grown, asked_s or 0.0), LONGEST_PAUSE_S)
