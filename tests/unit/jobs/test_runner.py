"""The runner with handlers that end in every way."""

from __future__ import annotations

import errno
import threading
from collections.abc import Mapping
from typing import Any

import pytest
from tests.unit.jobs.conftest import ME, Kit, Other, until_stopped, wait_until

from modelry.domain.errors import (
    Cancelled,
    InvalidInput,
    LeaseLost,
    ModelryError,
    Overloaded,
    PermissionDenied,
    WorkFailed,
)
from modelry.domain.jobs import AttemptOutcome, EventKind, Job, JobRequest, JobState
from modelry.domain.usage import Compute
from modelry.services.jobs.handlers import JobRun


def test_a_job_is_done_in_the_name_of_who_asked(kit: Kit) -> None:
    job = kit.submit({"epochs": 3})
    kit.runner()
    done = kit.wait_for(job.job_id, JobState.SUCCEEDED)
    assert done.outcome == {"default": True, "epochs": 3}
    assert kit.handler.runs[0].principal.tenant_id == ME.tenant_id
    assert (done.attempts, done.error) == (1, None)
    [attempt] = kit.service.details(ME, job.job_id).attempts
    assert attempt.outcome is AttemptOutcome.SUCCEEDED


def test_who_follows_a_job_hears_of_its_end_at_once(kit: Kit) -> None:
    job = kit.submit({})
    heard = threading.Event()
    with kit.service.following(job.job_id, heard.set):
        kit.runner()
        assert heard.wait(10)
    assert kit.service.get(ME, job.job_id).state is JobState.SUCCEEDED
    heard.clear()
    kit.service.tell_ended(job.job_id)
    assert not heard.is_set()


def test_what_it_tells_is_kept(kit: Kit) -> None:
    checkpoint, artefact = kit.keep(1), kit.keep(2)

    def act(run: JobRun) -> Mapping[str, Any]:
        run.log("began\0")
        run.metrics(1, {"loss": 2.0})
        run.metrics(1, {"accuracy": 0.5, "bad": float("nan")})
        run.progress(1, 4, "epochs", "training")
        run.save_checkpoint(1, checkpoint, 10)
        assert run.checkpoint() == (1, checkpoint)
        run.save_artefact("model.onnx", artefact, 10)
        return {}

    kit.handler.act = act
    job = kit.submit()
    kit.runner()
    done = kit.wait_for(job.job_id, JobState.SUCCEEDED)
    assert done.progress is not None
    assert (done.progress.done, done.progress.total, done.progress.phase) == (1, 4, "training")
    [point] = kit.service.metrics(ME, job.job_id)
    assert point.values == {"loss": 2.0, "accuracy": 0.5, "bad": None}
    _, events = kit.service.events(ME, job.job_id)
    assert [one.sequence for one in events] == [*range(1, len(events) + 1)]
    assert [one.kind for one in events if one.kind is not EventKind.STATE] == [
        EventKind.METRICS,
        EventKind.LOG,
        EventKind.CHECKPOINT,
        EventKind.ARTEFACT,
    ]
    lines = [line for one in events if one.kind is EventKind.LOG for _, line in one.data["lines"]]
    assert lines == ["began\N{REPLACEMENT CHARACTER}"]
    [kept] = kit.service.details(ME, job.job_id).artefacts
    assert (kept.name, kept.digest) == ("model.onnx", artefact)
    assert kit.let_go == [(ME.tenant_id, checkpoint)]


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (InvalidInput("no such column"), "invalid_input", "no such column"),
        (Cancelled("by itself"), "cancelled", "by itself"),
        (ZeroDivisionError("secret"), "internal_error", "log"),
        (SystemExit(3), "internal_error", "log"),
        (KeyboardInterrupt(), "internal_error", "log"),
    ],
)
def test_an_error_that_would_come_again_ends_the_job(
    kit: Kit, error: BaseException, code: str, words: str
) -> None:
    def act(run: JobRun) -> Mapping[str, Any]:
        run.log("last words")
        raise error

    kit.handler.act = act
    job = kit.submit()
    kit.runner()
    failed = kit.wait_for(job.job_id, JobState.FAILED)
    assert failed.error is not None
    assert failed.error.code == code
    assert words in failed.error.message
    assert "secret" not in failed.error.message
    _, events = kit.service.events(ME, job.job_id, kinds=(EventKind.LOG,))
    assert len(events) == 1


