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


SEARCH = {"training": ORDER, "space": {"steps": [2, 4]}, "metric": "loss"}


async def test_a_search_is_queued_with_its_training_pinned(server, owner, tmp_path):
    add_dataset(server, tmp_path)
    training = {**ORDER, "parameters": {"learning_rate": 0.01}}
    asked = {**SEARCH, "training": training, "register": False, "trials": 3, "job_name": "better"}
    answer = await owner.post("/searches", json=asked)
    assert answer.status_code == 201, answer.text
    job = answer.json()
    assert (job["kind"], job["name"]) == ("search", "better")
    told = job["parameters"]
    assert (told["register"], told["trials"], told["goal"]) == (False, 3, "minimize")
    assert told["training"]["dataset"] == "line@1"
    assert told["training"]["parameters"] == {"learning_rate": 0.01}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"space": {}}, (400, "invalid_input", "space")),
        ({"space": {"nothing": [1]}}, (400, "invalid_input", "parameters.nothing")),
        ({"metric": ""}, (400, "invalid_input", "metric")),
        ({"trials": 0}, (400, "invalid_input", "trials")),
        ({"goal": "best"}, (400, "invalid_input", "goal")),
        ({"training": {"recipe": "steady"}}, (400, "invalid_input", "training.dataset")),
        ({"training": {**ORDER, "priority": 1}}, (400, "unsupported_field", "training.priority")),
    ],
)
async def test_a_search_that_cannot_be_is_refused(server, owner, tmp_path, change, told):
    add_dataset(server, tmp_path)
    answer = await owner.post("/searches", json={**SEARCH, **change})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == told


async def test_a_chain_is_queued_as_one_request(server, owner, tmp_path):
    add_dataset(server, tmp_path)
    steps = [
        {"kind": "train", "parameters": ORDER},
        {"kind": "register", "parameters": {"alias": "champion", "when": "loss<0.5"}},
        {"kind": "deploy"},
    ]
    answer = await owner.post("/chains", json={"steps": steps, "job_name": "line", "priority": 3})
    assert answer.status_code == 201, answer.text
    train, register, deploy = answer.json()["jobs"]
    assert register["parameters"] == {
        "version_of": train["job_id"], "alias": "champion", "when": ["loss < 0.5"],
    }  # fmt: skip
    assert deploy["after"] == [train["job_id"], register["job_id"]]
    assert {one["name"] for one in (train, register, deploy)} == {"line"}
    kept = (await owner.get("/audit/entries?action=jobs.start_chain")).json()["entries"][0]
    assert kept["detail"]["job_ids"] == [one["job_id"] for one in (train, register, deploy)]

    broken = [*steps, {"kind": "deploy", "parameters": {"replicas": 2}}]
    answer = await owner.post("/chains", json={"steps": broken})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "replicas")
    assert len((await owner.get("/jobs")).json()["jobs"]) == 3
    for body in ({"steps": []}, {"steps": [{"kind": 3}]}, {}):
        assert (await owner.post("/chains", json=body)).status_code == 400
