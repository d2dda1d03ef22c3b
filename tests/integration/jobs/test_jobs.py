"""Jobs of a whole server in a process of its own: API, SDK, commands; killed and started anew."""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.support.server import Running, server, start
from typer.testing import CliRunner, Result

from modelry import AsyncClient, Client
from modelry.cli.main import app
from modelry.client.errors import Conflict, InvalidInput, JobFailed, NotFound, TimedOut
from modelry.client.job_records import JobEvent
from modelry.client.jobs import Job

SERVER = "tests.support.jobs_server"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with server(tmp_path_factory.mktemp("jobs") / "data", module=SERVER) as found:
        yield found


@pytest.fixture(scope="module")
def client(running: Running) -> Iterator[Client]:
    with Client(running.url, running.key) as made:
        yield made


def count(client: Client, steps: int = 4, step_s: float = 0.01, **options: Any) -> Job:
    asked = {"steps": steps, "step_s": step_s, **options.pop("parameters", {})}
    return client.jobs.submit("count", asked, **options)


def shell(running: Running, *words: str, code: int = 0) -> Result:
    environment = {"MODELRY_URL": running.url, "MODELRY_API_KEY": running.key}
    result = CliRunner().invoke(app, words, None, environment)
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result


def until(job: Job, *states: str) -> Job:
    for _ in range(600):
        if job.refresh().state in states:
            return job
        time.sleep(0.05)
    raise AssertionError(f"{job} is in none of {states}")


def test_a_job_from_its_submission_to_its_files(client: Client, tmp_path: Path) -> None:
    assert "count" in client.jobs.kinds()
    first = count(client, name="first")
    second = count(client, steps=3, after=[first], priority=5)
    heard: list[JobEvent] = []
    assert second.wait(60, progress=heard.append).outcome == {"total": 7, "from": 0}
    assert first.refresh().state == "succeeded"
    assert [one.kind for one in heard][-1] == "end"
    told = [one.sequence for one in heard if one.sequence]
    assert told == [*range(1, len(told) + 1)]
    assert [point.values for point in second.metrics()] == [
        {"square": 1.0},
        {"square": 4.0},
        {"square": 9.0},
    ]
    assert [one.line for one in second.log()] == ["from 0"]
    assert second.record.after == (first.id,)
    [artefact] = second.artefacts()
    assert (artefact.name, artefact.size_bytes) == ("words.txt", 12)
    assert second.read_artefact("words.txt") == b"counted to 3"
    assert second.download("words.txt", tmp_path / "w").read_bytes() == b"counted to 3"
    assert [one.name for one in tmp_path.iterdir()] == ["w"]
    with pytest.raises(NotFound, match=r"it has: 'words\.txt'"):
        second.read_artefact("other.txt")
    found = client.jobs.list(kind="count", state="succeeded")
    assert [one.id for one in found[:2]] == [second.id, first.id]
    assert [one.id for one in client.jobs.list(name="first")] == [first.id]
    assert [one.id for one in client.jobs.list(before=second.id, limit=1)] == [first.id]


def test_what_is_wrong_is_told(client: Client, running: Running) -> None:
    with pytest.raises(InvalidInput, match=r"no kind of job 'dance'; there are: .*count"):
        client.jobs.submit("dance")
    with pytest.raises(NotFound, match="'job-nowhere', which the job shall come after"):
        count(client, after=["job-nowhere"])
    with pytest.raises(NotFound, match="does not exist"):
        client.jobs.get("job-nowhere")
    with pytest.raises(InvalidInput, match="priority"):
        count(client, priority=101)
    done = count(client).wait(60, progress=False)
    for act in (done.cancel, done.pause, done.resume):
        with pytest.raises(Conflict, match="is succeeded"):
            act()
    with running.http() as http:
        path = f"/api/v1/jobs/{done.id}/events"
        answer = http.get(path, headers={"last-event-id": "1; drop"})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "last-event-id")
        assert http.get("/api/v1/jobs/job-nowhere/events").status_code == 404


def test_a_stream_goes_on_from_the_event_that_was_had(client: Client, running: Running) -> None:
    job = count(client).wait(60, progress=False)
    with running.http() as http:

        def sequences(**headers: str) -> list[int]:
            answer = http.get(f"/api/v1/jobs/{job.id}/events", headers=headers)
            lines = answer.text.splitlines()
            assert lines[-3:-1] == ["event: end", 'data: {"state":"succeeded"}']
            return [int(line[4:]) for line in lines if line.startswith("id: ")]

        whole = sequences()
        assert whole == [*range(1, len(whole) + 1)]
        assert sequences(**{"last-event-id": str(whole[2])}) == whole[3:]
        assert [one.sequence for one in job.events(after=whole[-2]) if one.sequence] == whole[-1:]