@pytest.mark.parametrize("outcome", [{"a": object()}, ["no", "object"], {"a": {1, 2}}])
def test_an_outcome_that_is_no_json_fails_the_job(kit: Kit, outcome: Any) -> None:
    kit.handler.act = lambda _: outcome
    job = kit.submit()
    kit.runner()
    failed = kit.wait_for(job.job_id, JobState.FAILED)
    assert failed.error is not None
    assert "JSON" in failed.error.message


@pytest.mark.parametrize(
    "error",
    [
        WorkFailed("killed"),
        Overloaded("full", retry_after_s=1),
        MemoryError(),
        OSError(errno.ENOSPC, "no space"),
    ],
)
def test_an_error_that_may_pass_is_tried_again_later(kit: Kit, error: BaseException) -> None:
    def act(run: JobRun) -> Mapping[str, Any]:
        if len(kit.handler.runs) < 3:
            raise error
        return {"tries": len(kit.handler.runs)}

    kit.handler.act = act
    job = kit.submit(retries=2)
    kit.runner()
    for failures in (1, 2):
        waiting = wait_for_failures(kit, job.job_id, failures)
        assert waiting.state is JobState.QUEUED
        assert waiting.not_before is not None
        assert waiting.not_before > kit.clock()
        kit.clock.forward(301)
    assert kit.wait_for(job.job_id, JobState.SUCCEEDED).outcome == {"tries": 3}


def wait_for_failures(kit: Kit, job_id: str, failures: int) -> Any:
    wait_until(lambda: kit.job(job_id).failures == failures)
    return kit.job(job_id)


def test_retries_are_used_up(kit: Kit) -> None:
    def act(_: JobRun) -> Mapping[str, Any]:
        raise WorkFailed("killed")

    kit.handler.act = act
    job = kit.submit(retries=1)
    kit.runner()
    wait_for_failures(kit, job.job_id, 1)
    kit.clock.forward(301)
    failed = kit.wait_for(job.job_id, JobState.FAILED)
    assert failed.error is not None
    assert failed.error.message == "killed"
    kit.handler.act = lambda _: {"at": "last"}
    kit.service.resume(ME, job.job_id)
    resumed = kit.wait_for(job.job_id, JobState.SUCCEEDED)
    assert (resumed.error, resumed.attempts) == (None, 3)


def test_a_checkpoint_in_between_lets_a_job_fail_as_often_again(kit: Kit) -> None:
    checkpoints = [kit.keep(number) for number in range(5)]

    def act(run: JobRun) -> Mapping[str, Any]:
        step = 0 if (known := run.checkpoint()) is None else known[0]
        if step == 4:
            return {}
        run.save_checkpoint(step + 1, checkpoints[step + 1], 10)
        raise WorkFailed("killed")

    kit.handler.act = act
    job = kit.submit(retries=1)
    kit.runner()
    for attempts in range(1, 5):
        wait_until(lambda wanted=attempts: kit.job(job.job_id).attempts == wanted)  # type: ignore[misc] # mypy cannot infer lambdas with defaults
        wait_until(lambda: kit.job(job.job_id).state is not JobState.RUNNING)
        kit.clock.forward(301)
    assert kit.wait_for(job.job_id, JobState.SUCCEEDED).attempts == 5
    assert kit.let_go == [(ME.tenant_id, one) for one in checkpoints[1:]]


@pytest.mark.parametrize("asked", [JobRequest.CANCEL, JobRequest.PAUSE])
@pytest.mark.parametrize("told", [Cancelled("stopped"), WorkFailed("killed as it was stopped")])
def test_a_running_job_is_cancelled_or_paused(kit: Kit, asked: JobRequest, told: Exception) -> None:
    def act(run: JobRun) -> Mapping[str, Any]:
        try:
            return until_stopped(run)
        except Cancelled:
            raise told from None

    kit.handler.act = act
    job = kit.submit()
    kit.runner()
    assert kit.handler.begun.wait(5)
    if asked is JobRequest.CANCEL:
        assert kit.service.cancel(ME, job.job_id).request is asked
        assert kit.wait_for(job.job_id, JobState.CANCELLED).request is None
        return
    assert kit.service.pause(ME, job.job_id).request is asked
    kit.wait_for(job.job_id, JobState.PAUSED)
    kit.handler.act = lambda _: {}
    kit.service.resume(ME, job.job_id)
    kit.wait_for(job.job_id, JobState.SUCCEEDED)


