"""The job that explains one answer: what it refuses, whom it asks, what it keeps."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import orjson
import pytest

from modelry.domain.access import Role
from modelry.domain.errors import (
    BudgetExceeded,
    InvalidInput,
    ModelryError,
    NotFound,
    NotSupported,
    Overloaded,
    PermissionDenied,
    QuotaExceeded,
)
from modelry.domain.jobs import Job, JobError, JobState
from modelry.domain.quotas import QuotaLimits
from modelry.domain.usage import Origin
from modelry.explaining.asked import Asked
from modelry.explaining.contract import Wish
from modelry.explaining.course import Progress
from modelry.gradients.contract import ASKED, EXPLANATION, INFER, MEASURE
from modelry.runtime_api.tensors import pack_tensors, unpack_tensors
from modelry.runtime_api.work import WorkHost, WorkLimits
from modelry.services.explanation import asking, following
from modelry.services.explanation.asking import ExplanationJobs
from modelry.services.explanation.one import ExplainOneHandler
from modelry.services.inference.metering import Meter
from modelry.services.quotas.accounts import Accounts
from modelry.testing import samples
from modelry.testing.jobs import FakeJobRun
from modelry.testing.work import ThreadWorks

ME = samples.principal()
GRADIENTS = Asked({"text": "a"}, {}, Wish(method="integrated-gradients"))
VERSION = replace(
    samples.version(), task="text-classification", manifest={"format": "onnx", "pre": []}
)
ORIGIN = Origin("default", "spam", "spam", VERSION.number, VERSION.task)
LIMITS = QuotaLimits(explanations_per_day=2)
JOB = Job("default", "job-1", "explain-one", {}, samples.NOW, "key-1")


class Contents:
    """Contents in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def keep(self, tenant_id: str, chunks: Any) -> Any:
        content = b"".join(chunks)
        digest = f"sha256:{len(self.kept):064}"
        self.kept[digest] = content
        return samples.BlobRecord(digest, len(content), samples.NOW)

    def size_of(self, tenant_id: str, digest: str) -> int | None:
        return len(self.kept[digest]) if digest in self.kept else None

    def open(self, tenant_id: str, digest: str, name: str) -> Any:
        path = Path(self.folder) / "opened"
        path.write_bytes(self.kept[digest])
        return SimpleNamespace(path=path, close=lambda: None)

    folder: Path


class Inference:
    """A data plane with one deployment, which doubles tensors."""

    def __init__(self) -> None:
        self.version = VERSION
        self.deployed_at = samples.NOW
        self.accounts, self.meter = Accounts(key_defaults=LIMITS), Meter()
        self.failures: list[ModelryError] = []
        self.asked = 0

    def target(self, principal: Any, name: str, number: int) -> Any:
        if name != "spam":
            raise NotFound("There is none.")
        return SimpleNamespace(
            deployment=SimpleNamespace(
                name="spam", tenant_id="default", created_at=self.deployed_at
            ),
            version=self.version,
            group=SimpleNamespace(origin=ORIGIN),
        )

    async def infer(self, principal: Any, target: Any, inputs: Any) -> Any:
        self.asked += 1
        if self.failures:
            raise self.failures.pop(0)
        return SimpleNamespace(outputs={"y": inputs["x"] * 2})

    async def explain(
        self, principal: Any, target: Any, item: Any, *asked: Any, on_progress: Any = None
    ) -> Any:
        wish: Wish = asked[1]
        if wish.given:
            told = {"faithfulness": {"of": list(wish.given), "for": wish.target}}
            told["cost"] = {"model_calls": 40}
            return SimpleNamespace(told=told, picture=b"", usage={})
        told = {"method": wish.method, "of": item["text"]}
        usage = {"explanations": 1, "model_calls": 90}
        on_progress(Progress("checking", 20, 40))
        await asyncio.sleep(0.3)
        return SimpleNamespace(told=told, picture=b"png", usage=usage)


class Doubling:
    """Work that asks once, has measured what shall be, and tells what it got."""

    name: ClassVar[str] = "explain-one"

    def run(self, host: WorkHost) -> Any:
        asked = Asked.from_bytes(host.ask(ASKED, {}).body)
        entries, parts = pack_tensors({"x": np.array([[3.0]], "f4")})
        answer = host.ask(INFER, {"inputs": entries}, b"".join(parts))
        doubled = unpack_tensors(answer.header["arrays"], answer.body)["y"]
        measured = None
        if asked.wish.checks:
            measured = host.ask(MEASURE, {"weights": [0.5, 2], "target": 1}).header
        return {"of": asked.item["text"], "found": doubled.tolist(), "measured": measured}


