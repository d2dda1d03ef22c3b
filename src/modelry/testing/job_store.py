# ruff: noqa: D102 - the names of the tests say what they check
"""What every `JobStore` must do. Subclass it and give the fixture `stores`: an empty database
with the default and the other tenant of `testing.samples`.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from modelry.domain.access import DEFAULT_TENANT_ID as TENANT
from modelry.domain.access import TenantState
from modelry.domain.errors import Conflict, LeaseLost, ModelryError
from modelry.domain.jobs import (
    Artefact,
    Attempt,
    AttemptOutcome,
    Checkpoint,
    EventKind,
    Job,
    JobError,
    JobEvent,
    JobProgress,
    JobRequest,
    JobState,
    Lease,
)
from modelry.services.catalog.ports import BlobRecord
from modelry.services.jobs.attempts import Attempts, Told
from modelry.services.jobs.ports import JobFilter
from modelry.services.jobs.queue import JobQueue
from modelry.testing.samples import NOW, OTHER_TENANT_ID, Stores

KINDS = ("train",)
SECOND = timedelta(seconds=1)


def job(number: int = 1, **changes: Any) -> Job:
    """A job, submitted `number` seconds after `NOW`."""
    made = Job(TENANT, f"job-{number}", "train", {"epochs": 3}, NOW + number * SECOND, "key-1")
    return replace(made, **changes)


def add(stores: Stores, *jobs: Job) -> None:
    """Keep jobs."""
    for one in jobs:
        stores.jobs.write(one.tenant_id, lambda records, one=one: records.add(one))  # type: ignore[misc] # mypy cannot infer lambdas with defaults


def find(stores: Stores, number: int = 1, tenant_id: str = TENANT) -> Job:
    """A job that is there."""
    found = stores.jobs.read(tenant_id, lambda records: records.find(tenant_id, f"job-{number}"))
    assert found is not None
    return found


def first(stores: Stores, now: Any = NOW) -> str | None:
    """The id of the default tenant's job that is begun next."""
    found = stores.jobs.write(TENANT, lambda records: records.first_waiting(TENANT, KINDS, now))
    return None if found is None else found.job_id