def test_cancel_pause_and_resume(client: Client) -> None:
    job = count(client, steps=1000, step_s=0.05)
    until(job, "running")
    with pytest.raises(TimedOut, match="it goes on"):
        job.wait(0.3, progress=False)
    assert job.pause().record.request == "pause"
    until(job, "paused")
    assert job.resume().state == "queued"
    until(job, "running")
    job.cancel()
    with pytest.raises(JobFailed, match="was cancelled") as told:
        job.wait(60, progress=False)
    assert told.value.code == "cancelled"
    assert job.wait(check=False, progress=False).state == "cancelled"
    assert [one.outcome for one in job.record.history] == ["paused", "cancelled"]
    assert job.cancel().state == "cancelled"


def test_what_depends_on_a_cancelled_job_is_cancelled(client: Client) -> None:
    first = count(client, steps=1000, step_s=0.05)
    second = count(client, after=[first])
    third = count(client, after=[second])
    first.cancel()
    with pytest.raises(JobFailed, match=f"because job '{first.id}' was cancelled"):
        third.wait(60, progress=False)
    with pytest.raises(Conflict, match="would never begin"):
        count(client, after=[second])


def test_every_command(client: Client, running: Running, tmp_path: Path) -> None:
    job = count(client, name="shown", steps=3)
    watched = shell(running, "jobs", "watch", job.id)
    assert json.loads(watched.stdout) == {"total": 3, "from": 0}
    assert "shown: succeeded" in watched.stderr
    assert "shown" in shell(running, "jobs", "list", "--kind", "count", "--limit", "1").stdout
    shown = shell(running, "jobs", "show", job.id).stdout
    assert "Attempt 1     succeeded, on server-" in shown
    assert "words.txt (12 B)" in shown
    assert shell(running, "jobs", "logs", job.id).stdout == "from 0\n"
    assert shell(running, "jobs", "logs", job.id, "--follow").stdout == "from 0\n"
    assert "9" in shell(running, "jobs", "metrics", job.id).stdout
    target = str(tmp_path / "words")
    shell(running, "jobs", "download", job.id, "words.txt", "--to", target)
    assert Path(target).read_bytes() == b"counted to 3"
    other = count(client, steps=1000, step_s=0.05)
    until(other, "running")
    assert "pause was asked for" in shell(running, "jobs", "pause", other.id).stdout
    until(other, "paused")
    assert "queued" in shell(running, "jobs", "resume", other.id).stdout
    found = json.loads(shell(running, "jobs", "cancel", other.id, "--json").stdout)
    assert found["job_id"] == other.id
    shell(running, "jobs", "watch", other.id, code=1)
    assert "does not exist" in shell(running, "jobs", "show", "nowhere", code=1).stderr


def test_asyncio(running: Running, tmp_path: Path) -> None:
    async def work() -> None:
        async with AsyncClient(running.url, running.key) as client:
            job = await client.jobs.submit("count", {"steps": 3, "step_s": 0.01})
            heard = [one.kind async for one in job.events(timeout_s=60)]
            assert heard[-1] == "end"
            await job.wait(60, progress=False)
            assert job.outcome == {"total": 3, "from": 0}
            assert len(await job.metrics()) == 3
            assert [one.line for one in await job.log()] == ["from 0"]
            assert (await job.download("words.txt", tmp_path / "w")).read_bytes()
            endless = await client.jobs.submit("count", {"steps": 1000})
            await endless.cancel()
            assert (await endless.wait(60, progress=False, check=False)).state == "cancelled"
            found = await client.jobs.list(limit=2)
            assert [one.id for one in found] == [endless.id, job.id]

    asyncio.run(work())


def test_submitting_and_ending_are_in_the_audit_log(client: Client, running: Running) -> None:
    job = count(client, steps=1000)
    job.cancel()
    with running.http() as http:
        entries = http.get("/api/v1/audit/entries?limit=20").json()["entries"]
    done = {one["action"]: one for one in reversed(entries) if one["outcome"] == "ok"}
    assert done["jobs.submit_job"]["detail"]["job_id"] == job.id
    assert done["jobs.submit_job"]["detail"]["given"]["kind"] == "count"
    assert done["jobs.cancel_job"]["resource"] == f"/jobs/{job.id}/cancel"


def test_killed_under_a_job_the_server_goes_on_with_it(tmp_path: Path) -> None:
    """Somebody waits all the time, and does not notice."""
    key, data = secrets.token_urlsafe(32), tmp_path / "data"
    first = start(data, key=key, module=SERVER)
    port = str(httpx2.URL(first.url).port)
    client = Client(first.url, key)
    job = count(client, steps=40, step_s=0.05, parameters={"die_at": 5})
    outcomes: list[Job] = []
    waiting = threading.Thread(target=lambda: outcomes.append(job.wait(120, progress=False)))
    waiting.start()
    first.process.wait(60)
    with server(data, key=key, module=SERVER, port=port):
        waiting.join(120)
        assert [one.state for one in outcomes] == ["succeeded"]
        history = job.record.history
        assert [one.outcome for one in history] == ["lost", "succeeded"]
        began = [int(one.line.removeprefix("from ")) for one in job.log()]
        assert began == [0, job.outcome["from"]] == [0, 4]
        points = job.metrics()
        assert [point.step for point in points] == [*range(1, 41)]
        assert all(point.values == {"square": point.step**2} for point in points)
    client.close()
