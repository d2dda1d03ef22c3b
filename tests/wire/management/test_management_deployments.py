"""Deployments over the wire, with replicas that answer in this process."""

import asyncio

import pytest
from tests.support.management import adder as model_file

from modelry.services.deployments.ports import ReplicaEnd

pytestmark = pytest.mark.anyio


@pytest.fixture
async def adder(server, owner):
    """Two versions, the first of which is the champion."""
    await server.register(owner)
    await server.register(owner, size=4)
    await owner.put("/models/adder/aliases/champion", json={"version": 1})


async def put(client, name, status=200, **body):
    answer = await client.put(f"/deployments/{name}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_a_deployment_from_start_to_end(server, owner, adder):
    made = await put(owner, "adder")
    assert made["traffic"] == [{"version": 2, "percent": 100.0}]
    assert made["scale"] == {"min_replicas": 1, "max_replicas": 1, "idle_unload_s": None}
    loaded = (await owner.post("/deployments/adder/load")).json()
    (replica,) = loaded["replicas"]
    assert (replica["state"], replica["version"]) == ("ready", 2)
    listed = (await owner.get("/deployments/adder/replicas")).json()["replicas"]
    assert [one["replica_id"] for one in listed] == [replica["replica_id"]]
    logs = (await owner.get("/deployments/adder/logs")).json()["logs"]
    assert logs == {replica["replica_id"]: [f"replica {replica['replica_id']} of tensor"]}
    one = await owner.get(f"/deployments/adder/logs?replica_id={replica['replica_id']}")
    assert one.json()["logs"] == logs
    assert (await owner.get("/deployments/adder/logs?replica_id=x")).status_code == 404
    status = (await owner.get("/status")).json()
    assert status == {
        "version": "1.2.3",
        "ready": True,
        "deployments": {"total": 1, "ready": 1, "failed": 0},
    }
    unloaded = (await owner.post("/deployments/adder/unload")).json()
    assert [one["state"] for one in unloaded["replicas"]] in ([], ["stopped"])
    restarted = (await owner.post("/deployments/adder/restart")).json()
    assert len(restarted["replicas"]) == 1
    assert (await owner.delete("/deployments/adder")).status_code == 204
    assert (await owner.get("/deployments")).json() == {"deployments": []}


async def test_which_version(owner, adder):
    assert (await put(owner, "a", model="adder", version="champion"))["traffic"] == [
        {"version": 1, "percent": 100.0}
    ]
    assert (await put(owner, "a", version=2))["traffic"][0]["version"] == 2
    assert (await put(owner, "a", version="1"))["traffic"][0]["version"] == 1
    shares = [{"version": 1, "percent": 90.0}, {"version": 2, "percent": 10.0}]
    assert (await put(owner, "a", traffic=shares))["traffic"] == shares
    assert (await put(owner, "a", scale={"max_replicas": 2}))["traffic"] == shares


async def test_what_is_left_out_stays(owner, adder):
    await put(
        owner,
        "a",
        model="adder",
        scale={"min_replicas": 0, "max_replicas": 3, "idle_unload_s": 60},
        limits={"queue": 5, "memory_bytes": 2**30},
        engine_options={"threads": 2, "flash": True, "kind": "q4", "share": 0.5},
    )
    changed = await put(owner, "a", scale={"max_replicas": 2}, limits={"deadline_s": 9.5})
    assert changed["scale"] == {"min_replicas": 0, "max_replicas": 2, "idle_unload_s": 60.0}
    assert (changed["limits"]["queue"], changed["limits"]["deadline_s"]) == (5, 9.5)
    assert changed["engine_options"] == {
        "threads": 2,
        "flash": True,
        "kind": "q4",
        "share": 0.5,
    }
    never = await put(owner, "a", scale={"idle_unload_s": None}, limits={"memory_bytes": None})
    assert never["scale"]["idle_unload_s"] is None
    assert never["limits"]["memory_bytes"] is None
    scaled = await owner.post("/deployments/a/scale", json={"min_replicas": 1})
    assert scaled.json()["scale"]["min_replicas"] == 1
    assert len(scaled.json()["replicas"]) == 1


async def test_a_new_deployment_begins_as_the_manifest_declares(server, owner):
    digest = await server.upload(owner, model_file())
    manifest = (
        "name: lazy\ntask: tensor\nfiles: {model: a.onnx}\n"
        "scale: {replicas: 0..4, idle_unload: 10m}\n"
    )
    body = {"manifest": manifest, "files": {"model": digest}}
    assert (await owner.post("/versions", json=body)).status_code == 201
    declared = {"min_replicas": 0, "max_replicas": 4, "idle_unload_s": 600.0}
    assert (await put(owner, "lazy"))["scale"] == declared
    other = await put(owner, "other", model="lazy", scale={"max_replicas": 2})
    assert other["scale"] == declared | {"max_replicas": 2}


async def test_what_is_served_cannot_be_deleted(owner, adder):
    await put(owner, "live", model="adder", version=2)
    for path in ("/models/adder/versions/2", "/models/adder"):
        answer = await owner.delete(path)
        assert answer.status_code == 409
        assert "'live'" in answer.json()["error"]["message"]
    aliased = await owner.delete("/models/adder/versions/1")
    assert "'champion'" in aliased.json()["error"]["message"]
    await owner.delete("/deployments/live")
    assert (await owner.delete("/models/adder/versions/2")).status_code == 204
    assert (await owner.delete("/models/adder")).status_code == 204


async def test_a_model_that_cannot_be_loaded(server, owner, adder):
    server.pool.load_failure = ReplicaEnd("the file is damaged", permanent=True)
    await put(owner, "bad", model="adder")
    failed = await owner.post("/deployments/bad/load")
    assert (failed.status_code, failed.json()["error"]["code"]) == (500, "model_failed")
    assert "the file is damaged" in failed.json()["error"]["message"]
    (replica,) = (await owner.get("/deployments/bad/replicas")).json()["replicas"]
    assert (replica["state"], "damaged" in replica["reason"]) == ("failed", True)
    assert (await owner.get("/status")).json()["deployments"]["failed"] == 1
    server.pool.load_failure = None
    assert (await owner.post("/deployments/bad/load")).status_code == 200
    assert (await owner.get("/status")).json()["deployments"]["failed"] == 0


async def test_loading_does_not_hold_up_others(server, owner, adder):
    server.pool.hold_load = asyncio.Event()
    await put(owner, "slow", model="adder")
    loading = asyncio.create_task(owner.post("/deployments/slow/load"))
    await asyncio.sleep(0.05)
    assert (await owner.get("/deployments/slow")).json()["replicas"][0]["state"] == "starting"
    assert (await owner.get("/status")).json()["deployments"]["ready"] == 0
    server.pool.hold_load.set()
    assert (await loading).json()["replicas"][0]["state"] == "ready"


WRONG = [
    ({"model": "none"}, 404, "model"),
    ({"model": "a@2"}, 400, "model"),
    ({"model": "adder", "version": 9}, 404, "version"),
    ({"model": "adder", "version": "none"}, 404, "alias"),
    ({"model": "adder", "version": 1.5}, 400, "version"),
    ({"model": "adder", "version": True}, 400, "version"),
    ({"model": "adder", "version": 10**40}, 400, "version"),
    ({"model": "adder", "traffic": []}, 400, "traffic"),
    ({"model": "adder", "traffic": [{"version": 1, "percent": 50}]}, 400, "traffic"),
    ({"model": "adder", "traffic": [{"version": 1}, {"version": 1}]}, 400, "traffic"),
    ({"model": "adder", "traffic": [{"version": 9}]}, 404, "version"),
    ({"model": "adder", "traffic": [{"version": 1, "x": 1}]}, 400, "traffic[0].x"),
    ({"model": "adder", "version": 1, "traffic": [{"version": 1}]}, 400, None),
    ({"model": "adder", "scale": {"min_replicas": 2}}, 400, "scale"),
    ({"model": "adder", "scale": {"max_replicas": 65}}, 400, "scale.max_replicas"),
    ({"model": "adder", "limits": {"queue": -1}}, 400, "limits.queue"),
    ({"model": "adder", "limits": {"deadline_s": "1"}}, 400, "limits.deadline_s"),
    ({"model": "adder", "engine_options": {"A": 1}}, 400, None),
    ({"model": "adder", "engine_options": {"a": [1]}}, 400, "engine_options.a"),
    ({"model": "adder", "engine_options": {"a": 2**63}}, 400, "engine_options.a"),
    ({"model": "adder", "replicas": 2}, 400, "replicas"),
]


async def test_wrong_deployments(owner, adder):
    for body, status, param in WRONG:
        answer = await owner.put("/deployments/a", json=body)
        assert answer.status_code == status, (body, answer.text)
        if param is not None:
            assert answer.json()["error"]["param"] == param, body
    assert (await owner.get("/deployments")).json() == {"deployments": []}


async def test_names_that_are_none(owner, adder):
    for name in ("A", "a%40b", "-a", "a" * 65, "%F0%9F%A6%8A"):
        answer = await owner.put(f"/deployments/{name}", json={"model": "adder"})
        assert answer.status_code == 400, name


async def test_another_model_does_not_take_a_name(server, owner, adder):
    await server.register(owner, "other", size=5)
    await put(owner, "a", model="adder")
    assert (await owner.put("/deployments/a", json={"model": "other"})).status_code == 409
