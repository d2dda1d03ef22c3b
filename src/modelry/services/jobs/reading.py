"""Looking at jobs: what they are, what they told, what is kept with them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from modelry.domain.access import Permission, Principal
from modelry.domain.errors import NotFound
from modelry.domain.jobs import ENDED, Artefact, Attempt, EventKind, Job, JobEvent, JobState
from modelry.services.jobs.curves import MetricPoint, folded
from modelry.services.jobs.handlers import Json
from modelry.services.jobs.ports import Contents, JobFilter, JobRecords, JobStore

T = TypeVar("T")

MAX_LISTED = 500
MAX_EVENTS = 1000


@dataclass(frozen=True, slots=True)
class JobPage:
    """Jobs, newest first; `following` is `before` of the next page, None on the last."""

    jobs: Sequence[Job]
    following: str | None


@dataclass(frozen=True, slots=True)
class JobDetails:
    """A job with its attempts and artefacts."""

    job: Job
    attempts: Sequence[Attempt]
    artefacts: Sequence[Artefact]


class JobReading:
    """What can be asked of jobs; may be used from any thread.

    Args:
        store: keeps them.
        contents: has their artefacts.
    """

    def __init__(self, store: JobStore, contents: Contents) -> None:
        self._store = store
        self._contents = contents

    def get(self, principal: Principal, job_id: str) -> Job:
        """One job.

        Raises:
            NotFound: there is no such job.
        """
        principal.require(Permission.JOBS_READ)
        return self._read(principal, lambda records: found_job(records, principal, job_id))

    def details(self, principal: Principal, job_id: str) -> JobDetails:
        """One job with its attempts and artefacts.

        Raises:
            NotFound: there is no such job.
        """
        principal.require(Permission.JOBS_READ)

        def work(records: JobRecords) -> JobDetails:
            place = (principal.tenant_id, job_id)
            return JobDetails(
                found_job(records, principal, job_id),
                records.attempts(*place),
                records.artefacts(*place),
            )

        return self._read(principal, work)

    def list(
        self,
        principal: Principal,
        *,
        kinds: Collection[str] = (),
        states: Collection[JobState] = (),
        name: str | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> JobPage:
        """Jobs, newest first.

        Args:
            principal: whose.
            kinds: only of these; all by default.
            states: only in these; all by default.
            name: only of this name.
            before: only jobs that were submitted before this one.
            limit: how many at most.

        Raises:
            NotFound: there is no job called `before`.
        """
        principal.require(Permission.JOBS_READ)
        limit = max(1, min(limit, MAX_LISTED))
        wanted = JobFilter(frozenset(kinds), frozenset(states), name)

        def work(records: JobRecords) -> Sequence[Job]:
            if before is not None:
                found_job(records, principal, before)
            return records.list(principal.tenant_id, wanted, before, limit + 1)

        found = self._read(principal, work)
        following = found[limit - 1].job_id if len(found) > limit else None
        return JobPage(found[:limit], following)

    def events(
        self,
        principal: Principal,
        job_id: str,
        *,
        after: int = 0,
        kinds: Collection[EventKind] = tuple(EventKind),
        limit: int = MAX_EVENTS,
    ) -> tuple[Job, Sequence[JobEvent]]:
        """A job as it is, and up to `limit` of its events after the one numbered `after`.

        Raises:
            NotFound: there is no such job.
        """
        principal.require(Permission.JOBS_READ)

        def work(records: JobRecords) -> tuple[Job, Sequence[JobEvent]]:
            job = found_job(records, principal, job_id)
            if job.last_sequence <= after:
                return job, ()
            found = records.events(
                job.tenant_id, job_id, after=after, kinds=kinds, limit=min(limit, MAX_EVENTS)
            )
            return job, found

        return self._read(principal, work)

    def metrics(self, principal: Principal, job_id: str) -> Sequence[MetricPoint]:
        """The curves of a job, by step: of steps that were done twice, the later values.

        Raises:
            NotFound: there is no such job.
        """
        return folded(self._all_events(principal, job_id, EventKind.METRICS))

    def _all_events(self, principal: Principal, job_id: str, kind: EventKind) -> Iterator[JobEvent]:
        after = 0
        while True:
            _, found = self.events(principal, job_id, after=after, kinds=(kind,))
            yield from found
            if len(found) < MAX_EVENTS:
                return
            after = found[-1].sequence

    def open_artefact(
        self, principal: Principal, job_id: str, name: str
    ) -> tuple[Artefact, Iterator[bytes]]:
        """An artefact and its bytes, in pieces.

        Raises:
            NotFound: there is no such job or artefact.
            DataDamaged: its file was changed; also while reading.
        """
        found = self.details(principal, job_id).artefacts
        for one in found:
            if one.name == name:
                return one, self._contents.read(principal.tenant_id, one.digest)
        names = ", ".join(f"'{one.name}'" for one in found) or "none"
        raise NotFound(
            f"Job '{job_id}' has no artefact '{name[:80]}'; it has: {names}.", param="name"
        )

    def _read(self, principal: Principal, work: Callable[[JobRecords], T]) -> T:
        return self._store.read(principal.tenant_id, work)

    # ---- for the server itself ----------------------------------------------------------------

    def open_jobs(self, tenant_id: str) -> Iterator[Job]:
        """A tenant's jobs that have not ended; for the server itself."""
        wanted = JobFilter(frozenset(), frozenset(JobState) - ENDED, None)
        before: str | None = None
        while True:
            found = self._store.read(tenant_id, partial(_listed, tenant_id, wanted, before))
            yield from found
            if len(found) < MAX_LISTED:
                return
            before = found[-1].job_id

    def inputs(self, job: Job) -> Mapping[str, Json]:
        """The outcomes of the jobs that a job depends on, by id."""

        def work(records: JobRecords) -> dict[str, Json]:
            found = {one: records.find(job.tenant_id, one) for one in job.dependencies}
            return {one: dict(job.outcome or {}) for one, job in found.items() if job is not None}

        return self._store.read(job.tenant_id, work)


def found_job(records: JobRecords, principal: Principal, job_id: str) -> Job:
    """One of the caller's jobs.

    Raises:
        NotFound: there is no such job.
    """
    job = records.find(principal.tenant_id, job_id)
    if job is None:
        raise NotFound(f"Job '{job_id[:80]}' does not exist.", param="job_id")
    return job


def _listed(
    tenant_id: str, wanted: JobFilter, before: str | None, records: JobRecords
) -> Sequence[Job]:
    return records.list(tenant_id, wanted, before, MAX_LISTED)
