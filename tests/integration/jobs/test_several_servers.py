"""Jobs of two servers on one PostgreSQL, in processes of their own."""

from __future__ import annotations

import secrets
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tests.support.postgres import PostgresDatabases, Urls
from tests.support.server import Running, start

from modelry import Client
from modelry.client.jobs import Job

SERVER = "tests.support.jobs_server"


@pytest.fixture
def urls(postgres: PostgresDatabases) -> Iterator[Urls]:
    with postgres.empty() as urls:
        yield urls


class Servers:
    """Servers of one installation, and a client of each."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self._folder = folder
        self._key = secrets.token_urlsafe(32)
        self._settings = {
            "secrets": str(folder / "secrets"),
            "blobs": str(folder / "blobs"),
            **settings,
        }
        self.running: dict[str, Running] = {}
        self._clients: dict[str, Client] = {}

    def begin(self, name: str) -> str:
        """Start one; its id."""
        running = start(self._folder / name, key=self._key, module=SERVER, **self._settings)
        server_id = (self._folder / name / "server-id").read_text().strip()
        self.running[server_id] = running
        self._clients[server_id] = Client(running.url, self._key)
        return server_id

    def submit(self, server_id: str) -> Job:
        asked = {"steps": 400, "step_s": 0.1, "every": 2}
        return self._clients[server_id].jobs.submit("count", asked)

    def seen_by(self, server_id: str, job: Job) -> Job:
        return self._clients[server_id].jobs.get(job.id)

    def end(self) -> None:
        for client in self._clients.values():
            client.close()
        for running in self.running.values():
            if running.process.poll() is None:
                running.process.send_signal(signal.SIGCONT)
                running.kill()


@pytest.fixture
def servers(tmp_path: Path, urls: Urls) -> Iterator[Servers]:
    made = Servers(tmp_path, urls.settings)
    try:
        yield made
    finally:
        made.end()


def steps_done(job: Job) -> int:
    progress = job.refresh().progress
    return 0 if progress is None else progress.done


def until_done(job: Job, steps: int) -> None:
    for _ in range(1200):
        if steps_done(job) >= steps:
            return
        time.sleep(0.05)
    raise AssertionError(f"{job} did not get to step {steps}")


def until_attempt(job: Job, number: int) -> None:
    for _ in range(1200):
        if len(job.refresh().record.history) == number:
            return
        time.sleep(0.05)
    raise AssertionError(f"{job} has no attempt {number}")


def outcomes(job: Job) -> list[str | None]:
    return [one.outcome for one in job.refresh().record.history]


def server_of(job: Job) -> str:
    return job.refresh().record.history[-1].server_id


def test_what_one_server_leaves_another_goes_on_with(servers: Servers) -> None:
    """One is suspended until it has lost its lease, wakes up and may write nothing; one is killed;
    one ends in order.
    """
    first, second = servers.begin("first"), servers.begin("second")
    jobs = [servers.submit(first) for _ in range(4)]
    for job in jobs:
        until_done(job, 2)
    held = [server_of(job) for job in jobs]
    assert sorted(held.count(one) for one in (first, second)) == [2, 2]
    for job, by in zip(jobs, held, strict=True):
        if by == second:
            job.cancel()
    job = servers.seen_by(second, jobs[held.index(first)])

    sleeper = servers.running[first]
    sleeper.process.send_signal(signal.SIGSTOP)
    until_attempt(job, 2)
    assert (outcomes(job), server_of(job)) == (["lost", None], second)
    sleeper.process.send_signal(signal.SIGCONT)
    until_done(job, steps_done(job) + 20)
    assert outcomes(job) == ["lost", None]

    servers.running[second].kill()
    job = servers.seen_by(first, job)
    until_attempt(job, 3)
    assert (outcomes(job), server_of(job)) == (["lost", "lost", None], first)

    assert sleeper.stop() == 0
    third = servers.begin("third")
    job = servers.seen_by(third, job)
    until_attempt(job, 4)
    assert (outcomes(job), server_of(job)) == (["lost", "lost", "released", None], third)
    until_done(job, steps_done(job) + 4)
    steps = [point.step for point in job.metrics()]
    assert steps == [*range(1, len(steps) + 1)]
