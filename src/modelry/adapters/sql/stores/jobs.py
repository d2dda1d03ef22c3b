"""The jobs' store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from sqlalchemy import ColumnElement, Select, and_, delete, exists, func, or_, select, tuple_
from sqlalchemy.orm import Session, aliased

from modelry.adapters.sql.stores import job_rows as rows
from modelry.adapters.sql.tables import (
    BlobRow,
    JobArtefactRow,
    JobAttemptRow,
    JobCheckpointRow,
    JobDependencyRow,
    JobEventRow,
    JobLeaseRow,
    JobRow,
    TenantRow,
)
from modelry.adapters.sql.transactions import Transactions
from modelry.domain.access import TenantState
from modelry.domain.jobs import (
    ENDED,
    Artefact,
    Attempt,
    Checkpoint,
    EventKind,
    Job,
    JobEvent,
    JobState,
    Lease,
)
from modelry.services.jobs.ports import JobFilter, JobRecords

T = TypeVar("T")


class SqlJobStore:
    """Implements `JobStore`."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def read(self, tenant_id: str, work: Callable[[JobRecords], T]) -> T:
        """See `JobStore.read`."""
        return self._transactions.read(tenant_id, lambda session: work(SqlJobRecords(session)))

    def write(self, tenant_id: str, work: Callable[[JobRecords], T]) -> T:
        """See `JobStore.write`."""
        return self._transactions.write(tenant_id, lambda session: work(SqlJobRecords(session)))

    def read_all(self, purpose: str, work: Callable[[JobRecords], T]) -> T:
        """See `JobStore.read_all`."""
        return self._transactions.read_all_tenants(
            purpose, lambda session: work(SqlJobRecords(session))
        )

    def write_all(self, purpose: str, work: Callable[[JobRecords], T]) -> T:
        """See `JobStore.write_all`."""
        return self._transactions.write_all_tenants(
            purpose, lambda session: work(SqlJobRecords(session))
        )


