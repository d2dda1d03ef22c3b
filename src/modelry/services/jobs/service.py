"""Submitting jobs, and telling them to stop or to go on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from modelry.domain.access import Permission, Principal
from modelry.domain.errors import InvalidInput
from modelry.domain.jobs import DEFAULT_RETRIES, Job, JobAct, JobRequest, JobState
from modelry.services.jobs.changes import put_with_state, revive_dependants, settle
from modelry.services.jobs.handlers import JobHandler, Json
from modelry.services.jobs.ports import Contents, JobRecords, JobStore
from modelry.services.jobs.reading import JobReading, found_job
from modelry.services.jobs.submission import (
    Submission,
    check_dependency,
    check_room,
)

_SWEPT_AT_ONCE = 200


class JobsService(JobReading):
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
        super().__init__(store, contents)
        self._clock = clock
        self._handlers: dict[str, JobHandler] = {}
        self._light: set[str] = set()
        self._listeners: list[Callable[[], None]] = []
        self._followers: dict[str, list[Callable[[], None]]] = {}
        self._lock = threading.Lock()
        self.ending = threading.Event()
        """Set when the server ends: who follows a job looks elsewhere."""
        for handler in handlers:
            self.add_handler(handler)

    # ---- kinds ------------------------------------------------------------------------------

    def add_handler(self, handler: JobHandler, *, is_light: bool = False) -> None:
        """Add a kind of job.

        Args:
            handler: does it.
            is_light: it takes minutes at most, and little memory: it has places of its own, so
                that it need not wait until long jobs have ended.

        Raises:
            ValueError: there is one of that name.
        """
        with self._lock:
            if handler.kind in self._handlers:
                raise ValueError(f"there are two handlers of jobs of kind '{handler.kind}'")
            self._handlers[handler.kind] = handler
            if is_light:
                self._light.add(handler.kind)

    def kinds(self) -> Sequence[str]:
        """The kinds of jobs that this server knows."""
        return sorted(self._handlers)

    def is_light(self, kind: str) -> bool:
        """Whether jobs of a kind have places of their own; see `add_handler`."""
        return kind in self._light

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

    @contextmanager
    def following(self, job_id: str, listener: Callable[[], None]) -> Iterator[None]:
        """Have `listener` called, in any thread, when an attempt at a job has ended here.

        Who waits hears at once of what runs on this server, and has to look, now and then, for
        what runs on others.
        """
        with self._lock:
            self._followers.setdefault(job_id, []).append(listener)
        try:
            yield
        finally:
            with self._lock:
                left = self._followers[job_id]
                left.remove(listener)
                if not left:
                    del self._followers[job_id]

    def tell_ended(self, job_id: str) -> None:
        """Tell who follows a job that an attempt at it has ended here."""
        with self._lock:
            followers = list(self._followers.get(job_id, ()))
        for listener in followers:
            listener()

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
        submission = Submission(kind, parameters, name, priority, after, not_before, retries)
        return self.submit_all(principal, [submission])[0]

    def submit_all(self, principal: Principal, submissions: Sequence[Submission]) -> list[Job]:
        """Put several jobs into the queue, all or none; later ones may come after earlier ones.

        Raises:
            As `submit`, for the first one that cannot be.
        """
        principal.require(Permission.JOBS_WRITE)
        now = self._clock()
        jobs = []
        for number, one in enumerate(submissions):
            checked = self.handler(one.kind).check(principal, one.parameters)
            # a moment apart, so that they are listed in their order
            jobs.append(one.job(principal, checked, now + timedelta(microseconds=number)))

        def work(records: JobRecords) -> list[Job]:
            check_room(records, principal.tenant_id, len(jobs))
            kept = []
            for job in jobs:
                for before in job.dependencies:
                    check_dependency(records, job, before)
                records.add(job)
                kept.append(put_with_state(records, job, job.submitted_at))
            return kept

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

        What came after it, and was cancelled because it failed, is put into the queue, too.

        Raises:
            NotFound: there is no such job.
            Conflict: it has succeeded or was cancelled.
        """
        principal.require(Permission.JOBS_WRITE)
        now = self._clock()

        def work(records: JobRecords) -> Job:
            job = found_job(records, principal, job_id)
            if job.state is JobState.RUNNING and job.request is JobRequest.PAUSE:
                job = replace(job, request=None)
                records.put(job)
                return job
            if job.state in (JobState.QUEUED, JobState.RUNNING) and job.request is None:
                return job
            for one in job.dependencies:
                check_dependency(records, job, one)
            resumed = put_with_state(records, job.after(JobAct.RESUME, now), now)
            revive_dependants(records, resumed, now)
            return resumed

        return self._acted(self._store.write(principal.tenant_id, work))

    def _ask(
        self, principal: Principal, job_id: str, act: JobAct, request: JobRequest, goal: JobState
    ) -> Job:
        principal.require(Permission.JOBS_WRITE)
        now = self._clock()

        def work(records: JobRecords) -> Job:
            job = found_job(records, principal, job_id)
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

    # ---- for the server itself ----------------------------------------------------------------

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
