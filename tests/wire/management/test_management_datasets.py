"""Datasets through the management API, on both databases."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from tests.support.management import OTHER, Installation

from modelry.domain.access import Role
from modelry.testing.jobs import FakeJobRun
from modelry.testing.samples import principal

pytestmark = pytest.mark.anyio

FLOWERS = b"length,kind\n" + b"".join(
    f"{one / 10},{'iris' if one % 4 else 'rose'}\n".encode() for one in range(100)
)


def do(server: Installation, job: dict[str, Any]) -> Any:
    """What a runner does with a job that was put into the queue."""
    run = FakeJobRun(job["parameters"], principal=principal(), job_id=job["job_id"])
    return server.jobs.handler(job["kind"]).run(run)


async def imported(
    server: Installation, client: httpx2.AsyncClient, **more: Any
) -> httpx2.Response:
    digest = await server.upload(client, FLOWERS)
    body = {"files": [{"name": "flowers.csv", "digest": digest}], "options": {"label": "kind"}}
    return await client.post("/datasets/flowers/imports", json=body | more)


async def test_a_dataset_is_imported_derived_shown_and_deleted(server, owner):
    split = {"fractions": {"train": 0.8, "test": 0.2}, "seed": 1}
    answer = await imported(server, owner, split=split, priority=3)
    assert answer.status_code == 201, answer.text
    job = answer.json()
    assert (job["kind"], job["name"], job["priority"], job["state"]) == (
        "import-dataset", "flowers", 3, "queued",
    )  # fmt: skip
    do(server, job)

    shown = (await owner.get("/datasets")).json()["datasets"]
    assert [(one["name"], one["newest"]["ref"]) for one in shown] == [("flowers", "flowers@1")]
    version = (await owner.get("/datasets/flowers/versions/1")).json()
    assert [(one["name"], one["rows"]) for one in version["splits"]] == [
        ("train", 80),
        ("test", 20),
    ]
    assert version["columns"][1]["classes"] == ["iris", "rose"]
    assert version["statistics"]["train"]["kind"]["classes"] == {"iris": 60, "rose": 20}
    assert version["report"]["rows"] == {"train": 80, "test": 20}
    assert version["origin"]["import"]["split"]["seed"] == 1

    params = {"split": "test", "limit": 2, "offset": 19, "column": ["kind", "length"]}
    rows = (await owner.get("/datasets/flowers/versions/1/rows", params=params)).json()
    assert (rows["total"], len(rows["rows"]), list(rows["rows"][0])) == (20, 1, ["kind", "length"])

    wanted = {"sources": ["flowers"], "steps": [{"filter": "kind == 'rose'"}]}
    derived = await owner.post("/datasets/roses/derivations", json=wanted)
    assert derived.status_code == 201, derived.text
    assert derived.json()["parameters"]["from"] == ["flowers@1"]
    assert do(server, derived.json())["rows"] == {"train": 20, "test": 5}

    listed = (await owner.get("/datasets/roses/versions")).json()["versions"]
    assert [one["ref"] for one in listed] == ["roses@1"]
    assert (await owner.delete("/datasets/roses/versions/1")).status_code == 204
    assert (await owner.get("/datasets/roses")).json()["newest"] is None
    assert (await owner.delete("/datasets/roses")).status_code == 204
    assert (await owner.get("/datasets/roses")).status_code == 404


async def test_what_is_wrong_is_said_before_anything_is_queued(server, owner):
    digest = await server.upload(owner, FLOWERS)
    file = {"name": "a.csv", "digest": digest}
    for body, status, says in (
        ({"files": []}, 400, "'files' must be a list"),
        ({"files": [file], "format": "pickle"}, 400, "no format 'pickle'"),
        ({"files": [file], "format": "csv", "options": {"lable": "k"}}, 400, "lable"),
        ({"files": [file], "split": {"fractions": {"train": 2}}}, 400, "split.fractions.train"),
        ({"files": [{**file, "digest": "sha256:" + "0" * 64}]}, 404, "upload it first"),
        ({"files": [file], "colour": 1}, 400, "colour"),
    ):
        answer = await owner.post("/datasets/data/imports", json=body)
        assert (answer.status_code, says in answer.text) == (status, True), answer.text
    for name in ("No!", "a" * 65):
        answer = await owner.post(f"/datasets/{name}/imports", json={"files": [file]})
        assert answer.status_code == 400, answer.text
    steps = [{"filter": "__import__('os')"}]
    answer = await owner.post("/datasets/a/derivations", json={"sources": ["a"], "steps": steps})
    assert answer.status_code == 404
    assert (await owner.get("/jobs")).json()["jobs"] == []


async def test_another_tenant_sees_and_takes_nothing(server, owner):
    do(server, (await imported(server, owner)).json())
    async with server.client(OTHER) as stranger:
        assert (await stranger.get("/datasets")).json() == {"datasets": []}
        for path in ("", "/versions", "/versions/1", "/versions/1/rows"):
            assert (await stranger.get(f"/datasets/flowers{path}")).status_code == 404
        body = {"sources": ["flowers@1"]}
        assert (await stranger.post("/datasets/x/derivations", json=body)).status_code == 404
    async with server.client(Role.VIEWER) as viewer:
        assert (await viewer.get("/datasets/flowers/versions/1")).status_code == 200
        refused = await viewer.get("/datasets/flowers/versions/1/rows")
        assert (refused.status_code, "rows:read" in refused.text) == (403, True)


async def test_looks_at_rows_are_entered_into_the_audit_log(server, owner):
    do(server, (await imported(server, owner)).json())
    await owner.get("/datasets/flowers/versions/1/rows", params={"limit": 1})
    entries = (await owner.get("/audit/entries")).json()["entries"]
    acts = {(one["action"], one["resource"]) for one in entries}
    assert ("datasets.read_dataset_rows", "/datasets/flowers/versions/1/rows") in acts
    assert ("datasets.import_dataset", "/datasets/flowers/imports") in acts