class Kit:
    def __init__(self, folder: Path, loop: asyncio.AbstractEventLoop) -> None:
        self.contents, self.inference = Contents(), Inference()
        self.contents.folder = folder
        self.handler = ExplainOneHandler(
            self.inference,  # type: ignore[arg-type] # as far as it is needed
            self.contents,  # type: ignore[arg-type] # likewise
            ThreadWorks(Doubling()),
            WorkLimits(),
            lambda: loop,
        )

    def parameters(self, asked: Asked = GRADIENTS, **changes: Any) -> dict[str, Any]:
        kept = self.contents.keep("default", [asked.to_bytes()])
        told = {"deployment": "spam", "version": 1, "input": kept.digest}
        return {**told, "method": asked.wish.method, **changes}

    def told(self, run: FakeJobRun) -> Any:
        digest, _ = run.artefacts[EXPLANATION]
        return orjson.loads(self.contents.kept[digest])


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield Kit(tmp_path, loop)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    loop.close()


def test_gradients_are_work_that_asks_the_engine_that_serves(kit: Kit) -> None:
    run = FakeJobRun(kit.handler.check(ME, kit.parameters()))
    outcome = kit.handler.run(run)
    assert outcome == {"deployment": "spam", "version": VERSION.ref}
    named = {"model": "spam", "version": VERSION.number}
    measured = {"faithfulness": {"of": [0.5, 2.0], "for": 1}, "model_calls": 40}
    assert kit.told(run) == {**named, "of": "a", "found": [[6.0]], "measured": measured}


def test_a_process_stays_for_one_version_of_one_deployment_of_one_tenant(kit: Kit) -> None:
    names = set()
    later = samples.NOW + timedelta(seconds=1)
    versions = [
        VERSION,
        replace(VERSION, tenant_id="other"),
        replace(VERSION, number=VERSION.number + 1),
        replace(VERSION, digest=f"sha256:{7:064}"),
        replace(VERSION, created_at=later),
    ]
    for version in versions:
        kit.inference.version = version
        names.add(following.known_as_by(kit.inference.target(ME, "spam", 1)))
    kit.inference.deployed_at = later
    names.add(following.known_as_by(kit.inference.target(ME, "spam", 1)))
    assert len(names) == 6
    assert following.known_as_by(kit.inference.target(ME, "spam", 1)) in names


def test_other_methods_are_asked_of_the_worker(kit: Kit) -> None:
    asked = Asked({"text": "b"}, {}, Wish(method="shapley", picture=True))
    run = FakeJobRun(kit.handler.check(ME, kit.parameters(asked)))
    kit.handler.run(run)
    told = kit.told(run)
    assert (told["method"], told["of"], told["picture"]) == ("shapley", "b", "cG5n")
    calls = "model calls"
    assert run.told[0] == (0, None, calls, "explaining")
    assert (20, 40, calls, "checking") in run.told
    assert run.told[-1] == (90, 90, calls, "done")


def test_limits_of_the_moment_slow_it_down_and_a_spent_budget_ends_it(kit: Kit) -> None:
    run = FakeJobRun(kit.handler.check(ME, kit.parameters()))
    kit.inference.failures = [QuotaExceeded("slower", retry_after_s=0.01)]
    kit.handler.run(run)
    assert kit.inference.asked == 2
    kit.inference.failures = [BudgetExceeded("spent", retry_after_s=0.01)]
    with pytest.raises(BudgetExceeded):
        kit.handler.run(run)


def test_explanations_that_no_worker_makes_count_and_are_in_the_ledger(kit: Kit) -> None:
    unchecked = replace(GRADIENTS, wish=replace(GRADIENTS.wish, checks=False))
    told = kit.handler.check(ME, kit.parameters(unchecked))
    kit.handler.run(FakeJobRun(kit.handler.check(ME, kit.parameters())))  # a worker counts it
    assert not kit.inference.meter.take().series
    for job in ("job-1", "job-2"):
        kit.handler.run(FakeJobRun(told, job_id=job))
    (series,) = kit.inference.meter.take().series
    assert (series.key.origin, series.key.key_id) == (ORIGIN, ME.key_id)
    assert [units for _, units in series.units] == [{"explanations": 1}]
    assert [one for _, one in series.other_ids] == [b"job-1", b"job-2"]
    with pytest.raises(BudgetExceeded, match="may use 2 explanations per day"):
        kit.handler.run(FakeJobRun(told, job_id="job-3"))
    for asked in (unchecked, Asked({"text": "a"}, {}, Wish())):
        with pytest.raises(BudgetExceeded):
            kit.handler.check(ME, kit.parameters(asked))