def test_a_job_that_was_done_before_it_heard_of_it_has_succeeded(kit: Kit) -> None:
    def act(run: JobRun) -> Mapping[str, Any]:
        try:
            until_stopped(run)
        except Cancelled:
            return {"late": True}
        return {}

    kit.handler.act = act
    job = kit.submit()
    kit.runner()
    assert kit.handler.begun.wait(5)
    kit.service.cancel(ME, job.job_id)
    assert kit.wait_for(job.job_id, JobState.SUCCEEDED).outcome == {"late": True}


def test_a_handler_that_hangs_is_left_to_itself(kit: Kit) -> None:
    release, refused = threading.Event(), threading.Event()

    def act(run: JobRun) -> Mapping[str, Any]:
        release.wait(10)
        try:
            run.log("still here")
        except LeaseLost:
            refused.set()
            raise
        return {"too": "late"}

    kit.handler.act = act
    job = kit.submit()
    runner = kit.runner(jobs=1, stop_grace_s=0.05)
    assert kit.handler.begun.wait(5)
    kit.service.cancel(ME, job.job_id)
    kit.wait_for(job.job_id, JobState.CANCELLED)
    kit.handler.act = lambda _: {}
    other = kit.submit()
    kit.wait_for(other.job_id, JobState.SUCCEEDED)
    release.set()
    assert refused.wait(5)
    assert kit.job(job.job_id).state is JobState.CANCELLED
    wait_until(lambda: runner.active() == 0)


def test_jobs_go_back_to_the_queue_when_the_server_ends(kit: Kit) -> None:
    kit.handler.act = until_stopped
    job = kit.submit()
    runner = kit.runner()
    assert kit.handler.begun.wait(5)
    runner.stop()
    queued = kit.job(job.job_id)
    assert (queued.state, queued.losses, queued.failures) == (JobState.QUEUED, 0, 0)
    kit.service.ending.clear()
    kit.handler.act = lambda _: {}
    kit.runner(server_id="server-2")
    assert kit.wait_for(job.job_id, JobState.SUCCEEDED).attempts == 2


def test_also_those_whose_handlers_do_not_end(kit: Kit) -> None:
    release = threading.Event()

    def act(_: JobRun) -> Mapping[str, Any]:
        release.wait(10)
        return {"too": "late"}

    kit.handler.act = act
    job = kit.submit()
    runner = kit.runner(shutdown_grace_s=0.05)
    assert kit.handler.begun.wait(5)
    runner.stop()
    assert kit.job(job.job_id).state is JobState.QUEUED
    release.set()


def test_a_lease_that_another_server_took_stops_the_attempt(kit: Kit) -> None:
    ended = threading.Event()

    def act(run: JobRun) -> Mapping[str, Any]:
        try:
            return until_stopped(run)
        finally:
            ended.set()

    kit.handler.act = act
    job = kit.submit()
    kit.runner(jobs=1)
    assert kit.handler.begun.wait(5)
    kit.handler.act = lambda _: {"by": "another"}
    kit.clock.forward(31)
    assert kit.queue.take_expired() >= 0
    done = kit.wait_for(job.job_id, JobState.SUCCEEDED)
    assert ended.wait(5)
    assert (done.outcome, done.attempts) == ({"by": "another"}, 2)
    outcomes = [one.outcome for one in kit.service.details(ME, job.job_id).attempts]
    assert outcomes == [AttemptOutcome.LOST, AttemptOutcome.SUCCEEDED]


def test_who_may_nothing_any_more_has_nothing_done(kit: Kit) -> None:
    kit.callers.refusal = PermissionDenied("revoked")
    job = kit.submit()
    kit.runner()
    failed = kit.wait_for(job.job_id, JobState.FAILED)
    assert failed.error is not None
    assert failed.error.code == "permission_denied"
    assert kit.handler.runs == []


