"""Runs jobs on this server: claims them, does each in a thread, renews leases, ends them."""

from __future__ import annotations

import contextlib
import errno
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from modelry.domain.errors import (
    Cancelled,
    Conflict,
    InternalError,
    InvalidInput,
    LeaseLost,
    ModelryError,
    Overloaded,
    WorkFailed,
)
from modelry.domain.jobs import Job, JobError, Lease, is_retryable
from modelry.services.jobs.attempts import Attempts, Told
from modelry.services.jobs.handlers import Json
from modelry.services.jobs.ports import Callers
from modelry.services.jobs.queue import LEASE_S, JobQueue
from modelry.services.jobs.run import LeasedRun, clean
from modelry.services.jobs.service import JobsService

log = logging.getLogger(__name__)

TICK_S = 1.0
"""How late a job begins that another server's caller submitted, or that became due."""
STOP_GRACE_S = 60.0
"""How long a handler may take to end once it was told to stop; then its lease is taken from it."""
SHUTDOWN_GRACE_S = 10.0
_END_ATTEMPTS_S = (0.2, 1.0, 3.0)
"""Pauses between attempts to write down how an attempt ended."""


@dataclass(frozen=True, slots=True)
class RunnerLimits:
    """How much a runner does at once.

    Attributes:
        jobs: at once on this server, without the light ones; 0 to run none of any kind.
        light_jobs: of the light kinds, at once beside the others.
        jobs_per_tenant: at once on all servers, of each sort; None for no limit.
        tick_s: between looks at the queue.
        stop_grace_s: for handlers to end once they were told to.
        shutdown_grace_s: for all of them when the server ends.
        lease_s: as the queue has it.
    """

    jobs: int
    light_jobs: int = 2
    jobs_per_tenant: int | None = None
    tick_s: float = TICK_S
    stop_grace_s: float = STOP_GRACE_S
    shutdown_grace_s: float = SHUTDOWN_GRACE_S
    lease_s: float = LEASE_S


@dataclass(slots=True)
class _Active:
    """An attempt that runs here."""

    run: LeasedRun
    lease: Lease
    renewed_at: float
    is_light: bool = False
    thread: threading.Thread | None = None
    is_over: threading.Event = field(default_factory=threading.Event)