class JobStoreContract:
    """The suite."""

    def test_a_job_is_what_was_put(self, stores: Stores) -> None:
        add(stores, job(1), job(2))
        whole = job(
            3,
            name="A fine one",
            priority=-5,
            retries=7,
            dependencies=("job-2", "job-1"),
            not_before=NOW + timedelta(days=1),
            parameters={"nested": {"list": [1, 2.5, None, "ü"]}},
        )
        add(stores, whole)
        assert find(stores, 3) == whole
        changed = replace(
            whole,
            state=JobState.FAILED,
            not_before=None,
            started_at=NOW,
            ended_at=NOW + SECOND,
            attempts=3,
            failures=2,
            losses=1,
            request=JobRequest.PAUSE,
            progress=JobProgress(2**40, None, "rows", "reading", NOW, NOW - SECOND, 7),
            outcome={"version": "pets@1"},
            error=JobError("work_failed", "It was killed."),
            last_sequence=9,
        )
        stores.jobs.write(TENANT, lambda records: records.put(changed))
        assert find(stores, 3) == changed

    def test_tenants_have_their_own(self, stores: Stores) -> None:
        add(stores, job(1), job(1, tenant_id=OTHER_TENANT_ID, name="theirs"))
        assert find(stores).name == ""
        assert find(stores, tenant_id=OTHER_TENANT_ID).name == "theirs"
        foreign = stores.jobs.read(TENANT, lambda records: records.find(OTHER_TENANT_ID, "job-1"))
        assert foreign is None

    def test_none_comes_after_what_is_not_there(self, stores: Stores) -> None:
        with pytest.raises(Conflict):
            add(stores, job(1, dependencies=("nowhere",)))
        assert stores.jobs.read(TENANT, lambda records: records.find(TENANT, "job-1")) is None

    def test_listing_filters_and_goes_on(self, stores: Stores) -> None:
        add(stores, *(job(number) for number in range(1, 4)))
        add(stores, job(4, kind="import", name="rows"), job(5, state=JobState.PAUSED))
        add(stores, job(9, tenant_id=OTHER_TENANT_ID))

        def listed(before: str | None = None, limit: int = 10, **wanted: Any) -> list[str]:
            asked = JobFilter(**wanted)
            found = stores.jobs.read(
                TENANT, lambda records: records.list(TENANT, asked, before, limit)
            )
            return [one.job_id for one in found]

        assert listed() == ["job-5", "job-4", "job-3", "job-2", "job-1"]
        assert listed(limit=2) == ["job-5", "job-4"]
        assert listed(before="job-4", limit=2) == ["job-3", "job-2"]
        assert listed(kinds=frozenset({"import"})) == ["job-4"]
        assert listed(states=frozenset({JobState.PAUSED, JobState.FAILED})) == ["job-5"]
        assert listed(name="rows") == ["job-4"]
        queued = stores.jobs.read(TENANT, lambda records: records.count(TENANT, [JobState.QUEUED]))
        assert queued == 4

    def test_what_can_begin(self, stores: Stores) -> None:
        add(
            stores, job(1, state=JobState.PAUSED), job(2, not_before=NOW + SECOND), job(3, kind="x")
        )
        assert first(stores) is None
        assert first(stores, NOW + SECOND) == "job-2"
        add(stores, job(4), job(5, priority=10), job(6, priority=10))
        assert first(stores) == "job-5"
        waiting = stores.jobs.read_all("test", lambda records: records.waiting(KINDS, NOW))
        assert dict(waiting) == {TENANT: NOW + 4 * SECOND}
        assert stores.jobs.read_all("test", lambda records: records.waiting((), NOW)) == {}

    def test_dependencies_hold_a_job_back(self, stores: Stores) -> None:
        add(stores, job(1), job(2, state=JobState.SUCCEEDED))
        add(stores, job(3, priority=10, dependencies=("job-1", "job-2")), job(4))
        add(stores, job(5, dependencies=("job-3",)))
        assert first(stores) == "job-1"
        stores.jobs.write(TENANT, lambda records: records.put(job(1, state=JobState.RUNNING)))
        assert first(stores) == "job-4"
        stores.jobs.write(TENANT, lambda records: records.put(job(1, state=JobState.SUCCEEDED)))
        assert first(stores) == "job-3"
        found = stores.jobs.read(TENANT, lambda records: records.dependants(TENANT, "job-1"))
        assert [one.job_id for one in found] == ["job-3"]

    def test_jobs_of_tenants_that_are_not_active_wait(self, stores: Stores) -> None:
        add(stores, job(1), job(1, tenant_id=OTHER_TENANT_ID))
        stores.keys.write(
            TENANT,
            lambda records: records.put_tenant(
                replace(records.tenant(), state=TenantState.SUSPENDED)  # type: ignore[type-var,arg-type] # it is there
            ),
        )
        waiting = stores.jobs.read_all("test", lambda records: records.waiting(KINDS, NOW))
        assert list(waiting) == [OTHER_TENANT_ID]

    def test_leases(self, stores: Stores) -> None:
        add(stores, job(1), job(2), job(3, tenant_id=OTHER_TENANT_ID))
        leases = [
            Lease(TENANT, "job-1", 1, "here", NOW),
            Lease(TENANT, "job-2", 4, "there", NOW + SECOND),
            Lease(OTHER_TENANT_ID, "job-3", 1, "here", NOW + SECOND),
        ]
        for lease in leases:
            stores.jobs.write_all("test", lambda records, lease=lease: records.put_lease(lease))  # type: ignore[misc] # mypy cannot infer lambdas with defaults

        def work(records: Any) -> tuple[Any, ...]:
            return (
                list(records.leases_of("here")),
                list(records.expired(NOW)),
                dict(records.running(KINDS)),
                dict(records.running(("x",))),
                records.lease(TENANT, "job-2"),
            )

        held, expired, running, others, second = stores.jobs.read_all("test", work)
        assert held == [leases[0], leases[2]]
        assert expired == [leases[0]]
        assert running == {TENANT: 2, OTHER_TENANT_ID: 1}
        assert others == {}
        assert second == leases[1]
        renewed = replace(leases[0], token=2, expires_at=NOW + 5 * SECOND)
        stores.jobs.write(TENANT, lambda records: records.put_lease(renewed))
        stores.jobs.write(TENANT, lambda records: records.delete_lease(TENANT, "job-2"))
        stores.jobs.write(TENANT, lambda records: records.delete_lease(TENANT, "job-2"))
        assert stores.jobs.read_all("test", work) == (
            [renewed, leases[2]],
            [],
            {TENANT: 1, OTHER_TENANT_ID: 1},
            {},
            None,
        )

    def test_attempts(self, stores: Stores) -> None:
        add(stores, job(1))
        open_one = Attempt(TENANT, "job-1", 1, "here", NOW)
        lost = replace(
            open_one,
            ended_at=NOW + SECOND,
            outcome=AttemptOutcome.LOST,
            error=JobError("work_failed", "words"),
        )
        second = replace(open_one, number=2, started_at=NOW + SECOND)
        for one in (open_one, lost, second):
            stores.jobs.write(TENANT, lambda records, one=one: records.put_attempt(one))  # type: ignore[misc] # mypy cannot infer lambdas with defaults
        found = stores.jobs.read(TENANT, lambda records: list(records.attempts(TENANT, "job-1")))
        assert found == [lost, second]
        served = stores.jobs.read_all("test", lambda records: records.served([TENANT, "nobody"]))
        assert dict(served) == {TENANT: NOW + SECOND}

    def test_events(self, stores: Stores) -> None:
        add(stores, job(1), job(2))
        events = [
            JobEvent(1, NOW, 0, EventKind.STATE, {"state": "queued"}),
            JobEvent(2, NOW, 1, EventKind.LOG, {"lines": [["x", "ü"]]}),
            JobEvent(3, NOW, 1, EventKind.METRICS, {"points": [[1, {"loss": None}]]}),
        ]
        stores.jobs.write(TENANT, lambda records: records.add_events(TENANT, "job-1", events[:1]))
        stores.jobs.write(TENANT, lambda records: records.add_events(TENANT, "job-1", events[1:]))

        def read(after: int = 0, kinds: Any = tuple(EventKind), limit: int = 9) -> list[JobEvent]:
            return list(
                stores.jobs.read(
                    TENANT,
                    lambda records: records.events(
                        TENANT, "job-1", after=after, kinds=kinds, limit=limit
                    ),
                )
            )

        assert read() == events
        assert read(after=1) == events[1:]
        assert read(after=1, limit=1) == events[1:2]
        assert read(kinds=(EventKind.METRICS,)) == events[2:]
        with pytest.raises(ModelryError):
            stores.jobs.write(
                TENANT, lambda records: records.add_events(TENANT, "job-1", events[:1])
            )

    def test_contents_of_jobs_are_not_collected(self, stores: Stores) -> None:
        add(stores, job(1))
        digests = [f"sha256:{number:064x}" for number in range(4)]
        for digest in digests:
            blob = BlobRecord(digest, 10, NOW)
            stores.catalog.write(TENANT, lambda records, blob=blob: records.blobs.add(blob))  # type: ignore[misc] # mypy cannot infer lambdas with defaults
        first_one, second = (Checkpoint(step, digests[step], 10, 1, NOW) for step in (0, 1))
        artefact = Artefact("model.onnx", digests[2], 10, NOW)

        def keep(records: Any) -> tuple[Any, ...]:
            return (
                records.put_checkpoint(TENANT, "job-1", first_one),
                records.put_checkpoint(TENANT, "job-1", second),
                records.put_checkpoint(TENANT, "job-1", second),
                records.put_artefact(TENANT, "job-1", artefact),
                records.has_content(TENANT, digests[3]),
                records.has_content(TENANT, "sha256:nothing"),
            )

        assert stores.jobs.write(TENANT, keep) == (None, digests[0], None, None, True, False)
        kept = stores.jobs.read(
            TENANT,
            lambda records: (
                records.checkpoint(TENANT, "job-1"),
                list(records.artefacts(TENANT, "job-1")),
            ),
        )
        assert kept == (second, [artefact])

        def unused(**only: Any) -> list[str]:
            return sorted(
                stores.catalog.write(
                    TENANT, lambda records: records.blobs.delete_unused(NOW + SECOND, **only)
                )
            )

        assert unused(digest=digests[1]) == []
        assert unused(digest=digests[0]) == [digests[0]]
        assert unused() == [digests[3]]
        gone = stores.jobs.write(TENANT, lambda records: records.delete_checkpoint(TENANT, "job-1"))
        assert gone == digests[1]
        assert unused() == [digests[1]]

    def test_old_jobs_go_with_all_that_belongs_to_them(self, stores: Stores) -> None:
        old = {"state": JobState.SUCCEEDED, "ended_at": NOW}
        add(stores, job(1, **old), job(2, **old), job(3, state=JobState.PAUSED))
        add(stores, job(4, dependencies=("job-2",)), job(5, dependencies=("job-1",), **old))
        add(stores, job(6, state=JobState.FAILED, ended_at=NOW + SECOND))
        events = [JobEvent(1, NOW, 0, EventKind.STATE)]
        stores.jobs.write(TENANT, lambda records: records.add_events(TENANT, "job-1", events))

        def deleted(limit: int = 9) -> int:
            return stores.jobs.write(
                TENANT, lambda records: records.delete_ended(TENANT, NOW + SECOND, limit)
            )

        assert (deleted(1), deleted(), deleted()) == (1, 1, 0)
        left = stores.jobs.read(TENANT, lambda records: records.list(TENANT, JobFilter(), None, 9))
        assert [one.job_id for one in left] == ["job-6", "job-4", "job-3", "job-2"]
        assert find(stores, 4).dependencies == ("job-2",)

    def test_each_job_is_begun_once_however_many_ask(self, stores: Stores) -> None:
        add(stores, *(job(number) for number in range(1, 13)))
        queues = [JobQueue(stores.jobs, f"server-{number}") for number in range(4)]
        began: list[tuple[str, int]] = []
        failures: list[BaseException] = []

        def work(queue: JobQueue) -> None:
            try:
                while (claimed := queue.claim(KINDS, None)) is not None:
                    began.append((claimed[0].job_id, claimed[1].token))
            except BaseException as error:  # noqa: BLE001 - handed to the test's thread
                failures.append(error)

        threads = [threading.Thread(target=work, args=(queue,)) for queue in queues]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert sorted(began) == sorted((f"job-{number}", 1) for number in range(1, 13))

    def test_an_attempt_that_is_over_writes_nothing(self, stores: Stores) -> None:
        add(stores, job(1))
        now = [NOW + timedelta(minutes=1)]
        here, there = (
            JobQueue(stores.jobs, name, clock=lambda: now[0]) for name in ("here", "there")
        )
        attempts = Attempts(stores.jobs, clock=lambda: now[0])
        claimed = here.claim(KINDS, None)
        assert claimed is not None
        lease = claimed[1]
        attempts.tell(lease, Told(events=[(EventKind.LOG, now[0], {"lines": []})]))
        now[0] += timedelta(seconds=31)
        assert there.take_expired() == 1
        for _ in range(2):  # taken back, and begun anew
            with pytest.raises(LeaseLost):
                attempts.tell(lease, Told())
            with pytest.raises(LeaseLost):
                attempts.succeed(lease, {}, Told())
            with pytest.raises(LeaseLost):
                attempts.fail(lease, JobError("x", "y"), Told())
            with pytest.raises(LeaseLost):
                attempts.stopped(lease, Told(), in_order=True)
            assert here.renew([lease]).lost == {(TENANT, "job-1")}
            assert here.look([lease]).lost == {(TENANT, "job-1")}
            there.claim(KINDS, None)
        assert find(stores).state is JobState.RUNNING
        attempts.succeed(replace(lease, token=2), {"a": 1}, Told())
        assert find(stores).outcome == {"a": 1}
