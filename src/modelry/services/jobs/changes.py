"""Changes of a job and what follows from them, within one transaction."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from modelry.domain.errors import WorkFailed
from modelry.domain.jobs import (
    ENDED,
    MAX_LOSSES,
    AttemptOutcome,
    EventKind,
    Job,
    JobAct,
    JobError,
    JobEvent,
    JobState,
    Lease,
)
from modelry.services.jobs.ports import JobRecords

log = logging.getLogger(__name__)

Event = tuple[EventKind, datetime, Mapping[str, Any]]

_OUTCOMES = {
    JobAct.SUCCEED: AttemptOutcome.SUCCEEDED,
    JobAct.FAIL: AttemptOutcome.FAILED,
    JobAct.RETRY: AttemptOutcome.FAILED,
    JobAct.CANCEL: AttemptOutcome.CANCELLED,
    JobAct.PAUSE: AttemptOutcome.PAUSED,
    JobAct.RELEASE: AttemptOutcome.RELEASED,
}
_HOPELESS = frozenset({JobState.FAILED, JobState.CANCELLED})


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt ends.

    Attributes:
        act: what happens to the job.
        at: when.
        error: why, if it failed.
        changes: other attributes of the job that change with it.
        outcome: of the attempt, if it is not what `act` says.
    """

    act: JobAct
    at: datetime
    error: JobError | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    outcome: AttemptOutcome | None = None


def end_attempt(records: JobRecords, job: Job, ending: Ending) -> str | None:
    """End the attempt under way.

    Returns:
        The digest of a checkpoint that is needed no more, if there is one.
    """
    attempt = records.attempt(job.tenant_id, job.job_id, job.attempts)
    if attempt is not None:
        outcome = ending.outcome or _OUTCOMES[ending.act]
        ended = replace(attempt, ended_at=ending.at, outcome=outcome, error=ending.error)
        records.put_attempt(ended)
    records.delete_lease(job.tenant_id, job.job_id)
    changes = dict(ending.changes)
    if ending.act is JobAct.FAIL:
        changes["error"] = ending.error
    moved = job.after(ending.act, ending.at, **changes)
    return settle(records, put_with_state(records, moved, ending.at, ending.error), ending.at)


def lose_attempt(records: JobRecords, lease: Lease, now: datetime) -> None:
    """End an attempt whose server has gone: another one goes on, unless that happens all the time
    or something else is wanted of the job.
    """
    job = records.find(lease.tenant_id, lease.job_id)
    if job is None:
        records.delete_lease(lease.tenant_id, lease.job_id)
        return
    log.info("attempt %d at job %s was lost", lease.token, lease.job_id)
    losses = job.losses + 1
    act, error = JobAct.RELEASE, None
    if job.request is not None:
        act = JobAct(job.request)
    elif losses > MAX_LOSSES:
        act, error = JobAct.FAIL, _worn_out(losses)
    end_attempt(records, job, Ending(act, now, error, {"losses": losses}, AttemptOutcome.LOST))


def settle(records: JobRecords, job: Job, now: datetime) -> str | None:
    """Do what follows from a job's end: its dependants cannot begin any more if it did not
    succeed, and nobody goes on from its checkpoint unless it failed.

    Returns:
        The digest of the checkpoint that is needed no more, if there is one.
    """
    if job.state not in ENDED:
        return None
    if job.state is not JobState.SUCCEEDED:
        _cancel_dependants(records, job, now)
    if job.state is JobState.FAILED:
        return None
    return records.delete_checkpoint(job.tenant_id, job.job_id)


def _cancel_dependants(records: JobRecords, job: Job, now: datetime) -> None:
    """Cancel all that depends on a job, directly or not; each is queued or paused."""
    reasons = {job.job_id: f"Job '{job.job_id}', which it depends on, {_did(job.state)}."}
    ended = [job.job_id]
    while ended:
        cause = ended.pop()
        for one in records.dependants(job.tenant_id, cause):
            if not one.may(JobAct.CANCEL):
                continue
            error = JobError("cancelled", reasons[cause])
            put_with_state(records, one.after(JobAct.CANCEL, now, error=error), now, error)
            reasons[one.job_id] = (
                f"Job '{one.job_id}', which it depends on, was cancelled, because job "
                f"'{job.job_id}' {_did(job.state)}."
            )
            ended.append(one.job_id)


def revive_dependants(records: JobRecords, job: Job, now: datetime) -> None:
    """Put what was cancelled because `job` failed into the queue again, directly or not.

    What somebody cancelled stays so, and so does what depends on another job that has failed.
    """
    revived = [job.job_id]
    while revived:
        for one in records.dependants(job.tenant_id, revived.pop()):
            if one.state is not JobState.CANCELLED or one.error is None:
                continue
            before = [records.find(one.tenant_id, other) for other in one.dependencies]
            if any(other is None or other.state in _HOPELESS for other in before):
                continue
            put_with_state(records, one.after(JobAct.REVIVE, now), now)
            revived.append(one.job_id)


def _did(state: JobState) -> str:
    return "failed" if state is JobState.FAILED else "was cancelled"


def put_with_state(
    records: JobRecords, job: Job, now: datetime, error: JobError | None = None
) -> Job:
    """Keep a job whose state has changed, and tell that in its events."""
    data: dict[str, Any] = {"state": job.state.value}
    if error is not None:
        data["error"] = {"code": error.code, "message": error.message}
    if job.not_before is not None:
        data["not_before"] = job.not_before.isoformat()
    return append(records, job, [(EventKind.STATE, now, data)])


def append(records: JobRecords, job: Job, events: Sequence[Event]) -> Job:
    """Keep a job as it is now, and events of it."""
    made = [
        JobEvent(job.last_sequence + number, at, job.attempts, kind, data)
        for number, (kind, at, data) in enumerate(events, start=1)
    ]
    job = replace(job, last_sequence=job.last_sequence + len(made))
    records.put(job)
    records.add_events(job.tenant_id, job.job_id, made)
    return job


def _worn_out(losses: int) -> JobError:
    return JobError(
        WorkFailed.code,
        f"The server ended {losses} times while this job ran, without a checkpoint in between; "
        "most likely the job itself ends it, such as by taking all memory. Resume it to try again.",
    )
