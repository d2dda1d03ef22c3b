"""Jobs in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from modelry.domain.access import TenantState as Life
from modelry.domain.jobs import (
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
from modelry.testing.memory_state import BrokenReference, TenantState

if TYPE_CHECKING:
    from modelry.testing.memory_database import MemoryDatabase

T = TypeVar("T")


class MemoryJobStore:
    """A `JobStore`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    def read(self, tenant_id: str, work: Callable[[JobRecords], T]) -> T:
        """See `JobStore.read`."""
        state = self._database.states().get(tenant_id, TenantState())
        return work(MemoryJobRecords({tenant_id: state}))

    def write(self, tenant_id: str, work: Callable[[JobRecords], T]) -> T:
        """See `JobStore.write`."""
        return self._database.transact(
            tenant_id, lambda state: work(MemoryJobRecords({tenant_id: state}))
        )

    def read_all(self, purpose: str, work: Callable[[JobRecords], T]) -> T:
        """See `JobStore.read_all`."""
        del purpose
        return work(MemoryJobRecords(self._database.states()))

    def write_all(self, purpose: str, work: Callable[[JobRecords], T]) -> T:
        """See `JobStore.write_all`."""
        del purpose
        return self._database.transact_all(lambda states: work(MemoryJobRecords(states)))