class JobRunner:
    """The jobs that run on this server.

    One thread looks after all of them; each job has a thread of its own. Nothing that a handler
    does, nor a database that does not answer for a while, ends the looking after.

    Args:
        service: knows the handlers, and is told of by whom jobs are submitted.
        queue: gives jobs out.
        attempts: takes what they tell, and how they end.
        callers: knows in whose name they run.
        limits: how much at once.
        let_go: told tenant and digest of each checkpoint that is needed no more.
        clock: gives the time.
    """

    def __init__(
        self,
        service: JobsService,
        queue: JobQueue,
        attempts: Attempts,
        callers: Callers,
        limits: RunnerLimits,
        *,
        let_go: Callable[[str, str], None],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._service = service
        self._queue = queue
        self._attempts = attempts
        self._callers = callers
        self._limits = limits
        self._let_go = let_go
        self._clock = clock
        self._active: dict[tuple[str, str], _Active] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._is_ending = False
        self._thread: threading.Thread | None = None
        self._expired_looked_at = 0.0
        service.on_change(self._wake.set)

    def start(self) -> None:
        """Take back what an earlier process of this server was killed with, and begin."""
        self._thread = threading.Thread(target=self._look_after, name="jobs", daemon=True)
        self._thread.start()

    def begin_to_stop(self) -> None:
        """Begin no more jobs and tell those that run to stop; does not wait."""
        self._is_ending = True
        self._service.ending.set()
        self._wake.set()
        for one in self._all():
            one.run.ask_to_stop()

    def stop(self) -> None:
        """Stop all jobs and put them back into the queue; waits a little for their handlers."""
        self.begin_to_stop()
        if self._thread is not None:
            self._thread.join()
        active = self._all()
        for one in active:  # one may have begun meanwhile
            one.run.ask_to_stop()
        deadline = time.monotonic() + self._limits.shutdown_grace_s
        for one in active:
            one.is_over.wait(max(0.0, deadline - time.monotonic()))
        for one in active:
            if not one.is_over.is_set():
                self._take_from(one, in_order=True)

    def active(self) -> int:
        """How many jobs run here."""
        with self._lock:
            return len(self._active)

    # ---- looking after ----------------------------------------------------------------------

    def _look_after(self) -> None:
        while not self._is_ending and not self._tried(self._take_back):
            self._wake.wait(self._limits.tick_s)
        while not self._is_ending:
            self._wake.wait(self._limits.tick_s)
            self._wake.clear()
            for act in (self._renew, self._flush, self._end_hanging, self._take_expired):
                self._tried(act)
            if not self._is_ending:
                self._tried(self._claim)

    def _tried(self, act: Callable[[], None]) -> bool:
        try:
            act()
        except ModelryError as error:  # such as a database that is away for a while
            log.warning("jobs: %s", error.message)
        except Exception:  # looking after jobs must go on whatever happened once
            log.exception("looking after jobs failed; it is tried again")
        else:
            return True
        return False

    def _take_back(self) -> None:
        taken = self._queue.take_back()
        if taken:
            log.info("%d jobs go on that ran when this server was killed", taken)

    def _renew(self) -> None:
        """Renew leases in time; see what is wanted of jobs; give up those that are lost."""
        active = self._all()
        if not active:
            return
        now = time.monotonic()
        try:
            due = [one for one in active if now - one.renewed_at >= self._limits.lease_s / 3]
            leases = [one.lease for one in active]
            beat = self._queue.renew(leases) if due else self._queue.look(leases)
            if due:
                for one in active:
                    one.renewed_at = now
            for one in active:
                place = (one.lease.tenant_id, one.lease.job_id)
                if place in beat.lost:
                    one.run.lose()
                elif place in beat.requests:
                    one.run.ask_to_stop()
        finally:
            for one in active:
                # counted from before the renewal was asked for: others count from when it was
                if time.monotonic() - one.renewed_at > self._limits.lease_s:
                    one.run.lose()

    def _flush(self) -> None:
        for one in self._all():
            if not one.run.is_lost:
                with contextlib.suppress(LeaseLost):
                    one.run.flush()

    def _end_hanging(self) -> None:
        """Give up on handlers that do not end; their threads may go on, but can write nothing."""
        now = time.monotonic()
        for one in self._all():
            since = one.run.stopped_at
            if since is not None and now - since > self._limits.stop_grace_s:
                log.error("job %s does not end; it is left to itself", one.lease.job_id)
                self._take_from(one, in_order=False)

    def _take_from(self, one: _Active, *, in_order: bool) -> None:
        told = Told() if one.run.is_lost else one.run.last_words()
        is_lost = one.run.is_lost
        one.run.lose()
        if not is_lost:
            with contextlib.suppress(LeaseLost):
                self._attempts.stopped(one.lease, told, in_order=in_order)
        self._forget(one)

    def _take_expired(self) -> None:
        now = time.monotonic()
        if now - self._expired_looked_at >= self._limits.lease_s / 6:
            self._expired_looked_at = now
            self._queue.take_expired()

    def _claim(self) -> None:
        """Begin what there is room for: light kinds have places of their own, so that they wait
        for each other, and not for what takes hours.
        """
        if not self._limits.jobs:
            return
        self._fill_lane(self._limits.light_jobs, is_light=True)
        self._fill_lane(self._limits.jobs, is_light=False)

    def _fill_lane(self, places: int, *, is_light: bool) -> None:
        kinds = [one for one in self._service.kinds() if self._service.is_light(one) == is_light]
        while not self._is_ending and kinds and self._in_lane(is_light=is_light) < places:
            before = time.monotonic()
            claimed = self._queue.claim(kinds, self._limits.jobs_per_tenant)
            if claimed is None:
                return
            self._begin(*claimed, before)

    def _in_lane(self, *, is_light: bool) -> int:
        return sum(one.is_light == is_light for one in self._all())

    def _begin(self, job: Job, lease: Lease, renewed_at: float) -> None:
        try:
            run = LeasedRun(
                self._attempts,
                job,
                lease,
                principal=self._callers.principal(job.tenant_id, job.submitted_by),
                inputs=self._service.inputs(job),
                let_go=self._let_go,
                clock=self._clock,
            )
        except ModelryError as error:
            log.info("job %s cannot begin: %s", job.job_id, error.message)
            self._fail(lease, error, Told())
            return
        one = _Active(run, lease, renewed_at, self._service.is_light(job.kind))
        one.thread = threading.Thread(
            target=self._do, args=(job, one), name=f"job {job.job_id}", daemon=True
        )
        with self._lock:
            self._active[lease.tenant_id, lease.job_id] = one
        one.thread.start()

    def _all(self) -> list[_Active]:
        with self._lock:
            return list(self._active.values())

    def _forget(self, one: _Active) -> None:
        place = (one.lease.tenant_id, one.lease.job_id)
        with self._lock:
            if self._active.get(place) is one:
                del self._active[place]

    # ---- in the job's thread ----------------------------------------------------------------

    def _do(self, job: Job, one: _Active) -> None:
        try:
            self._done(job, one)
        except Exception:  # the lease ends by itself, and another attempt begins
            log.exception("how job %s ended cannot be written down", job.job_id)
        finally:
            self._forget(one)
            one.is_over.set()
            self._service.tell_ended(job.job_id)
            self._wake.set()

    def _done(self, job: Job, one: _Active) -> None:
        run, lease = one.run, one.lease
        try:
            outcome = _as_json(self._service.handler(job.kind).run(run))
        except LeaseLost:
            run.lose()
        except Cancelled as error:
            if run.stop.is_set():
                self._stopped(lease, run)
            else:
                self._fail(lease, error, run.last_words())
        except ModelryError as error:
            if run.stop.is_set() and is_retryable(error):  # most likely for that it was stopped
                self._stopped(lease, run)
            else:
                self._fail(lease, error, run.last_words())
        except BaseException as error:  # noqa: BLE001 - whatever a handler raises ends its job alone
            self._fail(lease, _told(job, error), run.last_words())
        else:
            self._succeed(lease, outcome, run)
        if run.is_lost:
            log.info("attempt %d at job %s has ended without its lease", lease.token, job.job_id)

    def _succeed(self, lease: Lease, outcome: Json, run: LeasedRun) -> None:
        told = run.last_words()
        try:
            digest = _patiently(lambda: self._attempts.succeed(lease, outcome, told))
        except (Conflict, InvalidInput) as error:  # such as a text that the database cannot keep
            self._fail(lease, error, Told())
            return
        self._let_go_of(lease, digest)

    def _stopped(self, lease: Lease, run: LeasedRun) -> None:
        told = run.last_words()
        digest = _patiently(lambda: self._attempts.stopped(lease, told, in_order=self._is_ending))
        self._let_go_of(lease, digest)

    def _fail(self, lease: Lease, error: ModelryError, told: Told) -> None:
        _patiently(
            lambda: self._attempts.fail(
                lease,
                JobError(error.code, clean(error.message)),
                told,
                retryable=is_retryable(error),
                asked_s=error.retry_after_s,
            )
        )

    def _let_go_of(self, lease: Lease, digest: str | None) -> None:
        if digest is not None:
            self._let_go(lease.tenant_id, digest)


def _patiently(write: Callable[[], Any]) -> Any:
    """What `write` gives; tried again while the database is busy; None when the lease is lost."""
    for pause_s in (*_END_ATTEMPTS_S, None):
        try:
            return write()
        except LeaseLost as error:
            log.info("%s", error.message)
            return None
        except Overloaded:
            if pause_s is None:
                raise
            time.sleep(pause_s)
    return None


def _as_json(outcome: Mapping[str, Any]) -> Json:
    try:
        found = orjson.loads(orjson.dumps(outcome))
    except TypeError as error:
        raise InternalError(f"The job's outcome cannot be kept as JSON: {error}.") from None
    if not isinstance(found, dict):
        raise InternalError("The job's outcome is no JSON object.")
    return found


def _told(job: Job, error: BaseException) -> ModelryError:
    """What a caller is told of something that no handler should raise."""
    if isinstance(error, MemoryError):
        return WorkFailed("The server has not enough memory for this job.")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Overloaded(
            "The server's disk is full. Free space on it; the job is tried again.",
            retry_after_s=60,
        )
    log.error("job %s of kind %s failed", job.job_id, job.kind, exc_info=error)
    return InternalError("Something went wrong in the server; see its log for this job's id.")
