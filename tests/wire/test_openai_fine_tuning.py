"""The official `openai` client fine-tunes: files, jobs, events, and what comes of them.

On a whole installation in this process, with a plain recipe in the place of one that needs a
framework; `tests/integration` has it with real weights.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai
import pytest
from openai.types.fine_tuning import FineTuningJob
from tests.support.fine_tuning import offer_tuned_recipe, rows
from tests.support.management import (
    OTHER,
    Installation,
    installation,
    make_database,
)

from modelry.domain.access import DEFAULT_TENANT_ID, Role
from modelry.services.jobs.attempts import Attempts
from modelry.services.jobs.queue import JobQueue
from modelry.services.jobs.runner import JobRunner, RunnerLimits
from modelry.services.tenancy.callers import KnownCallers

pytestmark = pytest.mark.anyio
SLOW = {"parameters": {"steps": 2000, "step_s": 0.01, "checkpoint_every": 5}}
"""A training that goes on until it is stopped."""


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def recipe() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        offer_tuned_recipe(patched)
        yield


@pytest.fixture(scope="module")
async def server(
    recipe: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    folder = tmp_path_factory.mktemp("fine-tuning")
    async with installation(folder, f"sqlite:///{make_database(folder)}") as running:
        store = running.database.jobs
        runner = JobRunner(
            running.jobs,
            JobQueue(store, "server-1", lease_s=30.0),
            Attempts(store),
            KnownCallers(running.database.keys),
            RunnerLimits(jobs=2, tick_s=0.05),
            let_go=lambda *_: None,
        )
        runner.start()
        async with running.client() as owner:
            await running.register(owner, "base")
        yield running
        await asyncio.to_thread(runner.stop)


@pytest.fixture(scope="module")
async def client(server: Installation) -> AsyncIterator[openai.AsyncOpenAI]:
    async with server.openai() as made:
        yield made


async def sent(client: openai.AsyncOpenAI, content: bytes | None = None, **more: Any) -> str:
    content = rows() if content is None else content
    made = await client.files.create(file=("rows.jsonl", content), purpose="fine-tune", **more)
    return made.id


async def ended(client: openai.AsyncOpenAI, job_id: str) -> FineTuningJob:
    return await until(client, job_id, "succeeded", "failed", "cancelled")


async def until(client: openai.AsyncOpenAI, job_id: str, *statuses: str) -> FineTuningJob:
    async with asyncio.timeout(20):
        while True:
            job = await client.fine_tuning.jobs.retrieve(job_id)
            if job.status in statuses:
                return job
            await asyncio.sleep(0.02)


@pytest.fixture(scope="module")
async def tuned(client: openai.AsyncOpenAI) -> FineTuningJob:
    """A job that has succeeded."""
    made = await client.fine_tuning.jobs.create(
        model="base",
        training_file=await sent(client),
        validation_file=await sent(client, rows(8, first=100)),
        suffix="Mine",
        seed=7,
        metadata={"for": "tests"},
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3}}},
        extra_body={"parameters": {"steps": 12}},
    )
    assert made.status in ("validating_files", "queued", "running")
    assert made.fine_tuned_model is None
    return await ended(client, made.id)


# ---- files --------------------------------------------------------------------------------------


async def test_a_file_is_kept_listed_read_and_deleted(client: openai.AsyncOpenAI) -> None:
    content = rows(5)
    made = await client.files.create(file=("some/rows.jsonl", content), purpose="fine-tune")
    assert (made.object, made.bytes, made.filename) == ("file", len(content), "rows.jsonl")
    assert (made.purpose, made.status, made.expires_at) == ("fine-tune", "processed", None)
    assert await client.files.retrieve(made.id) == made
    assert (await client.files.content(made.id)).content == content
    listed = await client.files.list(purpose="fine-tune")
    assert listed.data[0] == made
    assert (await client.files.list(purpose="batch")).data == []
    gone = await client.files.delete(made.id)
    assert (gone.id, gone.deleted) == (made.id, True)
    for ask in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError, match="No such file"):
            await ask(made.id)


async def test_files_are_listed_in_pages(client: openai.AsyncOpenAI) -> None:
    made = [await sent(client, rows(1 + at)) for at in range(3)]
    page = await client.files.list(limit=2)
    assert [one.id for one in page.data] == made[:0:-1]
    assert page.has_more
    following = await page.get_next_page()
    assert following.data[0].id == made[0]
    names = [one.id async for one in client.files.list(limit=2, order="asc")]
    assert names[-3:] == made
    with pytest.raises(openai.NotFoundError):
        await client.files.list(after="file-none")


async def test_a_file_ends_when_it_was_asked_to(client: openai.AsyncOpenAI) -> None:
    file_id = await sent(client, expires_after={"anchor": "created_at", "seconds": 3600})
    file = await client.files.retrieve(file_id)
    assert file.expires_at == file.created_at + 3600
    for wrong in ({"anchor": "created_at", "seconds": 60}, {"anchor": "last_used", "seconds": 1}):
        with pytest.raises(openai.BadRequestError) as caught:
            await sent(client, expires_after=wrong)
        assert (caught.value.param or "").startswith("expires_after.")


@pytest.mark.parametrize("purpose", ["assistants", "batch", "vision", "user_data", "evals", ""])
async def test_purposes_that_nothing_here_is_for(client: openai.AsyncOpenAI, purpose: Any) -> None:
    with pytest.raises(openai.BadRequestError, match='only "fine-tune" is supported') as caught:
        await client.files.create(file=b"{}", purpose=purpose)
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "purpose")


async def test_files_that_are_none(
    server: Installation, client: openai.AsyncOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(openai.BadRequestError, match="empty"):
        await sent(client, b"")
    monkeypatch.setattr(server.catalog._uploads, "_max_bytes", 1000)
    with pytest.raises(openai.APIStatusError) as caught:
        await sent(client, b"a" * 1001)
    assert (caught.value.status_code, caught.value.code) == (413, "payload_too_large")
    async with server.client() as http:
        url = "http://modelry.test/v1/files"
        for options, said in (
            ({"json": {}}, "send a form"),
            ({"files": {"other": ("a", b"a")}}, "one file"),
            ({"files": {"purpose": (None, b"fine-tune")}}, "file is missing"),
            ({"files": {"file": ("a", b"a")}}, "purpose is missing"),
            ({"files": {"file": ("a", b"a"), "x": (None, b"")}}, "Unknown field 'x'"),
            ({"files": {"file": (None, b"a"), "purpose": (None, b"fine-tune")}}, "file is missing"),
        ):
            answer = await http.post(url, **options)
            assert answer.status_code == 400, answer.text
            assert said in answer.text
            assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_storage_is_limited_before_a_file_is_sent(
    server: Installation, client: openai.AsyncOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.catalog._uploads, "_storage_limit", lambda _: 1)
    with pytest.raises(openai.RateLimitError) as caught:
        await sent(client, b"{}" * 2**17)
    assert caught.value.param == "storage_bytes"


# ---- jobs ---------------------------------------------------------------------------------------


async def test_a_model_comes_of_a_job(
    server: Installation, client: openai.AsyncOpenAI, tuned: FineTuningJob
) -> None:
    assert tuned.status == "succeeded", tuned.error
    suffix = tuned.id.removeprefix("ftjob-")
    assert tuned.fine_tuned_model == f"ft-base-mine-{suffix}"
    assert (tuned.object, tuned.model, tuned.seed) == ("fine_tuning.job", "base", 7)
    assert tuned.organization_id == DEFAULT_TENANT_ID
    assert tuned.finished_at is not None
    assert tuned.finished_at >= tuned.created_at
    assert tuned.error is None
    assert tuned.metadata == {"for": "tests"}
    assert tuned.hyperparameters.n_epochs == 3
    assert tuned.hyperparameters.batch_size == 8
    assert tuned.method is not None
    assert tuned.method.type == "supervised"
    assert tuned.fine_tuned_model in [one.id async for one in client.models.list()]
    async with server.client() as http:
        lineage = await http.get(f"/models/{tuned.fine_tuned_model}/versions/1/lineage")
        assert lineage.json()["base"] == "base@1"
        job = await http.get(f"/jobs/job-{suffix}")
        assert job.json()["kind"] == "fine-tune"


async def test_what_it_measured_is_a_file(client: openai.AsyncOpenAI, tuned: FineTuningJob) -> None:
    (file_id,) = tuned.result_files
    file = await client.files.retrieve(file_id)
    assert (file.purpose, file.filename) == ("fine-tune-results", "step_metrics.csv")
    text = (await client.files.content(file_id)).text
    found = list(csv.DictReader(io.StringIO(text)))
    assert [int(one["step"]) for one in found] == list(range(12))
    assert float(found[-1]["train_loss"]) < float(found[0]["train_loss"])


async def test_events_come_newest_first_in_pages(
    client: openai.AsyncOpenAI, tuned: FineTuningJob
) -> None:
    jobs = client.fine_tuning.jobs
    whole = await jobs.list_events(tuned.id, limit=100)
    assert not whole.has_more
    messages = [one.message for one in whole.data]
    assert messages[0] == "The job has successfully completed"
    assert messages[-1] == f"Created fine-tuning job: {tuned.id}"
    metrics: list[Any] = [one.data for one in whole.data if one.type == "metrics"]
    assert [one["step"] for one in metrics] == list(reversed(range(12)))
    assert all("train_loss" in one for one in metrics)
    paged = [one async for one in jobs.list_events(tuned.id, limit=3)]
    assert [one.id for one in paged] == [one.id for one in whole.data]
    with pytest.raises(openai.BadRequestError):
        await jobs.list_events(tuned.id, after="nothing")


async def test_the_model_is_its_checkpoint(
    client: openai.AsyncOpenAI, tuned: FineTuningJob
) -> None:
    (one,) = (await client.fine_tuning.jobs.checkpoints.list(tuned.id)).data
    assert one.fine_tuned_model_checkpoint == tuned.fine_tuned_model
    assert (one.fine_tuning_job_id, one.step_number) == (tuned.id, 11)
    assert one.metrics.train_loss is not None


async def test_jobs_are_listed_in_pages_and_by_metadata(
    client: openai.AsyncOpenAI, tuned: FineTuningJob
) -> None:
    jobs, file_id = client.fine_tuning.jobs, await sent(client)
    made = [
        await jobs.create(model="base", training_file=file_id, metadata={"at": str(at)})
        for at in range(2)
    ]
    page = await jobs.list(limit=1)
    assert [one.id for one in page.data] == [made[1].id]
    assert page.has_more
    assert (await page.get_next_page()).data[0].id == made[0].id
    assert tuned.id in [one.id async for one in jobs.list(limit=1)]
    found = await jobs.list(metadata={"at": "0"})
    assert [one.id for one in found.data] == [made[0].id]
    assert [one.id for one in (await jobs.list(metadata={"for": "tests"})).data] == [tuned.id]
    with pytest.raises(openai.BadRequestError):
        await jobs.list(limit=101)
    for one in made:
        assert (await ended(client, one.id)).status == "succeeded"


async def test_a_job_waits_goes_on_and_ends_when_it_is_told_to(
    client: openai.AsyncOpenAI,
) -> None:
    jobs, file_id = client.fine_tuning.jobs, await sent(client)
    made = await jobs.create(model="base", training_file=file_id, extra_body=SLOW)
    job = await until(client, made.id, "running")
    assert job.estimated_finish is None or job.estimated_finish >= job.created_at
    assert (await jobs.pause(made.id)).status == "paused"
    assert (await jobs.resume(made.id)).status in ("queued", "running", "validating_files")
    await until(client, made.id, "running")
    with pytest.raises(openai.ConflictError, match=f"needed by the fine-tuning job {made.id}"):
        await client.files.delete(file_id)
    assert (await jobs.cancel(made.id)).status == "cancelled"
    assert (await jobs.cancel(made.id)).status == "cancelled"
    with pytest.raises(openai.BadRequestError) as caught:
        await jobs.resume(made.id)
    assert caught.value.param == "fine_tuning_job_id"
    assert (await client.files.delete(file_id)).deleted
    assert (await client.fine_tuning.jobs.checkpoints.list(made.id)).data == []


async def test_rows_that_cannot_be_used_are_told_with_the_job(client: openai.AsyncOpenAI) -> None:
    file_id = await sent(client, rows(3) + b"\n{")
    made = await client.fine_tuning.jobs.create(model="base", training_file=file_id)
    job = await ended(client, made.id)
    assert job.status == "failed"
    assert job.error is not None
    assert (job.error.code, job.error.param) == ("invalid_training_file", "training_file")
    assert "line 4" in job.error.message
    events = await client.fine_tuning.jobs.list_events(made.id)
    assert events.data[0].level == "error"


@pytest.mark.parametrize(
    ("wanted", "param"),
    [
        ({"model": "nobody"}, "model"),
        ({"training_file": "file-none"}, "training_file"),
        ({"suffix": "!!!"}, "suffix"),
        ({"method": {"type": "dpo"}}, "method.type"),
        ({"hyperparameters": {"n_epochs": 99}}, "method.supervised.hyperparameters.n_epochs"),
        ({"extra_body": {"parameters": {"rank": 3}}}, "parameters.rank"),
    ],
)
async def test_what_cannot_be_done_is_told_at_once(
    client: openai.AsyncOpenAI, wanted: dict[str, Any], param: str
) -> None:
    asked: Any = {"model": "base", "training_file": await sent(client), **wanted}
    with pytest.raises(openai.APIStatusError) as caught:
        await client.fine_tuning.jobs.create(**asked)
    assert caught.value.param == param
    assert caught.value.status_code == (404 if param == "model" else 400)


# ---- who may -------------------------------------------------------------------------------------


async def test_another_tenant_sees_and_changes_nothing(
    server: Installation, client: openai.AsyncOpenAI, tuned: FineTuningJob
) -> None:
    file_id = tuned.training_file
    async with server.openai(OTHER) as stranger:
        assert (await stranger.files.list()).data == []
        assert (await stranger.fine_tuning.jobs.list()).data == []
        jobs = stranger.fine_tuning.jobs
        for ask in (stranger.files.retrieve, stranger.files.content, stranger.files.delete):
            with pytest.raises(openai.NotFoundError):
                await ask(file_id)
        for act in (jobs.retrieve, jobs.cancel, jobs.pause, jobs.resume, jobs.list_events,
                    jobs.checkpoints.list):  # fmt: skip
            with pytest.raises(openai.NotFoundError):
                await act(tuned.id)
        with pytest.raises(openai.APIStatusError):
            await jobs.create(model="base", training_file=file_id)
        own = await sent(stranger)
        with pytest.raises(openai.NotFoundError):
            await jobs.create(model="base", training_file=own)
    assert (await client.files.retrieve(file_id)).id == file_id


async def test_who_may_only_look_looks(server: Installation, tuned: FineTuningJob) -> None:
    async with server.openai(Role.VIEWER) as viewer:
        assert (await viewer.fine_tuning.jobs.retrieve(tuned.id)).id == tuned.id
        assert (await viewer.files.retrieve(tuned.training_file)).id == tuned.training_file
        for refused in (
            viewer.files.content(tuned.training_file),
            viewer.files.delete(tuned.training_file),
            viewer.files.create(file=b"{}", purpose="fine-tune"),
            viewer.fine_tuning.jobs.cancel(tuned.id),
            viewer.fine_tuning.jobs.create(model="base", training_file=tuned.training_file),
        ):
            with pytest.raises(openai.PermissionDeniedError):
                await refused


async def test_acts_are_in_the_audit_log(server: Installation, client: openai.AsyncOpenAI) -> None:
    file_id = await sent(client)
    with pytest.raises(openai.NotFoundError):
        await client.fine_tuning.jobs.cancel("ftjob-none")
    await client.files.delete(file_id)
    async with server.openai(Role.VIEWER) as viewer:
        with pytest.raises(openai.PermissionDeniedError):
            await viewer.fine_tuning.jobs.pause("ftjob-x")
    async with server.client() as http:
        found = (await http.get("/audit/entries", params={"limit": 20})).json()["entries"]
    acts = [(one["action"], one["resource"], one["outcome"]) for one in found]
    deleted = f"/files/{file_id}"
    for expected in (
        ("fine_tuning.pause", "/fine_tuning/jobs/ftjob-x/pause", "permission_denied"),
        ("files.delete", deleted, "ok"),
        ("files.delete", deleted, "intent"),
        ("fine_tuning.cancel", "/fine_tuning/jobs/ftjob-none/cancel", "not_found"),
        ("files.create", "/files", "ok"),
    ):
        assert expected in acts, acts
    (made,) = [one for one in found if one["detail"].get("file_id") == file_id]
    assert made["detail"]["size_bytes"] == len(rows())
    assert json.dumps(made).count("rows.jsonl") == 0
