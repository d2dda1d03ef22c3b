"""Whose turn it is, retries and what is estimated."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.unit.jobs.conftest import ME, STRANGER, Kit, digest

from modelry.domain.access import Role
from modelry.domain.errors import (
    InvalidInput,
    NotFound,
    Overloaded,
    PermissionDenied,
    RowsInvalid,
    WorkFailed,
)
from modelry.domain.jobs import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    MAX_LOSSES,
    JobError,
    JobProgress,
    JobState,
    is_retryable,
    pause_s,
)
from modelry.services.jobs.attempts import Told
from modelry.services.jobs.letting_go import LettingGo
from modelry.testing import samples


def test_tenants_take_turns_however_many_jobs_one_has(kit: Kit) -> None:
    for _ in range(5):
        kit.submit()
    kit.clock.forward(1)
    for _ in range(2):
        kit.submit(principal=STRANGER)
    served = []
    for _ in range(6):
        kit.clock.forward(1)
        job, lease = kit.claim()
        served.append(job.tenant_id)
        kit.attempts.succeed(lease, {}, Told())
    mine, theirs = ME.tenant_id, STRANGER.tenant_id
    assert served == [mine, theirs, mine, theirs, mine, mine]


def test_who_has_the_fewest_running_is_next(kit: Kit) -> None:
    for _ in range(3):
        kit.submit()
        kit.submit(principal=STRANGER)
    served = [kit.claim()[0].tenant_id for _ in range(6)]
    assert [served.count(one) for one in {*served[:2]}] == [3, 3]
    assert len({*served[:2]}) == len({*served[2:4]}) == 2


def test_a_tenant_has_only_so_many_at_once(kit: Kit) -> None:
    for _ in range(3):
        kit.submit()
    kit.claim(2)
    _, lease = kit.claim(2)
    assert kit.queue.claim(["told"], 2) is None
    kit.attempts.succeed(lease, {}, Told())
    kit.claim(2)


def test_what_a_server_does_not_know_it_leaves(kit: Kit) -> None:
    kit.submit()
    assert kit.queue.claim(["other"], None) is None
    assert kit.queue.claim([], None) is None


def test_a_job_waits_for_its_time(kit: Kit) -> None:
    kit.submit(not_before=kit.clock() + timedelta(seconds=10))
    assert kit.queue.claim(["told"], None) is None
    kit.clock.forward(10)
    assert kit.claim()[0].not_before is None


def test_outcomes_are_handed_on(kit: Kit) -> None:
    first = kit.submit()
    kit.clock.forward(1)
    second = kit.submit()
    third = kit.submit(after=[first.job_id, second.job_id, first.job_id])
    for number in (1, 2):
        _, lease = kit.claim()
        kit.attempts.succeed(lease, {"number": number}, Told())
    job, _ = kit.claim()
    assert job.job_id == third.job_id
    assert kit.service.inputs(job) == {
        first.job_id: {"number": 1},
        second.job_id: {"number": 2},
    }


def test_a_job_that_takes_servers_down_ends(kit: Kit) -> None:
    job = kit.submit()
    for _ in range(MAX_LOSSES + 1):
        kit.claim()
        kit.queue.take_back()
    failed = kit.job(job.job_id)
    assert failed.state is JobState.FAILED
    assert failed.error is not None
    assert "11 times" in failed.error.message
    kit.service.resume(ME, job.job_id)
    kit.claim()
    kit.queue.take_back()
    assert kit.job(job.job_id).losses == 1


def test_one_that_gets_on_goes_on_however_often_servers_are_lost(kit: Kit) -> None:
    job = kit.submit()
    for number in range(3 * MAX_LOSSES):
        _, lease = kit.claim()
        if number % MAX_LOSSES == 0:
            kit.attempts.save_checkpoint(lease, number, kit.keep(number), 10, Told())
        kit.queue.take_back()
    assert kit.job(job.job_id).state is JobState.QUEUED


def test_only_contents_of_the_tenant_can_be_referred_to(kit: Kit) -> None:
    kit.submit()
    _, lease = kit.claim()
    with pytest.raises(NotFound, match="has no content"):
        kit.attempts.save_checkpoint(lease, 1, digest(1), 10, Told())
    with pytest.raises(NotFound, match="has no content"):
        kit.attempts.save_artefact(lease, "a", digest(1), 10, Told())


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"priority": 101}, "priority"),
        ({"priority": -101}, "priority"),
        ({"retries": -1}, "retries"),
        ({"retries": 101}, "retries"),
        ({"name": "x" * 201}, "name"),
        ({"name": "bell\a"}, "name"),
        ({"after": [f"job-{number}" for number in range(65)]}, "after"),
        ({"not_before": samples.NOW.replace(tzinfo=None)}, "not_before"),
        ({"not_before": samples.NOW + timedelta(days=400)}, "not_before"),
        ({"parameters": {"x": "y" * 2**20}}, "parameters"),
        ({"parameters": {"x": object()}}, "parameters"),
        ({"parameters": {"bad": 1}}, "bad"),
    ],
)
def test_what_cannot_be_is_refused(kit: Kit, options: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidInput) as told:
        kit.submit(options.pop("parameters", {}), **options)
    assert told.value.param == param
    assert list(kit.service.list(ME).jobs) == []


def test_rights_are_needed(kit: Kit) -> None:
    viewer = samples.principal(Role.VIEWER)
    job = kit.submit()
    assert kit.service.get(viewer, job.job_id) == job
    for act in (kit.service.cancel, kit.service.pause, kit.service.resume):
        with pytest.raises(PermissionDenied):
            act(viewer, job.job_id)
    with pytest.raises(PermissionDenied):
        kit.submit(principal=viewer)
    caller = samples.principal(Role.INFERENCE)
    with pytest.raises(PermissionDenied):
        kit.service.get(caller, job.job_id)
    with pytest.raises(PermissionDenied):
        kit.service.list(caller)


def test_other_tenants_jobs_are_not_there(kit: Kit) -> None:
    job = kit.submit()
    for look in (kit.service.get, kit.service.details, kit.service.cancel, kit.service.metrics):
        with pytest.raises(NotFound):
            look(STRANGER, job.job_id)
    with pytest.raises(NotFound):
        kit.submit(principal=STRANGER, after=[job.job_id])
    assert list(kit.service.list(STRANGER).jobs) == []


def test_pauses_grow_up_to_a_bound() -> None:
    pauses = [pause_s(failures) for failures in range(1, 101)]
    assert pauses[0] == FIRST_PAUSE_S
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE_S
    assert pause_s(1, 60.0) == 60.0
    assert pause_s(1, 1e9) == LONGEST_PAUSE_S


def test_what_is_tried_again() -> None:
    assert is_retryable(WorkFailed("killed"))
    assert is_retryable(Overloaded("full"))
    assert not is_retryable(RowsInvalid("row 3"))
    assert is_retryable(RowsInvalid("row 3", retry_after_s=1))


def test_what_is_left_is_estimated() -> None:
    begun = samples.NOW

    def left(done: int, total: int | None, seconds: float, since_done: int = 0) -> float | None:
        at = begun + timedelta(seconds=seconds)
        return JobProgress(done, total, "rows", "", at, begun, since_done).left_s()

    assert left(25, 100, 10) == 30
    assert left(75, 100, 10, since_done=50) == 10
    assert left(120, 100, 10) == 0
    assert left(0, 100, 10) is None
    assert left(5, None, 10) is None
    assert left(5, 10, 0) is None


def test_failures_while_cancelling_do_not_go_on(kit: Kit) -> None:
    job = kit.submit()
    _, lease = kit.claim()
    kit.service.cancel(ME, job.job_id)
    kit.attempts.fail(lease, JobError("internal_error", "x"), Told())
    assert kit.job(job.job_id).state is JobState.CANCELLED


def test_replaced_checkpoints_go_once_they_are_old_enough(kit: Kit) -> None:
    gone: list[str] = []

    def discard(tenant_id: str, name: str, kept_before: Any) -> bool:
        assert tenant_id == ME.tenant_id
        assert kept_before == kit.clock() - timedelta(seconds=wait_s)
        if name == "unlucky":
            raise Overloaded("busy")
        gone.append(name)
        return True

    wait_s = 1000.0
    waiting = LettingGo(discard, wait_s=wait_s, clock=kit.clock)
    waiting(ME.tenant_id, "young")
    waiting.sweep()
    assert gone == []
    wait_s = 0.0
    at_once = LettingGo(discard, wait_s=wait_s, clock=kit.clock)
    for name in ("one", "unlucky", "two"):
        at_once(ME.tenant_id, name)
    at_once.sweep()
    at_once.sweep()
    assert gone == ["one", "two"]
