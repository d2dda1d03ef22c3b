"""Jobs from rows and rows from jobs, both ways in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from modelry.adapters.sql.tables import (
    JobArtefactRow,
    JobAttemptRow,
    JobCheckpointRow,
    JobDependencyRow,
    JobEventRow,
    JobLeaseRow,
    JobRow,
)
from modelry.domain.jobs import (
    Artefact,
    Attempt,
    AttemptOutcome,
    Checkpoint,
    EventKind,
    Job,
    JobError,
    JobEvent,
    JobProgress,
    JobRequest,
    JobState,
    Lease,
)
from modelry.domain.usage import Compute


def job(row: JobRow, dependencies: Sequence[str]) -> Job:
    """A job."""
    return Job(
        tenant_id=row.tenant_id,
        job_id=row.job_id,
        kind=row.kind,
        parameters=dict(row.parameters),
        submitted_at=row.submitted_at,
        submitted_by=row.submitted_by,
        name=row.name,
        state=JobState(row.state),
        priority=row.priority,
        retries=row.retries,
        dependencies=tuple(dependencies),
        not_before=row.not_before,
        started_at=row.started_at,
        ended_at=row.ended_at,
        attempts=row.attempts,
        failures=row.failures,
        losses=row.losses,
        request=None if row.request is None else JobRequest(row.request),
        progress=None if row.progress is None else _progress(row.progress),
        outcome=None if row.outcome is None else dict(row.outcome),
        error=_error(row.error_code, row.error_message),
        last_sequence=row.last_sequence,
    )


def changing(value: Job) -> Mapping[str, Any]:
    """The columns that change during a job's life."""
    return {
        "state": value.state.value,
        "not_before": value.not_before,
        "started_at": value.started_at,
        "ended_at": value.ended_at,
        "attempts": value.attempts,
        "failures": value.failures,
        "losses": value.losses,
        "request": None if value.request is None else value.request.value,
        "progress": None if value.progress is None else _progress_document(value.progress),
        "outcome": None if value.outcome is None else dict(value.outcome),
        "error_code": None if value.error is None else value.error.code,
        "error_message": None if value.error is None else value.error.message,
        "last_sequence": value.last_sequence,
    }


def job_row(value: Job) -> JobRow:
    """The row of a job."""
    return JobRow(
        tenant_id=value.tenant_id,
        job_id=value.job_id,
        kind=value.kind,
        name=value.name,
        parameters=dict(value.parameters),
        priority=value.priority,
        retries=value.retries,
        submitted_at=value.submitted_at,
        submitted_by=value.submitted_by,
        **changing(value),
    )


def dependency_rows(value: Job) -> list[JobDependencyRow]:
    """The rows of what a job depends on."""
    return [
        JobDependencyRow(
            tenant_id=value.tenant_id, job_id=value.job_id, after_id=after_id, position=position
        )
        for position, after_id in enumerate(value.dependencies)
    ]


def lease(row: JobLeaseRow) -> Lease:
    """A lease."""
    return Lease(row.tenant_id, row.job_id, row.token, row.server_id, row.expires_at)


def lease_row(value: Lease) -> JobLeaseRow:
    """The row of a lease."""
    return JobLeaseRow(**asdict(value))


def attempt(row: JobAttemptRow) -> Attempt:
    """An attempt."""
    return Attempt(
        row.tenant_id,
        row.job_id,
        row.number,
        row.server_id,
        row.started_at,
        row.ended_at,
        None if row.outcome is None else AttemptOutcome(row.outcome),
        _error(row.error_code, row.error_message),
        Compute(row.engine_us, row.cpu_us),
        row.is_metered,
    )


def attempt_row(value: Attempt) -> JobAttemptRow:
    """The row of an attempt."""
    return JobAttemptRow(
        tenant_id=value.tenant_id,
        job_id=value.job_id,
        number=value.number,
        server_id=value.server_id,
        started_at=value.started_at,
        ended_at=value.ended_at,
        outcome=None if value.outcome is None else value.outcome.value,
        error_code=None if value.error is None else value.error.code,
        error_message=None if value.error is None else value.error.message,
        engine_us=value.compute.engine_us,
        cpu_us=value.compute.cpu_us,
        is_metered=value.is_metered,
    )


def event(row: JobEventRow) -> JobEvent:
    """An event."""
    return JobEvent(row.sequence, row.at, row.attempt, EventKind(row.kind), dict(row.data))


def event_row(tenant_id: str, job_id: str, value: JobEvent) -> JobEventRow:
    """The row of an event."""
    return JobEventRow(
        tenant_id=tenant_id,
        job_id=job_id,
        sequence=value.sequence,
        at=value.at,
        attempt=value.attempt,
        kind=value.kind.value,
        data=dict(value.data),
    )


def checkpoint(row: JobCheckpointRow) -> Checkpoint:
    """A checkpoint."""
    return Checkpoint(row.step, row.digest, row.size_bytes, row.attempt, row.at)


def checkpoint_row(tenant_id: str, job_id: str, value: Checkpoint) -> JobCheckpointRow:
    """The row of a checkpoint."""
    return JobCheckpointRow(tenant_id=tenant_id, job_id=job_id, **asdict(value))


def artefact(row: JobArtefactRow) -> Artefact:
    """An artefact."""
    return Artefact(row.name, row.digest, row.size_bytes, row.at)


def artefact_row(tenant_id: str, job_id: str, value: Artefact) -> JobArtefactRow:
    """The row of an artefact."""
    return JobArtefactRow(tenant_id=tenant_id, job_id=job_id, **asdict(value))


def _error(code: str | None, message: str | None) -> JobError | None:
    return None if code is None else JobError(code, message or "")


def _progress(document: Mapping[str, Any]) -> JobProgress:
    moments = {name: datetime.fromisoformat(document[name]) for name in ("at", "since")}
    return JobProgress(**{**document, **moments})


def _progress_document(value: JobProgress) -> dict[str, Any]:
    return {**asdict(value), "at": value.at.isoformat(), "since": value.since.isoformat()}
