"""Recipes, training and lineage over the management API; the work runs in a thread."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.training_kit import LINE, line_rows
from tests.support.works.steady_recipe import SteadyRecipe

from modelry.datasets.shards import ShardWriter, version_digest
from modelry.domain.access import DEFAULT_TENANT_ID as TENANT
from modelry.domain.datasets import Shard, Split
from modelry.services.datasets.ports import NewVersion
from modelry.testing.datasets import batch_of
from modelry.testing.lineage_store import LINEAGE
from modelry.testing.samples import NOW
from modelry.training import registry

pytestmark = pytest.mark.anyio

ORDER = {"recipe": "steady", "dataset": "line", "model": "fitted"}


@pytest.fixture(autouse=True)
def steady(monkeypatch):
    monkeypatch.setattr(registry, "recipes", lambda: {"steady": SteadyRecipe()})
    monkeypatch.setattr("modelry.services.training.service.recipes", registry.recipes)


def add_dataset(server, folder):
    """`line@1`, with its rows kept as shards."""
    shards = []

    def keep(file, rows):
        kept = server.catalog.contents.keep_file(TENANT, file)
        shards.append(Shard(kept.digest, rows, kept.size_bytes))

    writer = ShardWriter(LINE, folder / "shard", keep)
    writer.write(batch_of(LINE, line_rows()))
    writer.close()
    digest = version_digest(LINE, {"train": writer.digest})
    splits = (Split("train", tuple(shards)),)
    server.database.datasets.add(
        NewVersion(TENANT, "line", digest, LINE, splits, NOW, "k1", {}, {}, {})
    )


async def test_recipes_are_told_with_their_parameters(server, owner):
    (told,) = (await owner.get("/recipes")).json()["recipes"]
    assert told["name"] == "steady"
    steps = told["parameters"]["properties"]["steps"]
    assert (steps["default"], steps["minimum"]) == (20, 1)
    assert steps["description"] == "of gradient descent"


async def test_a_job_is_queued_with_everything_pinned(server, owner, tmp_path):
    add_dataset(server, tmp_path)
    answer = await owner.post(
        "/training", json={**ORDER, "parameters": {"steps": 3}, "seed": 2, "priority": 5}
    )
    assert answer.status_code == 201, answer.text
    job = answer.json()
    assert (job["kind"], job["state"], job["priority"]) == ("train", "queued", 5)
    assert job["parameters"]["dataset"] == "line@1"
    assert job["parameters"]["parameters"]["steps"] == 3
    assert job["parameters"]["seed"] == 2
    assert (await owner.get(f"/jobs/{job['job_id']}")).json()["job_id"] == job["job_id"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"recipe": "other"}, (400, "invalid_input", "recipe")),
        ({"dataset": "none"}, (404, "not_found", None)),
        ({"parameters": {"steps": "x"}}, (400, "invalid_input", "parameters.steps")),
        ({"seed": -1}, (400, "invalid_input", "seed")),
        ({"seed": "1"}, (400, "invalid_input", "seed")),
        ({"model": "../x"}, (400, "invalid_input", "model")),
        ({"reproduces": "x@1"}, (400, "unsupported_field", "reproduces")),
        ({"base_files": {"w": {"digest": "x"}}}, (400, "invalid_input", "base_files.w.name")),
        ({"base": "none@1"}, (404, "not_found", None)),
        ({"after": ["none"]}, (404, "not_found", "after")),
    ],
)
async def test_what_cannot_be_done_is_refused(server, owner, tmp_path, change, told):
    add_dataset(server, tmp_path)
    answer = await owner.post("/training", json={**ORDER, **change})
    status, code, param = told
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code), error
    assert param in (None, error["param"])
    assert (await owner.get("/jobs")).json()["jobs"] == []


async def test_lineage_is_told_and_a_run_done_again(server, owner, tmp_path):
    add_dataset(server, tmp_path)
    await server.register(owner)
    missing = await owner.get("/models/adder/versions/1/lineage")
    assert missing.status_code == 404
    assert "was not trained here" in missing.json()["error"]["message"]
    line = server.datasets.store.version(TENANT, "line")
    server.database.lineages.add(
        replace(
            LINEAGE,
            model_name="adder",
            recipe="steady",
            parameters={"steps": 4},
            dataset="line@1",
            dataset_digest=line.digest,
            base="",
            base_files={},
        )
    )
    told = (await owner.get("/models/adder/versions/1/lineage")).json()
    assert (told["ref"], told["recipe"], told["seed"]) == ("adder@1", "steady", 7)
    assert told["environment"] == LINEAGE.environment
    job = (await owner.post("/models/adder/versions/1/reproduce", json={})).json()
    assert job["parameters"]["reproduces"] == "adder@1"
    assert job["parameters"]["seed"] == 7
    assert job["parameters"]["threads"] == 2
    assert job["parameters"]["parameters"]["steps"] == 4
