"""Submitting jobs, looking at them, and telling them to stop or to go on."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar

import orjson

from modelry.domain.access import Permission, Principal
from modelry.domain.errors import Conflict, InvalidInput, NotFound, QuotaExceeded
from modelry.domain.jobs import (
    DEFAULT_RETRIES,
    ENDED,
    MAX_DEPENDENCIES,
    MAX_PRIORITY,
    MAX_RETRIES,
    Artefact,
    Attempt,
    EventKind,
    Job,
    JobAct,
    JobEvent,
    JobRequest,
    JobState,
)
from modelry.services.jobs.changes import put_with_state, settle
from modelry.services.jobs.curves import MetricPoint, folded
from modelry.services.jobs.handlers import JobHandler, Json
from modelry.services.jobs.ports import Contents, JobFilter, JobRecords, JobStore

T = TypeVar("T")

MAX_OPEN = 10_000
"""Jobs of a tenant that have not ended."""
MAX_NAME_CHARS = 200
MAX_PARAMETERS_BYTES = 2**20
MAX_LISTED = 500
MAX_EVENTS = 1000
MAX_DELAY = timedelta(days=366)
_ID_CHARS = "0123456789abcdefghijklmnopqrstuvwxyz"
_SWEPT_AT_ONCE = 200


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


class JobsService:
    """Jobs of tenants; may be used from any thread.

    Args:
        store: keeps them.
        contents: has their artefacts.
        handlers: the kinds of jobs that there are; more can be added.
        clock: gives the time.
    """

    def __init__(
        self,
        store: JobStore,
        contents: Contents,
        *,
        handlers: Iterable[JobHandler] = (),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._contents = contents
        self._clock = clock
        self._handlers: dict[str, JobHandler] = {}
        self._listeners: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self.ending = threading.Event()
        """Set when the server ends: who follows a job looks elsewhere."""
        for handler in handlers:
            self.add_handler(handler)

    # ---- kinds ------------------------------------------------------------------------------

    def add_handler(self, handler: JobHandler) -> None:
        """Add a kind of job.

        Raises:
            ValueError: there is one of that name.
        """
        with self._lock:
            if handler.kind in self._handlers:
                raise ValueError(f"there are two handlers of jobs of kind '{handler.kind}'")
            self._handlers[handler.kind] = handler

    def kinds(self) -> Sequence[str]:
        """The kinds of jobs that this server knows."""
        return sorted(self._handlers)

    def handler(self, kind: str) -> JobHandler:
        """What does jobs of a kind.

        Raises:
            InvalidInput: there is no such kind.
        """
        found = self._handlers.get(kind)
        if found is None:
            raise InvalidInput(
                f"There is no kind of job '{kind[:80]}'; there are: {', '.join(self.kinds())}.",
                param="kind",
            )
        return found

    def on_change(self, listener: Callable[[], None]) -> None:
        """Have `listener` called, in any thread, when there may be something to begin or end."""
        self._listeners.append(listener)

    # ---- acts -------------------------------------------------------------------------------

    def submit(
        self,
        principal: Principal,
        kind: str,
        parameters: Json,
        *,
        name: str = "",
        priority: int = 0,
        after: Sequence[str] = (),
        not_before: datetime | None = None,
        retries: int = DEFAULT_RETRIES,
    ) -> Job:
        """Put a job into the queue, once its handler has seen that it can be done.

        Args:
            principal: who wants it; it runs in this name, with the rights that it then has.
            kind: what is to be done.
            parameters: of the kind.
            name: for people.
            priority: -100 to 100; within the tenant the highest goes first.
            after: ids of jobs that must succeed before; their outcomes are the job's `inputs`.
            not_before: when it may begin at the earliest.
            retries: how many failures in a row that another attempt may mend are tried again.

        Raises:
            PermissionDenied: the caller may not.
            InvalidInput: kind, parameters or options are not as expected.
            NotFound: a job that it shall come after is not there.
            Conflict: a job that it shall come after has not succeeded and never will.
            QuotaExceeded: the tenant has too many jobs that have not ended.
            ModelryError: the handler refused.
        """
        principal.require(Permission.JOBS_WRITE)
        now = self._clock()
        checked = self.handler(kind).check(principal, parameters)
        _check_size(checked)
        job = Job(
            tenant_id=principal.tenant_id,
            job_id=_make_id(),
            kind=kind,
            parameters=checked,
            submitted_at=now,
            submitted_by=principal.key_id,
            name=name,
            priority=priority,
            retries=retries,
            dependencies=tuple(dict.fromkeys(after)),
            not_before=not_before,
        )
        _check_options(job)

        def work(records: JobRecords) -> Job:
            _check_room(records, job)
            for one in job.dependencies:
                _check_dependency(records, job, one)
            records.add(job)
            return put_with_state(records, job, now)

        submitted = self._store.write(principal.tenant_id, work)
        self._changed()
        return submitted

    def cancel(self, principal: Principal, job_id: str) -> Job:
        """End a job for good; a running one ends soon. Ended already, it stays as it is.

        Raises:
            NotFound: there is no such job.
            Conflict: it has succeeded or failed.
        """
        return self._ask(principal, job_id, JobAct.CANCEL, JobRequest.CANCEL, JobState.CANCELLED)

    def pause(self, principal: Principal, job_id: str) -> Job:
        """Have a job wait until it is resumed; a running one stops soon, and goes on from its
        last checkpoint then.

        Raises:
            NotFound: there is no such job.
            Conflict: it has ended.
        """
        return self._ask(principal, job_id, JobAct.PAUSE, JobRequest.PAUSE, JobState.PAUSED)

    def resume(self, principal: Principal, job_id: str) -> Job:
        """Put a paused or failed job into the queue again; it goes on from its last checkpoint.

        Raises:
            NotFound: there is no such job.
            Conflict: it has succeeded or was cancelled.
        """
        principal.require(Permission.JOBS_WRITE)
        now = self._clock()

        def work(records: JobRecords) -> Job:
            job = _found(records, principal, job_id)
            if job.state is JobState.RUNNING and job.request is JobRequest.PAUSE:
                job = replace(job, request=None)
                records.put(job)
                return job
            if job.state in (JobState.QUEUED, JobState.RUNNING) and job.request is None:
                return job
            for one in job.dependencies:
                _check_dependency(records, job, one)
            return put_with_state(records, job.after(JobAct.RESUME, now), now)

        return self._acted(self._store.write(principal.tenant_id, work))

    def _ask(
        self, principal: Principal, job_id: str, act: JobAct, request: JobRequest, goal: JobState
    ) -> Job:
        principal.require(Permission.JOBS_WRITE)
        now = self._clock()

        def work(records: JobRecords) -> Job:
            job = _found(records, principal, job_id)
            if job.state is goal or job.request in (request, JobRequest.CANCEL):
                return job
            if job.state is JobState.RUNNING:
                job = replace(job, request=request)
                records.put(job)
                return job
            job = put_with_state(records, job.after(act, now), now)
            settle(records, job, now)
            return job

        return self._acted(self._store.write(principal.tenant_id, work))

    def _acted(self, job: Job) -> Job:
        self._changed()
        return job

    def _changed(self) -> None:
        for listener in self._listeners:
            listener()

    # ---- looking ----------------------------------------------------------------------------

    def get(self, principal: Principal, job_id: str) -> Job:
        """One job.

        Raises:
            NotFound: there is no such job.
        """
        principal.require(Permission.JOBS_READ)
        return self._read(principal, lambda records: _found(records, principal, job_id))

    def details(self, principal: Principal, job_id: str) -> JobDetails:
        """One job with its attempts and artefacts.

        Raises:
            NotFound: there is no such job.
        """
        principal.require(Permission.JOBS_READ)

        def work(records: JobRecords) -> JobDetails:
            place = (principal.tenant_id, job_id)
            return JobDetails(
                _found(records, principal, job_id),
                records.attempts(*place),
                records.artefacts(*place),
            )

        return self._read(principal, work)

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
                _found(records, principal, before)
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
            job = _found(records, principal, job_id)
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

    # ---- for the server itself --------------------------------------------------------------

    def inputs(self, job: Job) -> Mapping[str, Json]:
        """The outcomes of the jobs that a job depends on, by id."""

        def work(records: JobRecords) -> dict[str, Json]:
            found = {one: records.find(job.tenant_id, one) for one in job.dependencies}
            return {one: dict(job.outcome or {}) for one, job in found.items() if job is not None}

        return self._store.read(job.tenant_id, work)

    def delete_ended(self, tenant_id: str, before: datetime) -> int:
        """Delete jobs that ended before, with all that belongs to them; how many."""
        total = 0
        while True:
            deleted = self._store.write(
                tenant_id,
                lambda records: records.delete_ended(tenant_id, before, _SWEPT_AT_ONCE),
            )
            total += deleted
            if deleted < _SWEPT_AT_ONCE:
                return total


def _make_id() -> str:
    return "job-" + "".join(secrets.choice(_ID_CHARS) for _ in range(12))


def _found(records: JobRecords, principal: Principal, job_id: str) -> Job:
    job = records.find(principal.tenant_id, job_id)
    if job is None:
        raise NotFound(f"Job '{job_id[:80]}' does not exist.", param="job_id")
    return job


def _check_options(job: Job) -> None:
    if len(job.name) > MAX_NAME_CHARS or not job.name.isprintable():
        raise InvalidInput(
            f"The job's name has {len(job.name)} characters or some that cannot be printed; "
            f"expected up to {MAX_NAME_CHARS} printable ones.",
            param="name",
        )
    if not -MAX_PRIORITY <= job.priority <= MAX_PRIORITY:
        raise InvalidInput(
            f"The priority {job.priority} is out of range; expected -{MAX_PRIORITY} to "
            f"{MAX_PRIORITY}.",
            param="priority",
        )
    if not 0 <= job.retries <= MAX_RETRIES:
        raise InvalidInput(
            f"{job.retries} retries are out of range; expected 0 to {MAX_RETRIES}.",
            param="retries",
        )
    if len(job.dependencies) > MAX_DEPENDENCIES:
        raise InvalidInput(
            f"The job comes after {len(job.dependencies)} others; at most {MAX_DEPENDENCIES} are "
            "possible.",
            param="after",
        )
    due = job.not_before
    if due is not None and (due.tzinfo is None or due > job.submitted_at + MAX_DELAY):
        raise InvalidInput(
            f"'not_before' is {due.isoformat()}; expected a time with a time zone within a year.",
            param="not_before",
        )


def _check_size(parameters: Json) -> None:
    try:
        size = len(orjson.dumps(parameters))
    except TypeError as error:
        raise InvalidInput(f"The parameters are not JSON: {error}.", param="parameters") from None
    if size > MAX_PARAMETERS_BYTES:
        raise InvalidInput(
            f"The parameters have {size} bytes as JSON; at most {MAX_PARAMETERS_BYTES} are "
            "possible. Put large contents into uploads and name their digests.",
            param="parameters",
        )


def _check_room(records: JobRecords, job: Job) -> None:
    open_states = (JobState.QUEUED, JobState.RUNNING, JobState.PAUSED)
    count = records.count(job.tenant_id, open_states)
    if count >= MAX_OPEN:
        raise QuotaExceeded(
            f"The tenant has {count} jobs that have not ended, which is the most it may have. "
            "Wait for some, or cancel some.",
            retry_after_s=60,
        )


def _check_dependency(records: JobRecords, job: Job, job_id: str) -> None:
    found = records.find(job.tenant_id, job_id)
    if found is None:
        raise NotFound(
            f"Job '{job_id[:80]}', which the job shall come after, does not exist.", param="after"
        )
    if found.state in (JobState.FAILED, JobState.CANCELLED):
        raise Conflict(
            f"Job '{job_id}', which the job shall come after, is {found.state}; it would never "
            "begin.",
            param="after",
        )


def _listed(
    tenant_id: str, wanted: JobFilter, before: str | None, records: JobRecords
) -> Sequence[Job]:
    return records.list(tenant_id, wanted, before, MAX_LISTED)