class SqlJobRecords:
    """Implements `JobRecords`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def find(self, tenant_id: str, job_id: str) -> Job | None:
        """See `JobRecords.find`."""
        found = self._session.scalars(
            select(JobRow).where(JobRow.tenant_id == tenant_id, JobRow.job_id == job_id)
        ).one_or_none()
        return None if found is None else self._with_dependencies([found])[0]

    def add(self, job: Job) -> None:
        """See `JobRecords.add`."""
        self._session.add(rows.job_row(job))
        self._session.flush()
        self._session.add_all(rows.dependency_rows(job))
        self._session.flush()

    def put(self, job: Job) -> None:
        """See `JobRecords.put`."""
        row = self._session.get_one(JobRow, (job.tenant_id, job.job_id))
        for name, value in rows.changing(job).items():
            if getattr(row, name) != value:
                setattr(row, name, value)
        self._session.flush()

    def list(
        self, tenant_id: str, wanted: JobFilter, before: str | None, limit: int
    ) -> Sequence[Job]:
        """See `JobRecords.list`."""
        query = select(JobRow).where(JobRow.tenant_id == tenant_id)
        if wanted.kinds:
            query = query.where(JobRow.kind.in_(wanted.kinds))
        if wanted.states:
            query = query.where(JobRow.state.in_([one.value for one in wanted.states]))
        if wanted.name is not None:
            query = query.where(JobRow.name == wanted.name)
        if before is not None:
            last = self._session.get_one(JobRow, (tenant_id, before))
            here = tuple_(JobRow.submitted_at, JobRow.job_id)
            query = query.where(here < tuple_(last.submitted_at, last.job_id))
        query = query.order_by(JobRow.submitted_at.desc(), JobRow.job_id.desc()).limit(limit)
        return self._with_dependencies(self._session.scalars(query).all())

    def count(self, tenant_id: str, states: Collection[JobState]) -> int:
        """See `JobRecords.count`."""
        query = select(func.count(JobRow.job_id)).where(
            JobRow.tenant_id == tenant_id, JobRow.state.in_([one.value for one in states])
        )
        return int(self._session.scalar(query) or 0)

    def dependants(self, tenant_id: str, job_id: str) -> Sequence[Job]:
        """See `JobRecords.dependants`."""
        query = (
            select(JobRow)
            .where(
                JobRow.tenant_id == tenant_id,
                exists().where(
                    JobDependencyRow.tenant_id == JobRow.tenant_id,
                    JobDependencyRow.job_id == JobRow.job_id,
                    JobDependencyRow.after_id == job_id,
                ),
            )
            .order_by(JobRow.submitted_at, JobRow.job_id)
        )
        return self._with_dependencies(self._session.scalars(query).all())

    def _with_dependencies(self, found: Sequence[JobRow]) -> Sequence[Job]:
        if not found:
            return []
        query = (
            select(JobDependencyRow)
            .where(
                JobDependencyRow.tenant_id == found[0].tenant_id,
                JobDependencyRow.job_id.in_([one.job_id for one in found]),
            )
            .order_by(JobDependencyRow.position)
        )
        after: dict[str, list[str]] = defaultdict(list)
        for row in self._session.scalars(query):
            after[row.job_id].append(row.after_id)
        return [rows.job(one, after[one.job_id]) for one in found]

    # ---- the queue --------------------------------------------------------------------------

    def waiting(self, kinds: Collection[str], now: datetime) -> Mapping[str, datetime]:
        """See `JobRecords.waiting`."""
        active = exists().where(
            TenantRow.tenant_id == JobRow.tenant_id, TenantRow.state == TenantState.ACTIVE.value
        )
        query = (
            select(JobRow.tenant_id, func.min(JobRow.submitted_at))
            .where(*_can_begin(kinds, now), active)
            .group_by(JobRow.tenant_id)
        )
        return {row[0]: row[1] for row in self._session.execute(query)}

    def first_waiting(self, tenant_id: str, kinds: Collection[str], now: datetime) -> Job | None:
        """See `JobRecords.first_waiting`."""
        query = (
            select(JobRow)
            .where(JobRow.tenant_id == tenant_id, *_can_begin(kinds, now))
            .order_by(JobRow.priority.desc(), JobRow.submitted_at, JobRow.job_id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        found = self._session.scalars(query).one_or_none()
        return None if found is None else self._with_dependencies([found])[0]

    def running(self, kinds: Collection[str]) -> Mapping[str, int]:
        """See `JobRecords.running`."""
        query = (
            select(JobLeaseRow.tenant_id, func.count())
            .join(
                JobRow,
                and_(
                    JobRow.tenant_id == JobLeaseRow.tenant_id,
                    JobRow.job_id == JobLeaseRow.job_id,
                ),
            )
            .where(JobRow.kind.in_(kinds))
            .group_by(JobLeaseRow.tenant_id)
        )
        return {row[0]: int(row[1]) for row in self._session.execute(query)}

    def served(self, tenant_ids: Collection[str]) -> Mapping[str, datetime]:
        """See `JobRecords.served`."""
        query = (
            select(JobAttemptRow.tenant_id, func.max(JobAttemptRow.started_at))
            .where(JobAttemptRow.tenant_id.in_(tenant_ids))
            .group_by(JobAttemptRow.tenant_id)
        )
        return {row[0]: row[1] for row in self._session.execute(query)}

    def lease(self, tenant_id: str, job_id: str) -> Lease | None:
        """See `JobRecords.lease`."""
        row = self._session.get(JobLeaseRow, (tenant_id, job_id))
        return None if row is None else rows.lease(row)

    def put_lease(self, lease: Lease) -> None:
        """See `JobRecords.put_lease`."""
        self._session.merge(rows.lease_row(lease))
        self._session.flush()

    def delete_lease(self, tenant_id: str, job_id: str) -> None:
        """See `JobRecords.delete_lease`."""
        row = self._session.get(JobLeaseRow, (tenant_id, job_id))
        if row is not None:
            self._session.delete(row)
            self._session.flush()

    def leases_of(self, server_id: str) -> Sequence[Lease]:
        """See `JobRecords.leases_of`."""
        return self._leases(select(JobLeaseRow).where(JobLeaseRow.server_id == server_id))

    def expired(self, now: datetime) -> Sequence[Lease]:
        """See `JobRecords.expired`."""
        return self._leases(select(JobLeaseRow).where(JobLeaseRow.expires_at <= now))

    def _leases(self, query: Select[JobLeaseRow]) -> Sequence[Lease]:
        ordered = query.order_by(JobLeaseRow.tenant_id, JobLeaseRow.job_id)
        return [rows.lease(row) for row in self._session.scalars(ordered)]

    # ---- what jobs tell ---------------------------------------------------------------------

    def put_attempt(self, attempt: Attempt) -> None:
        """See `JobRecords.put_attempt`."""
        self._session.merge(rows.attempt_row(attempt))
        self._session.flush()

    def attempt(self, tenant_id: str, job_id: str, number: int) -> Attempt | None:
        """See `JobRecords.attempt`."""
        row = self._session.get(JobAttemptRow, (tenant_id, job_id, number))
        return None if row is None else rows.attempt(row)

    def attempts(self, tenant_id: str, job_id: str) -> Sequence[Attempt]:
        """See `JobRecords.attempts`."""
        query = (
            select(JobAttemptRow)
            .where(JobAttemptRow.tenant_id == tenant_id, JobAttemptRow.job_id == job_id)
            .order_by(JobAttemptRow.number)
        )
        return [rows.attempt(row) for row in self._session.scalars(query)]

    def unmetered(self, limit: int) -> Sequence[Attempt]:
        """See `JobRecords.unmetered`."""
        query = (
            select(JobAttemptRow)
            .where(JobAttemptRow.is_metered.is_(False), JobAttemptRow.ended_at.is_not(None))
            .order_by(JobAttemptRow.ended_at, JobAttemptRow.job_id, JobAttemptRow.number)
            .limit(limit)
        )
        return [rows.attempt(row) for row in self._session.scalars(query)]

    def add_events(self, tenant_id: str, job_id: str, events: Sequence[JobEvent]) -> None:
        """See `JobRecords.add_events`."""
        self._session.add_all(rows.event_row(tenant_id, job_id, one) for one in events)
        self._session.flush()

    def events(
        self,
        tenant_id: str,
        job_id: str,
        *,
        after: int,
        kinds: Collection[EventKind],
        limit: int,
    ) -> Sequence[JobEvent]:
        """See `JobRecords.events`."""
        query = (
            select(JobEventRow)
            .where(
                JobEventRow.tenant_id == tenant_id,
                JobEventRow.job_id == job_id,
                JobEventRow.sequence > after,
                JobEventRow.kind.in_([one.value for one in kinds]),
            )
            .order_by(JobEventRow.sequence)
            .limit(limit)
        )
        return [rows.event(row) for row in self._session.scalars(query)]

    def has_content(self, tenant_id: str, digest: str) -> bool:
        """See `JobRecords.has_content`."""
        return self._session.get(BlobRow, (tenant_id, digest)) is not None

    def put_checkpoint(self, tenant_id: str, job_id: str, checkpoint: Checkpoint) -> str | None:
        """See `JobRecords.put_checkpoint`."""
        row = self._session.get(JobCheckpointRow, (tenant_id, job_id))
        before = None if row is None else row.digest
        self._session.merge(rows.checkpoint_row(tenant_id, job_id, checkpoint))
        self._session.flush()
        return before if before != checkpoint.digest else None

    def checkpoint(self, tenant_id: str, job_id: str) -> Checkpoint | None:
        """See `JobRecords.checkpoint`."""
        row = self._session.get(JobCheckpointRow, (tenant_id, job_id))
        return None if row is None else rows.checkpoint(row)

    def delete_checkpoint(self, tenant_id: str, job_id: str) -> str | None:
        """See `JobRecords.delete_checkpoint`."""
        row = self._session.get(JobCheckpointRow, (tenant_id, job_id))
        if row is None:
            return None
        self._session.delete(row)
        self._session.flush()
        return row.digest

    def put_artefact(self, tenant_id: str, job_id: str, artefact: Artefact) -> None:
        """See `JobRecords.put_artefact`."""
        self._session.merge(rows.artefact_row(tenant_id, job_id, artefact))
        self._session.flush()

    def artefacts(self, tenant_id: str, job_id: str) -> Sequence[Artefact]:
        """See `JobRecords.artefacts`."""
        query = (
            select(JobArtefactRow)
            .where(JobArtefactRow.tenant_id == tenant_id, JobArtefactRow.job_id == job_id)
            .order_by(JobArtefactRow.name)
        )
        return [rows.artefact(row) for row in self._session.scalars(query)]

    def delete_ended(self, tenant_id: str, before: datetime, limit: int) -> int:
        """See `JobRecords.delete_ended`."""
        later = aliased(JobRow)
        needed = exists().where(
            JobDependencyRow.tenant_id == JobRow.tenant_id,
            JobDependencyRow.after_id == JobRow.job_id,
            later.tenant_id == JobDependencyRow.tenant_id,
            later.job_id == JobDependencyRow.job_id,
            or_(later.ended_at.is_(None), later.ended_at >= before),
        )
        query = (
            select(JobRow.job_id)
            .where(
                JobRow.tenant_id == tenant_id,
                JobRow.state.in_([one.value for one in ENDED]),
                JobRow.ended_at < before,
                ~needed,
            )
            .order_by(JobRow.ended_at)
            .limit(limit)
        )
        ids = self._session.scalars(query).all()
        if not ids:
            return 0
        self._session.execute(
            delete(JobDependencyRow).where(
                JobDependencyRow.tenant_id == tenant_id,
                or_(JobDependencyRow.job_id.in_(ids), JobDependencyRow.after_id.in_(ids)),
            )
        )
        self._session.execute(
            delete(JobRow).where(JobRow.tenant_id == tenant_id, JobRow.job_id.in_(ids))
        )
        return len(ids)


def _can_begin(kinds: Collection[str], now: datetime) -> list[ColumnElement[bool]]:
    """Queued, due, of one of `kinds`, and all that it depends on has succeeded."""
    before = aliased(JobRow)
    blocked = exists().where(
        JobDependencyRow.tenant_id == JobRow.tenant_id,
        JobDependencyRow.job_id == JobRow.job_id,
        and_(
            before.tenant_id == JobDependencyRow.tenant_id,
            before.job_id == JobDependencyRow.after_id,
        ),
        before.state != JobState.SUCCEEDED.value,
    )
    return [
        JobRow.state == JobState.QUEUED.value,
        JobRow.kind.in_(kinds),
        or_(JobRow.not_before.is_(None), JobRow.not_before <= now),
        ~blocked,
    ]