def test_a_database_that_is_away_for_a_while_ends_nothing(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([Overloaded("busy"), OSError("gone"), Overloaded("busy")])
    write_all = kit.database.jobs.write_all

    def sometimes(*args: Any) -> Any:
        error: Exception | None = next(failures, None)
        if error is not None:
            raise error
        return write_all(*args)

    monkeypatch.setattr(kit.database.jobs, "write_all", sometimes)
    job = kit.submit()
    kit.runner()
    kit.wait_for(job.job_id, JobState.SUCCEEDED)


def test_how_it_ended_is_written_down_once_the_database_is_back(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[ModelryError] = [Overloaded("busy"), Overloaded("busy")]
    succeed = kit.attempts.succeed

    def sometimes(*args: Any) -> Any:
        if failures:
            raise failures.pop()
        return succeed(*args)

    monkeypatch.setattr(kit.attempts, "succeed", sometimes)
    monkeypatch.setattr("modelry.services.jobs.runner._END_ATTEMPTS_S", (0.01, 0.01, 0.01))
    job = kit.submit()
    kit.runner()
    assert kit.wait_for(job.job_id, JobState.SUCCEEDED).attempts == 1


def test_only_so_many_at_once(kit: Kit) -> None:
    gate, most, now, lock = threading.Event(), [0], [0], threading.Lock()

    def act(_: JobRun) -> Mapping[str, Any]:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        gate.wait(5)
        with lock:
            now[0] -= 1
        return {}

    kit.handler.act = act
    jobs = [kit.submit() for _ in range(6)]
    kit.runner(jobs=2)
    wait_until(lambda: now[0] == 2)
    gate.set()
    for job in jobs:
        kit.wait_for(job.job_id, JobState.SUCCEEDED)
    assert most[0] == 2


def test_a_server_that_runs_none_leaves_them_alone(kit: Kit) -> None:
    job = kit.submit()
    kit.runner(jobs=0).stop()
    assert kit.job(job.job_id).state is JobState.QUEUED


def test_light_jobs_do_not_wait_behind_long_ones(kit: Kit) -> None:
    light = Other()
    kit.service.add_handler(light, is_light=True)
    kit.handler.act = until_stopped
    release = threading.Event()

    def short(run: JobRun) -> Mapping[str, Any]:
        assert release.wait(10)
        return {}

    light.act = short
    long_ones = [kit.submit() for _ in range(3)]
    shorts = [kit.service.submit(ME, "other", {}) for _ in range(3)]
    runner = kit.runner(jobs=2, light_jobs=1, jobs_per_tenant=2)
    wait_until(lambda: runner.active() == 3)

    def running(jobs: list[Job]) -> int:
        return [kit.job(one.job_id).state for one in jobs].count(JobState.RUNNING)

    assert (running(long_ones), running(shorts)) == (2, 1)
    release.set()
    for one in shorts:
        kit.wait_for(one.job_id, JobState.SUCCEEDED)
    assert running(long_ones) == 2


def test_a_server_that_runs_none_runs_no_light_ones_either(kit: Kit) -> None:
    kit.service.add_handler(Other(), is_light=True)
    job = kit.service.submit(ME, "other", {})
    runner = kit.runner(jobs=0)
    kit.service.cancel(ME, kit.submit().job_id)  # wakes it
    threading.Event().wait(0.05)
    assert runner.active() == 0
    assert kit.job(job.job_id).state is JobState.QUEUED


def test_what_processes_used_is_kept_with_each_attempt(kit: Kit) -> None:
    def act(run: JobRun) -> Mapping[str, Any]:
        run.used(Compute(1_500_000, 2_000_000))
        run.used(Compute(500_000, 1_000_000))
        if len(kit.handler.runs) == 1:
            raise WorkFailed("killed")
        return {}

    kit.handler.act = act
    job = kit.submit()
    kit.runner()
    kit.wait_for(job.job_id, JobState.QUEUED)
    wait_until(lambda: kit.job(job.job_id).not_before is not None)
    kit.clock.forward(10)
    kit.wait_for(job.job_id, JobState.SUCCEEDED)
    attempts = kit.service.details(ME, job.job_id).attempts
    assert [one.compute for one in attempts] == [Compute(2_000_000, 3_000_000)] * 2