@pytest.mark.parametrize(
    ("version", "changes", "error", "words"),
    [
        ({"tenant_id": "other"}, {}, NotSupported, "belongs to another tenant"),
        ({"manifest": {"format": "gguf"}}, {}, NotSupported, "of the format 'gguf'"),
        ({"task": "chat"}, {}, InvalidInput, "of those by gradients the task 'chat' has: none"),
        ({}, {"method": "grad-cam"}, InvalidInput, "has: integrated-gradients"),
        ({}, {"why": 1}, InvalidInput, "'why' is no parameter"),
        ({}, {"method": []}, InvalidInput, "'method' must be a text"),
        ({}, {"version": "3"}, InvalidInput, "number of one that is served"),
        ({}, {"deployment": "ham"}, NotFound, "There is none"),
        ({}, {"input": "sha256:no"}, NotFound, "is not there"),
    ],
)
def test_what_cannot_be_is_refused_before_it_is_queued(
    kit: Kit, version: Any, changes: Any, error: type[ModelryError], words: str
) -> None:
    kit.inference.version = replace(VERSION, **version)
    with pytest.raises(error, match=words):
        kit.handler.check(ME, kit.parameters(**changes))


def test_a_server_without_the_library_says_what_to_install(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "_is_installed", lambda name: False)
    with pytest.raises(NotSupported, match="pip install"):
        kit.handler.check(ME, kit.parameters())
    kit.handler.check(ME, kit.parameters(Asked({"text": "a"}, {}, Wish())))


class Jobs:
    """A queue with one job."""

    def __init__(self) -> None:
        self.job = replace(JOB, state=JobState.RUNNING)
        self.is_cancelled = False
        self.looked = 0
        self.listeners: list[Callable[[], None]] = []

    @contextmanager
    def following(self, job_id: str, listener: Callable[[], None]) -> Iterator[None]:
        self.listeners.append(listener)
        yield
        self.listeners.remove(listener)

    def submit(self, principal: Any, kind: str, parameters: Any, *, retries: int) -> Any:
        self.parameters = parameters
        return self.job

    def get(self, principal: Any, job_id: str) -> Any:
        self.looked += 1
        return self.job

    def cancel(self, principal: Any, job_id: str) -> None:
        self.is_cancelled = True

    def open_artefact(self, principal: Any, job_id: str, name: str) -> Any:
        return None, iter([b'{"method":', b'"x"}'])


def explanations() -> tuple[ExplanationJobs, Jobs]:
    jobs = Jobs()
    return ExplanationJobs(jobs, Contents()), jobs  # type: ignore[arg-type] # as far as needed


def test_who_waits_gets_the_explanation_or_none_when_time_is_up() -> None:
    service, jobs = explanations()

    async def run() -> None:
        target = Inference().target(ME, "spam", 3)
        job = await service.start(ME, target, GRADIENTS)
        assert jobs.parameters["method"] == "integrated-gradients"
        assert "text" not in str(jobs.parameters)
        assert await service.explanation(ME, job, within_s=0) is None
        assert not jobs.is_cancelled
        jobs.job = replace(jobs.job, state=JobState.SUCCEEDED)
        assert await service.explanation(ME, job) == {"method": "x"}
        jobs.job = replace(
            jobs.job, state=JobState.FAILED, error=JobError("not_supported", "no twin")
        )
        with pytest.raises(NotSupported, match="no twin"):
            await service.explanation(ME, job)

    asyncio.run(run())


def test_when_nobody_waits_any_more_the_job_is_cancelled() -> None:
    service, jobs = explanations()

    async def run() -> None:
        waiting = asyncio.create_task(service.explanation(ME, jobs.job))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(run())
    assert jobs.is_cancelled


def test_who_waits_hears_at_once_of_an_end_on_this_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_FIRST_LOOK_S", 30.0)
    monkeypatch.setattr(asking, "_LAST_LOOK_S", 30.0)
    service, jobs = explanations()

    async def run() -> None:
        waiting = asyncio.create_task(service.explanation(ME, jobs.job))
        while not jobs.listeners:
            await asyncio.sleep(0)
        jobs.job = replace(jobs.job, state=JobState.SUCCEEDED)
        jobs.listeners[0]()
        assert await asyncio.wait_for(waiting, 5) == {"method": "x"}

    asyncio.run(run())
    assert (jobs.looked, jobs.listeners) == (1, [])


def test_so_many_wait_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "MOST_WAITING", 0)
    service, jobs = explanations()
    with pytest.raises(Overloaded, match="requests wait for explanations"):
        asyncio.run(service.explanation(ME, jobs.job))
    assert jobs.is_cancelled


def test_keys_that_may_start_no_jobs_start_none() -> None:
    service, _ = explanations()
    caller = samples.principal(Role.INFERENCE)
    target = Inference().target(ME, "spam", 3)
    with pytest.raises(PermissionDenied, match="jobs:write"):
        asyncio.run(service.start(caller, target, GRADIENTS))
