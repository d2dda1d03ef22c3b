"""Random histories of jobs, servers and clocks: what must hold holds after each step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
)
from tests.unit.jobs.conftest import ME, Clock, Told, digest

from modelry.domain.errors import Conflict, LeaseLost
from modelry.domain.jobs import (
    ENDED,
    MAX_LOSSES,
    TRANSITIONS,
    AttemptOutcome,
    EventKind,
    Job,
    JobAct,
    JobError,
    JobState,
    Lease,
)
from modelry.services.catalog.ports import BlobRecord
from modelry.services.jobs import attempts as writing
from modelry.services.jobs.attempts import Attempts
from modelry.services.jobs.ports import JobFilter
from modelry.services.jobs.queue import LEASE_S, JobQueue
from modelry.services.jobs.service import JobsService
from modelry.testing import samples
from modelry.testing.memory_database import MemoryDatabase

SERVERS = ("one", "two", "three")
NOTHING = writing.Told()


@dataclass(frozen=True)
class Held:
    """A lease that a server was given, whether it still has it or not."""

    server: str
    lease: Lease


class Jobs(RuleBasedStateMachine):
    """Servers that claim, write, end, are killed and wake up late; people that interfere."""

    job_ids = Bundle("job_ids")
    held = Bundle("held")

    @initialize()
    def begin(self) -> None:
        self.clock = Clock()
        self.database = MemoryDatabase()
        samples.add_tenants(self.database)
        self.service = JobsService(
            self.database.jobs,
            None,  # type: ignore[arg-type] # no artefacts are read
            handlers=[Told()],
            clock=self.clock,
        )
        self.queues = {
            name: JobQueue(self.database.jobs, name, clock=self.clock) for name in SERVERS
        }
        self.attempts = Attempts(self.database.jobs, clock=self.clock)
        self.before: Mapping[str, Job] = {}
        for number in range(9):
            self.database.catalog.write(
                ME.tenant_id,
                lambda records, number=number: records.blobs.add(  # type: ignore[misc] # mypy cannot infer lambdas with defaults
                    BlobRecord(digest(number), 1, samples.NOW)
                ),
            )

    # ---- people -----------------------------------------------------------------------------

    @rule(target=job_ids, after=st.lists(job_ids, max_size=3), retries=st.integers(0, 2))
    def submit(self, after: list[str], retries: int) -> Any:
        try:
            return self.service.submit(ME, "told", {}, after=after, retries=retries).job_id
        except Conflict:
            assert {self.job(one).state for one in after} & {JobState.FAILED, JobState.CANCELLED}
            return multiple()

    @rule(job_id=job_ids, act=st.sampled_from(["cancel", "pause", "resume"]))
    def interfere(self, job_id: str, act: str) -> None:
        before = self.job(job_id)
        try:
            getattr(self.service, act)(ME, job_id)
        except Conflict:
            assert before.state is not JobState.RUNNING or act == "resume"
            assert self.job(job_id) == before

    # ---- servers ----------------------------------------------------------------------------

    @rule(target=held, server=st.sampled_from(SERVERS), most=st.sampled_from([None, 1, 2]))
    def claim(self, server: str, most: int | None) -> Any:
        claimed = self.queues[server].claim(["told"], most)
        if claimed is None:
            return multiple()
        job, lease = claimed
        assert (job.state, job.attempts) == (JobState.RUNNING, lease.token)
        for one in job.dependencies:
            assert self.job(one).state is JobState.SUCCEEDED
        if most is not None:
            running = [one for one in self.jobs().values() if one.state is JobState.RUNNING]
            assert len(running) <= most
        return Held(server, lease)

    @rule(one=held, number=st.integers(0, 8))
    def save_checkpoint(self, one: Held, number: int) -> None:
        self.written(
            one,
            lambda: self.attempts.save_checkpoint(one.lease, number, digest(number), 1, NOTHING),
        )

    @rule(one=held)
    def succeed(self, one: Held) -> None:
        self.written(one, lambda: self.attempts.succeed(one.lease, {"done": True}, NOTHING))

    @rule(one=held, retryable=st.booleans())
    def fail(self, one: Held, retryable: bool) -> None:
        error = JobError("work_failed", "killed")
        self.written(
            one, lambda: self.attempts.fail(one.lease, error, NOTHING, retryable=retryable)
        )

    @rule(one=held, in_order=st.booleans())
    def stop(self, one: Held, in_order: bool) -> None:
        self.written(one, lambda: self.attempts.stopped(one.lease, NOTHING, in_order=in_order))

    @rule(one=held)
    def renew(self, one: Held) -> None:
        beat = self.queues[one.server].renew([one.lease])
        place = (one.lease.tenant_id, one.lease.job_id)
        assert (place in beat.lost) != self.holds(one)

    @rule(server=st.sampled_from(SERVERS))
    def is_killed_and_starts_again(self, server: str) -> None:
        self.queues[server].take_back()
        kept = self.database.jobs.read_all("test", lambda records: records.leases_of(server))
        assert kept == []

    @rule(server=st.sampled_from(SERVERS))
    def take_expired(self, server: str) -> None:
        self.queues[server].take_expired()

    @rule(seconds=st.sampled_from([1.0, LEASE_S / 2, LEASE_S + 1, 400.0]))
    def wait(self, seconds: float) -> None:
        self.clock.forward(seconds)

    # ---- what holds -------------------------------------------------------------------------

    def written(self, one: Held, write: Any) -> None:
        """A write goes through exactly when the lease is still the one that is held."""
        holds, before = self.holds(one), self.jobs()
        try:
            write()
        except LeaseLost:
            assert not holds
            assert self.jobs() == before
        else:
            assert holds

    def holds(self, one: Held) -> bool:
        lease = self.database.jobs.read(
            ME.tenant_id, lambda records: records.lease(ME.tenant_id, one.lease.job_id)
        )
        return lease is not None and lease.token == one.lease.token

    def job(self, job_id: str) -> Job:
        return self.service.get(ME, job_id)

    def jobs(self) -> dict[str, Job]:
        found = self.database.jobs.read(
            ME.tenant_id, lambda records: records.list(ME.tenant_id, JobFilter(), None, 1000)
        )
        return {one.job_id: one for one in found}

    @invariant()
    def all_is_well(self) -> None:
        if not hasattr(self, "database"):
            return
        now = self.jobs()
        for job_id, job in now.items():
            self.check_change(self.before.get(job_id), job)
            self.check_rows(job)
            self.check_dependencies(job, now)
        self.before = now

    def check_change(self, before: Job | None, job: Job) -> None:
        if before is None or before.state is job.state:
            return
        assert job.state in reachable(before.state)
        assert job.attempts >= before.attempts
        assert job.last_sequence > before.last_sequence

    def check_rows(self, job: Job) -> None:
        place = (job.tenant_id, job.job_id)

        def look(records: Any) -> tuple[Any, ...]:
            return records.lease(*place), records.attempts(*place), records.checkpoint(*place)

        lease, attempts, checkpoint = self.database.jobs.read(job.tenant_id, look)
        assert (lease is not None) == (job.state is JobState.RUNNING)
        assert [one.number for one in attempts] == [*range(1, job.attempts + 1)]
        assert [one.outcome is None for one in attempts].count(True) == (lease is not None)
        if lease is not None:
            assert lease.token == job.attempts
            assert attempts[-1].outcome is None
        if job.state in (JobState.SUCCEEDED, JobState.CANCELLED):
            assert checkpoint is None
        assert (job.ended_at is not None) == (job.state in ENDED)
        assert (job.request is None) or job.state is JobState.RUNNING
        assert (job.outcome is not None) == (job.state is JobState.SUCCEEDED)
        assert job.losses <= MAX_LOSSES + 1
        if job.state is JobState.SUCCEEDED:
            assert attempts[-1].outcome is AttemptOutcome.SUCCEEDED
        _, events = self.service.events(ME, job.job_id)
        assert [one.sequence for one in events] == [*range(1, job.last_sequence + 1)]
        states = [one.data["state"] for one in events if one.kind is EventKind.STATE]
        assert states[0] == JobState.QUEUED
        assert states[-1] == job.state

    def check_dependencies(self, job: Job, now: Mapping[str, Job]) -> None:
        states = {now[one].state for one in job.dependencies}
        if job.state is JobState.RUNNING or job.attempts:
            assert states <= {JobState.SUCCEEDED}
        if job.state in (JobState.QUEUED, JobState.PAUSED):
            assert not states & {JobState.FAILED, JobState.CANCELLED}


def reachable(state: JobState) -> set[JobState]:
    """Where several changes within one step can lead."""
    found, ends = {state}, [state]
    while ends:
        here = ends.pop()
        nexts = {goal for (start, _), goal in TRANSITIONS.items() if start is here} - found
        found |= nexts
        ends += nexts
    return found


TestJobs = Jobs.TestCase
TestJobs.settings = settings(
    max_examples=15,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.mark.parametrize("state", list(JobState))
@pytest.mark.parametrize("act", list(JobAct))
def test_only_what_is_in_the_table_can_happen(state: JobState, act: JobAct) -> None:
    job = Job("default", "job-1", "told", {}, samples.NOW, "key", state=state)
    goal = TRANSITIONS.get((state, act))
    assert job.may(act) == (goal is not None)
    if goal is None:
        with pytest.raises(Conflict, match=f"is {state}; it takes a job that is"):
            job.after(act, samples.NOW)
    else:
        assert job.after(act, samples.NOW).state is goal


def test_ended_jobs_stay_so_but_for_failed_ones() -> None:
    left = {(state, act) for state, act in TRANSITIONS if state in ENDED}
    assert left == {(JobState.FAILED, JobAct.RESUME), (JobState.CANCELLED, JobAct.REVIVE)}
