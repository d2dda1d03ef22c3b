"""Jobs on a database in memory, with a clock that can be turned and handlers that can be told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar

import pytest

from modelry.domain.access import Principal
from modelry.domain.errors import Cancelled, InvalidInput
from modelry.domain.jobs import Job, JobState, Lease
from modelry.services.catalog.ports import BlobRecord
from modelry.services.jobs.attempts import Attempts
from modelry.services.jobs.handlers import JobRun
from modelry.services.jobs.queue import JobQueue
from modelry.services.jobs.runner import JobRunner, RunnerLimits
from modelry.services.jobs.service import JobsService
from modelry.testing import samples
from modelry.testing.memory_database import MemoryDatabase

ME = samples.principal()
STRANGER = samples.principal(tenant_id=samples.OTHER_TENANT_ID)
WAIT_S = 10.0


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


class Clock:
    def __init__(self) -> None:
        self.now = samples.NOW

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Told:
    """A handler that does what a test says; by default it gives its parameters back."""

    kind: ClassVar[str] = "told"

    def __init__(self) -> None:
        self.act: Callable[[JobRun], Mapping[str, Any]] = lambda run: dict(run.parameters)
        self.runs: list[JobRun] = []
        self.begun = threading.Event()

    def check(self, principal: Principal, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        del principal
        if "bad" in parameters:
            raise InvalidInput("bad is not possible", param="bad")
        return {"default": True, **parameters}

    def run(self, run: JobRun) -> Mapping[str, Any]:
        self.runs.append(run)
        self.begun.set()
        return self.act(run)


class Other(Told):
    kind: ClassVar[str] = "other"


def until_stopped(run: JobRun) -> Mapping[str, Any]:
    raised = threading.Event()
    run.stop.subscribe(raised.set)
    assert raised.wait(WAIT_S)
    raise Cancelled("stopped")


class Everybody:
    def __init__(self) -> None:
        self.refusal: Exception | None = None

    def principal(self, tenant_id: str, key_id: str) -> Principal:
        if self.refusal is not None:
            raise self.refusal
        return samples.principal(tenant_id=tenant_id)


@dataclass
class Kit:
    database: MemoryDatabase
    clock: Clock
    handler: Told
    service: JobsService
    queue: JobQueue
    attempts: Attempts
    callers: Everybody
    let_go: list[tuple[str, str]] = field(default_factory=list)
    runners: list[JobRunner] = field(default_factory=list)

    def submit(self, parameters: Mapping[str, Any] | None = None, **options: Any) -> Job:
        return self.service.submit(
            options.pop("principal", ME), "told", parameters or {}, **options
        )

    def job(self, job_id: str) -> Job:
        return self.service.get(ME, job_id)

    def claim(self, most: int | None = None) -> tuple[Job, Lease]:
        found = self.queue.claim(["told"], most)
        assert found is not None
        return found

    def keep(self, number: int) -> str:
        record = BlobRecord(digest(number), 10, self.clock())
        self.database.catalog.write(ME.tenant_id, lambda records: records.blobs.add(record))
        return record.digest

    def runner(self, **limits: Any) -> JobRunner:
        queue = JobQueue(self.database.jobs, limits.pop("server_id", "server-1"), clock=self.clock)
        runner = JobRunner(
            self.service,
            queue,
            self.attempts,
            self.callers,
            RunnerLimits(**{"jobs": 2, "tick_s": 0.01, "shutdown_grace_s": 1.0, **limits}),
            let_go=lambda *gone: self.let_go.append(gone),
            clock=self.clock,
        )
        self.runners.append(runner)
        runner.start()
        return runner

    def wait_for(self, job_id: str, *states: JobState) -> Job:
        wait_until(lambda: self.job(job_id).state in states)
        return self.job(job_id)


def wait_until(condition: Callable[[], bool]) -> None:
    step = threading.Event()
    for _ in range(int(WAIT_S / 0.005)):
        if condition():
            return
        step.wait(0.005)
    raise AssertionError("it did not happen in time")


@pytest.fixture
def kit() -> Iterator[Kit]:
    database = MemoryDatabase()
    samples.add_tenants(database)
    clock, handler = Clock(), Told()
    made = Kit(
        database=database,
        clock=clock,
        handler=handler,
        service=JobsService(database.jobs, None, handlers=[handler], clock=clock),  # type: ignore[arg-type] # no artefacts are read
        queue=JobQueue(database.jobs, "server-1", clock=clock),
        attempts=Attempts(database.jobs, clock=clock),
        callers=Everybody(),
    )
    yield made
    for runner in made.runners:
        runner.stop()