class MemoryJobRecords:
    """`JobRecords` on the states of some tenants."""

    def __init__(self, states: Mapping[str, TenantState]) -> None:
        self._states = states

    def _state(self, tenant_id: str) -> TenantState:
        return self._states.get(tenant_id, TenantState())

    def find(self, tenant_id: str, job_id: str) -> Job | None:
        """See `JobRecords.find`."""
        return self._state(tenant_id).jobs.get(job_id)

    def add(self, job: Job) -> None:
        """See `JobRecords.add`."""
        jobs = self._state(job.tenant_id).jobs
        if job.job_id in jobs or any(one not in jobs for one in job.dependencies):
            raise BrokenReference(f"job {job.job_id} is there, or comes after none")
        jobs[job.job_id] = job

    def put(self, job: Job) -> None:
        """See `JobRecords.put`."""
        jobs = self._state(job.tenant_id).jobs
        known = jobs[job.job_id]
        jobs[job.job_id] = replace(
            job,
            parameters=known.parameters,
            dependencies=known.dependencies,
            priority=known.priority,
            retries=known.retries,
        )

    def list(
        self, tenant_id: str, wanted: JobFilter, before: str | None, limit: int
    ) -> Sequence[Job]:
        """See `JobRecords.list`."""
        jobs = self._state(tenant_id).jobs
        last = None if before is None else _age(jobs[before])
        found = [
            one
            for one in jobs.values()
            if (not wanted.kinds or one.kind in wanted.kinds)
            and (not wanted.states or one.state in wanted.states)
            and wanted.name in (None, one.name)
            and (last is None or _age(one) < last)
        ]
        return sorted(found, key=_age, reverse=True)[:limit]

    def count(self, tenant_id: str, states: Collection[JobState]) -> int:
        """See `JobRecords.count`."""
        return sum(one.state in states for one in self._state(tenant_id).jobs.values())

    def dependants(self, tenant_id: str, job_id: str) -> Sequence[Job]:
        """See `JobRecords.dependants`."""
        jobs = self._state(tenant_id).jobs.values()
        return sorted((one for one in jobs if job_id in one.dependencies), key=_age)

    # ---- the queue --------------------------------------------------------------------------

    def waiting(self, kinds: Collection[str], now: datetime) -> Mapping[str, datetime]:
        """See `JobRecords.waiting`."""
        found: dict[str, datetime] = {}
        for tenant_id, state in self._states.items():
            if state.tenant is None or state.tenant.state is not Life.ACTIVE:
                continue
            since = [one.submitted_at for one in _can_begin(state, kinds, now)]
            if since:
                found[tenant_id] = min(since)
        return found

    def first_waiting(self, tenant_id: str, kinds: Collection[str], now: datetime) -> Job | None:
        """See `JobRecords.first_waiting`."""
        found = list(_can_begin(self._state(tenant_id), kinds, now))
        return min(found, key=lambda one: (-one.priority, *_age(one)), default=None)

    def running(self, kinds: Collection[str]) -> Mapping[str, int]:
        """See `JobRecords.running`."""
        counts = {
            name: sum(state.jobs[job_id].kind in kinds for job_id in state.leases)
            for name, state in self._states.items()
        }
        return {name: count for name, count in counts.items() if count}

    def served(self, tenant_ids: Collection[str]) -> Mapping[str, datetime]:
        """See `JobRecords.served`."""
        began = {
            name: [one.started_at for one in self._state(name).attempts.values()]
            for name in tenant_ids
        }
        return {name: max(moments) for name, moments in began.items() if moments}

    def lease(self, tenant_id: str, job_id: str) -> Lease | None:
        """See `JobRecords.lease`."""
        return self._state(tenant_id).leases.get(job_id)

    def put_lease(self, lease: Lease) -> None:
        """See `JobRecords.put_lease`."""
        self._state(lease.tenant_id).leases[lease.job_id] = lease

    def delete_lease(self, tenant_id: str, job_id: str) -> None:
        """See `JobRecords.delete_lease`."""
        self._state(tenant_id).leases.pop(job_id, None)

    def leases_of(self, server_id: str) -> Sequence[Lease]:
        """See `JobRecords.leases_of`."""
        return [one for one in self._leases() if one.server_id == server_id]

    def expired(self, now: datetime) -> Sequence[Lease]:
        """See `JobRecords.expired`."""
        return [one for one in self._leases() if one.expires_at <= now]

    def _leases(self) -> Iterator[Lease]:
        for _, state in sorted(self._states.items()):
            yield from (one for _, one in sorted(state.leases.items()))

    # ---- what jobs tell ---------------------------------------------------------------------

    def put_attempt(self, attempt: Attempt) -> None:
        """See `JobRecords.put_attempt`."""
        self._state(attempt.tenant_id).attempts[attempt.job_id, attempt.number] = attempt

    def attempt(self, tenant_id: str, job_id: str, number: int) -> Attempt | None:
        """See `JobRecords.attempt`."""
        return self._state(tenant_id).attempts.get((job_id, number))

    def attempts(self, tenant_id: str, job_id: str) -> Sequence[Attempt]:
        """See `JobRecords.attempts`."""
        found = self._state(tenant_id).attempts.values()
        return sorted((one for one in found if one.job_id == job_id), key=lambda one: one.number)

    def unmetered(self, limit: int) -> Sequence[Attempt]:
        """See `JobRecords.unmetered`."""
        found = [
            one
            for _, state in sorted(self._states.items())
            for one in state.attempts.values()
            if one.ended_at is not None and not one.is_metered
        ]
        return found[:limit]

    def add_events(self, tenant_id: str, job_id: str, events: Sequence[JobEvent]) -> None:
        """See `JobRecords.add_events`."""
        kept = self._state(tenant_id).job_events
        for one in events:
            if (job_id, one.sequence) in kept:
                raise BrokenReference(f"event {one.sequence} of job {job_id} is there")
            kept[job_id, one.sequence] = one

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
        found = [
            one
            for (owner, sequence), one in sorted(self._state(tenant_id).job_events.items())
            if owner == job_id and sequence > after and one.kind in kinds
        ]
        return found[:limit]

    def has_content(self, tenant_id: str, digest: str) -> bool:
        """See `JobRecords.has_content`."""
        return digest in self._state(tenant_id).blobs

    def put_checkpoint(self, tenant_id: str, job_id: str, checkpoint: Checkpoint) -> str | None:
        """See `JobRecords.put_checkpoint`."""
        kept = self._state(tenant_id).checkpoints
        before = kept.get(job_id)
        kept[job_id] = checkpoint
        return None if before is None or before.digest == checkpoint.digest else before.digest

    def checkpoint(self, tenant_id: str, job_id: str) -> Checkpoint | None:
        """See `JobRecords.checkpoint`."""
        return self._state(tenant_id).checkpoints.get(job_id)

    def delete_checkpoint(self, tenant_id: str, job_id: str) -> str | None:
        """See `JobRecords.delete_checkpoint`."""
        gone = self._state(tenant_id).checkpoints.pop(job_id, None)
        return None if gone is None else gone.digest

    def put_artefact(self, tenant_id: str, job_id: str, artefact: Artefact) -> None:
        """See `JobRecords.put_artefact`."""
        self._state(tenant_id).artefacts[job_id, artefact.name] = artefact

    def artefacts(self, tenant_id: str, job_id: str) -> Sequence[Artefact]:
        """See `JobRecords.artefacts`."""
        kept = sorted(self._state(tenant_id).artefacts.items())
        return [one for (owner, _), one in kept if owner == job_id]

    def delete_ended(self, tenant_id: str, before: datetime, limit: int) -> int:
        """See `JobRecords.delete_ended`."""
        state = self._state(tenant_id)

        def is_over(one: Job) -> bool:
            return one.has_ended and one.ended_at is not None and one.ended_at < before

        gone = [
            one.job_id
            for one in sorted(state.jobs.values(), key=_age)
            if is_over(one)
            and all(is_over(later) for later in self.dependants(tenant_id, one.job_id))
        ][:limit]
        for job_id in gone:
            del state.jobs[job_id]
            state.checkpoints.pop(job_id, None)
        state.attempts = {
            place: one for place, one in state.attempts.items() if place[0] not in gone
        }
        state.job_events = {
            place: one for place, one in state.job_events.items() if place[0] not in gone
        }
        state.artefacts = {
            place: one for place, one in state.artefacts.items() if place[0] not in gone
        }
        for one in list(state.jobs.values()):
            left = tuple(after for after in one.dependencies if after not in gone)
            state.jobs[one.job_id] = replace(one, dependencies=left)
        return len(gone)


def _age(job: Job) -> tuple[datetime, str]:
    return job.submitted_at, job.job_id


def _can_begin(state: TenantState, kinds: Collection[str], now: datetime) -> Iterator[Job]:
    for one in state.jobs.values():
        before = [state.jobs[after].state for after in one.dependencies]
        if (
            one.state is JobState.QUEUED
            and one.kind in kinds
            and (one.not_before is None or one.not_before <= now)
            and all(state is JobState.SUCCEEDED for state in before)
        ):
            yield one
