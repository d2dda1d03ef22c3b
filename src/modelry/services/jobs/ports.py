"""What jobs need from outside."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar

from modelry.domain.access import Principal
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

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs; empty for all."""

    kinds: frozenset[str] = frozenset()
    states: frozenset[JobState] = frozenset()
    name: str | None = None


class JobRecords(Protocol):
    """Rows of jobs, within one transaction.

    In a transaction of one tenant only its rows are there, whatever `tenant_id` is given.
    """

    def find(self, tenant_id: str, job_id: str) -> Job | None:
        """One job."""
        ...

    def add(self, job: Job) -> None:
        """A new job; those that it depends on must be there."""
        ...

    def put(self, job: Job) -> None:
        """Replace a job that is there."""
        ...

    def list(
        self, tenant_id: str, wanted: JobFilter, before: str | None, limit: int
    ) -> Sequence[Job]:
        """Up to `limit` jobs, newest first, older than the one called `before`."""
        ...

    def count(self, tenant_id: str, states: Collection[JobState]) -> int:
        """How many are in one of `states`."""
        ...

    def dependants(self, tenant_id: str, job_id: str) -> Sequence[Job]:
        """The jobs that depend on this one directly, oldest first."""
        ...

    # ---- the queue --------------------------------------------------------------------------

    def waiting(self, kinds: Collection[str], now: datetime) -> Mapping[str, datetime]:
        """The tenants that have a job which could begin now, and since when the oldest waits.

        Such a job is queued, due, of one of `kinds`, and all that it depends on has succeeded; its
        tenant is active.
        """
        ...

    def first_waiting(self, tenant_id: str, kinds: Collection[str], now: datetime) -> Job | None:
        """Of a tenant's jobs that could begin now, that of the highest priority, then the oldest.

        No other transaction that runs at the same time is given the same job.
        """
        ...

    def running(self, kinds: Collection[str]) -> Mapping[str, int]:
        """How many leases each tenant's jobs of some kinds have, on all servers."""
        ...

    def served(self, tenant_ids: Collection[str]) -> Mapping[str, datetime]:
        """When an attempt of each of these tenants began last."""
        ...

    def lease(self, tenant_id: str, job_id: str) -> Lease | None:
        """The lease on a job."""
        ...

    def put_lease(self, lease: Lease) -> None:
        """Insert or replace."""
        ...

    def delete_lease(self, tenant_id: str, job_id: str) -> None:
        """Remove it, if it is there."""
        ...

    def leases_of(self, server_id: str) -> Sequence[Lease]:
        """The leases that a server holds."""
        ...

    def expired(self, now: datetime) -> Sequence[Lease]:
        """The leases that were not renewed in time."""
        ...

    # ---- what jobs tell ---------------------------------------------------------------------

    def put_attempt(self, attempt: Attempt) -> None:
        """Insert or replace."""
        ...

    def attempt(self, tenant_id: str, job_id: str, number: int) -> Attempt | None:
        """One attempt."""
        ...

    def attempts(self, tenant_id: str, job_id: str) -> Sequence[Attempt]:
        """All attempts, the first one first."""
        ...

    def unmetered(self, limit: int) -> Sequence[Attempt]:
        """Up to `limit` attempts that have ended and are not in the ledger of usage yet."""
        ...

    def add_events(self, tenant_id: str, job_id: str, events: Sequence[JobEvent]) -> None:
        """Append."""
        ...

    def events(
        self,
        tenant_id: str,
        job_id: str,
        *,
        after: int,
        kinds: Collection[EventKind],
        limit: int,
    ) -> Sequence[JobEvent]:
        """Up to `limit` events whose sequence is higher than `after`, in order."""
        ...

    def has_content(self, tenant_id: str, digest: str) -> bool:
        """Whether the tenant has this content."""
        ...

    def put_checkpoint(self, tenant_id: str, job_id: str, checkpoint: Checkpoint) -> str | None:
        """Replace the checkpoint of a job; the digest of the content before, if it was another."""
        ...

    def checkpoint(self, tenant_id: str, job_id: str) -> Checkpoint | None:
        """The checkpoint of a job."""
        ...

    def delete_checkpoint(self, tenant_id: str, job_id: str) -> str | None:
        """Remove it; the digest of its content, if there was one."""
        ...

    def put_artefact(self, tenant_id: str, job_id: str, artefact: Artefact) -> None:
        """Insert or replace."""
        ...

    def artefacts(self, tenant_id: str, job_id: str) -> Sequence[Artefact]:
        """All artefacts, by name."""
        ...

    def delete_ended(self, tenant_id: str, before: datetime, limit: int) -> int:
        """Delete up to `limit` jobs that ended before, with all that belongs to them; how many.

        A job on which one depends that has not ended stays.
        """
        ...


class JobStore(Protocol):
    """Keeps jobs; each call is one serializable transaction.

    Work may be run again when transactions collide: it must have no effect but on its records.
    """

    def read(self, tenant_id: str, work: Callable[[JobRecords], T]) -> T:
        """The result of `work` on a consistent view of one tenant's rows."""
        ...

    def write(self, tenant_id: str, work: Callable[[JobRecords], T]) -> T:
        """The result of `work`; its changes are kept if it returns, undone if it raises."""
        ...

    def read_all(self, purpose: str, work: Callable[[JobRecords], T]) -> T:
        """As `read`, over all tenants; for the queue."""
        ...

    def write_all(self, purpose: str, work: Callable[[JobRecords], T]) -> T:
        """As `write`, over all tenants; for the queue."""
        ...


class Callers(Protocol):
    """Knows who keys and members are."""

    def principal(self, tenant_id: str, key_id: str) -> Principal:
        """The caller that a key or member is now.

        Raises:
            ModelryError: it is none any more: revoked, expired, disabled, deleted.
        """
        ...


class Contents(Protocol):
    """A tenant's contents."""

    def read(self, tenant_id: str, digest: str, start: int = 0, end: int | None = None) -> Any:
        """See `services.catalog.ports.BlobStore.read`."""
        ...
