"""What an attempt at a job writes, and how it ends: only if its token is still the lease's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from modelry.domain.errors import LeaseLost, NotFound
from modelry.domain.jobs import (
    Artefact,
    Checkpoint,
    EventKind,
    Job,
    JobAct,
    JobError,
    JobProgress,
    JobRequest,
    Lease,
    pause_s,
)
from modelry.domain.usage import NO_COMPUTE, Compute
from modelry.services.jobs.changes import Ending, Event, append, end_attempt, lose_attempt
from modelry.services.jobs.ports import JobRecords, JobStore

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Told:
    """What an attempt told since it was last written down."""

    progress: JobProgress | None = None
    events: Sequence[Event] = ()
    compute: Compute = NO_COMPUTE


class Attempts:
    """Writes for attempts; may be used from any thread.

    Args:
        store: keeps jobs.
        clock: gives the time.
    """

    def __init__(
        self, store: JobStore, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._store = store
        self._clock = clock

    def tell(self, lease: Lease, told: Told) -> None:
        """Keep what an attempt told.

        Raises:
            LeaseLost: another attempt has begun.
        """
        self._write(lease, lambda records, job, _: _keep(records, job, told))

    def save_checkpoint(
        self, lease: Lease, step: int, digest: str, size_bytes: int, told: Told
    ) -> str | None:
        """Keep a checkpoint; the digest of the content that it replaces, if there was another.

        Raises:
            LeaseLost: another attempt has begun.
            NotFound: the tenant has no such content.
        """

        def work(records: JobRecords, job: Job, now: datetime) -> str | None:
            _check_content(records, job, digest)
            made = Checkpoint(step, digest, size_bytes, lease.token, now)
            before = records.put_checkpoint(job.tenant_id, job.job_id, made)
            data = {"step": step, "digest": digest, "size_bytes": size_bytes}
            job = replace(job, failures=0, losses=0)
            _keep(records, job, _with(told, EventKind.CHECKPOINT, now, data))
            return before

        return self._write(lease, work)

    def save_artefact(
        self, lease: Lease, name: str, digest: str, size_bytes: int, told: Told
    ) -> None:
        """Keep an artefact.

        Raises:
            LeaseLost: another attempt has begun.
            NotFound: the tenant has no such content.
        """

        def work(records: JobRecords, job: Job, now: datetime) -> None:
            _check_content(records, job, digest)
            records.put_artefact(job.tenant_id, job.job_id, Artefact(name, digest, size_bytes, now))
            data = {"name": name, "digest": digest, "size_bytes": size_bytes}
            _keep(records, job, _with(told, EventKind.ARTEFACT, now, data))

        self._write(lease, work)

    def checkpoint(self, lease: Lease) -> Checkpoint | None:
        """The last checkpoint, of any attempt."""
        place = (lease.tenant_id, lease.job_id)
        return self._store.read(lease.tenant_id, lambda records: records.checkpoint(*place))

    # ---- how an attempt ends ----------------------------------------------------------------

    def succeed(self, lease: Lease, outcome: Mapping[str, Any], told: Told) -> str | None:
        """The job is done; the digest of the checkpoint that it needs no more, if there is one.

        Raises:
            LeaseLost: another attempt has begun.
        """

        def work(records: JobRecords, job: Job, now: datetime) -> str | None:
            job = _keep(records, job, told)
            return end_attempt(
                records,
                job,
                Ending(JobAct.SUCCEED, now, changes={"outcome": outcome, "error": None}),
            )

        return self._write(lease, work)

    def fail(
        self,
        lease: Lease,
        error: JobError,
        told: Told,
        *,
        retryable: bool = False,
        asked_s: float | None = None,
    ) -> None:
        """The attempt failed; there is another one if that may help and retries are left.

        Raises:
            LeaseLost: another attempt has begun.
        """

        def work(records: JobRecords, job: Job, now: datetime) -> None:
            job = _keep(records, job, told)
            failures = job.failures + 1
            changes: dict[str, Any] = {"failures": failures}
            if job.request is JobRequest.CANCEL or (job.request is not None and retryable):
                act = JobAct(job.request)
            elif retryable and failures <= job.retries:
                act = JobAct.RETRY
                changes["not_before"] = now + timedelta(seconds=pause_s(failures, asked_s))
            else:
                act = JobAct.FAIL
            end_attempt(records, job, Ending(act, now, error, changes))

        self._write(lease, work)

    def stopped(self, lease: Lease, told: Told, *, in_order: bool) -> str | None:
        """The attempt ended early, as it was asked to; the job is what was wanted of it.

        Where nothing was wanted of it, it goes back to the queue.

        Args:
            lease: of the attempt.
            told: what it told last.
            in_order: whether the server ends; else it counts as lost.

        Returns:
            The digest of the checkpoint that the job needs no more, if there is one.

        Raises:
            LeaseLost: another attempt has begun.
        """

        def work(records: JobRecords, job: Job, now: datetime) -> str | None:
            job = _keep(records, job, told)
            if job.request is None and not in_order:
                lose_attempt(records, lease, now)
                return None
            act = JobAct.RELEASE if job.request is None else JobAct(job.request)
            return end_attempt(records, job, Ending(act, now))

        return self._write(lease, work)

    # ---- inside -----------------------------------------------------------------------------

    def _write(self, lease: Lease, work: Callable[[JobRecords, Job, datetime], T]) -> T:
        def fenced(records: JobRecords) -> T:
            known = records.lease(lease.tenant_id, lease.job_id)
            job = records.find(lease.tenant_id, lease.job_id)
            if known is None or known.token != lease.token or job is None:
                raise LeaseLost(
                    f"Another attempt at job '{lease.job_id}' has begun, or it was taken back; "
                    f"attempt {lease.token} may write nothing more."
                )
            return work(records, job, self._clock())

        return self._store.write(lease.tenant_id, fenced)


def _keep(records: JobRecords, job: Job, told: Told) -> Job:
    if told.progress is not None:
        job = replace(job, progress=told.progress)
    if told.compute:
        attempt = records.attempt(job.tenant_id, job.job_id, job.attempts)
        if attempt is not None:
            records.put_attempt(replace(attempt, compute=attempt.compute + told.compute))
    return append(records, job, told.events)


def _with(told: Told, kind: EventKind, at: datetime, data: Mapping[str, Any]) -> Told:
    return replace(told, events=[*told.events, (kind, at, data)])


def _check_content(records: JobRecords, job: Job, digest: str) -> None:
    if not records.has_content(job.tenant_id, digest):
        raise NotFound(
            f"The tenant has no content '{digest[:80]}'; keep it before a job refers to it.",
            param="digest",
        )
