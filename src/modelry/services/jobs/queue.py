"""The queue: which job is begun next, who may work on it, and how attempts end.

A lease is a row that is written in the same transaction as the job that it is of, so that there is
never a running job without one, nor two (ADR 18).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from modelry.domain.jobs import Attempt, Job, JobAct, JobRequest, Lease
from modelry.services.jobs.changes import lose_attempt, put_with_state
from modelry.services.jobs.ports import JobRecords, JobStore

LEASE_S = 30.0
"""A server that does not renew its lease for so long has lost the job."""
_PURPOSE = "the queue of jobs"


@dataclass(frozen=True, slots=True)
class Beat:
    """What a renewal found: which leases are lost, and what is wanted of running jobs."""

    lost: frozenset[tuple[str, str]]
    requests: Mapping[tuple[str, str], JobRequest]


class JobQueue:
    """Gives jobs to servers; may be used from any thread.

    Args:
        store: keeps jobs.
        server_id: which server this is; the same again after a restart.
        lease_s: how long a lease holds without being renewed.
        clock: gives the time.
    """

    def __init__(
        self,
        store: JobStore,
        server_id: str,
        *,
        lease_s: float = LEASE_S,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._server_id = server_id
        self._lease = timedelta(seconds=lease_s)
        self._clock = clock

    # ---- who works on what ------------------------------------------------------------------

    def claim(
        self, kinds: Collection[str], most_per_tenant: int | None
    ) -> tuple[Job, Lease] | None:
        """Begin an attempt at the job whose turn it is; None if there is none.

        The tenant that has the fewest running jobs of these kinds comes first, then the one that
        was served longest ago.

        Args:
            kinds: what this server has room for.
            most_per_tenant: how many jobs of these kinds one tenant may have running at once on
                all servers.
        """
        now = self._clock()
        if not self._store.read_all(_PURPOSE, lambda records: records.waiting(kinds, now)):
            return None  # without asking for the right to write

        def work(records: JobRecords) -> tuple[Job, Lease] | None:
            for tenant_id in _in_turn(records, kinds, now, most_per_tenant):
                found = records.first_waiting(tenant_id, kinds, now)
                if found is not None:
                    return self._begin(records, found, now)
            return None

        return self._store.write_all(_PURPOSE, work)

    def _begin(self, records: JobRecords, found: Job, now: datetime) -> tuple[Job, Lease]:
        job = found.after(JobAct.CLAIM, now)
        lease = Lease(job.tenant_id, job.job_id, job.attempts, self._server_id, now + self._lease)
        records.put_lease(lease)
        attempt = Attempt(job.tenant_id, job.job_id, job.attempts, self._server_id, now)
        records.put_attempt(attempt)
        job = put_with_state(records, job, now)
        return job, lease

    def renew(self, leases: Sequence[Lease]) -> Beat:
        """Renew leases that this server holds."""
        now = self._clock()
        until = now + self._lease

        def work(records: JobRecords) -> Beat:
            held = {(one.tenant_id, one.job_id): one for one in records.leases_of(self._server_id)}
            lost, requests = set(), {}
            for lease in leases:
                place = (lease.tenant_id, lease.job_id)
                known = held.get(place)
                if known is None or known.token != lease.token:
                    lost.add(place)
                    continue
                records.put_lease(replace(known, expires_at=until))
                job = records.find(*place)
                if job is not None and job.request is not None:
                    requests[place] = job.request
            return Beat(frozenset(lost), requests)

        return self._store.write_all(_PURPOSE, work)

    def look(self, leases: Sequence[Lease]) -> Beat:
        """As `renew`, without renewing."""

        def work(records: JobRecords) -> Beat:
            lost, requests = set(), {}
            for lease in leases:
                place = (lease.tenant_id, lease.job_id)
                known, job = records.lease(*place), records.find(*place)
                if known is None or known.token != lease.token or job is None:
                    lost.add(place)
                elif job.request is not None:
                    requests[place] = job.request
            return Beat(frozenset(lost), requests)

        return self._store.read_all(_PURPOSE, work)

    def take_back(self) -> int:
        """Let go of what an earlier process of this server held when it was killed; how many."""
        return self._lose(lambda records: records.leases_of(self._server_id))

    def take_expired(self) -> int:
        """Let go of what servers held that do not renew their leases; how many."""
        now = self._clock()
        if not self._store.read_all(_PURPOSE, lambda records: records.expired(now)):
            return 0
        return self._lose(lambda records: records.expired(now))

    def _lose(self, find: Callable[[JobRecords], Sequence[Lease]]) -> int:
        now = self._clock()

        def work(records: JobRecords) -> int:
            leases = find(records)
            for lease in leases:
                lose_attempt(records, lease, now)
            return len(leases)

        return self._store.write_all(_PURPOSE, work)


def _in_turn(
    records: JobRecords, kinds: Collection[str], now: datetime, most_per_tenant: int | None
) -> Sequence[str]:
    """The tenants with a job to begin, in the order in which they are served."""
    waiting = records.waiting(kinds, now)
    running = records.running(kinds)
    served = records.served(list(waiting))
    never = datetime.min.replace(tzinfo=UTC)
    free = [
        tenant_id
        for tenant_id in waiting
        if most_per_tenant is None or running.get(tenant_id, 0) < most_per_tenant
    ]
    return sorted(
        free,
        key=lambda one: (running.get(one, 0), served.get(one, never), waiting[one], one),
    )
