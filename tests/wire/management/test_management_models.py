"""Models, versions and aliases over the wire."""

import pytest
from tests.support.management import adder

pytestmark = pytest.mark.anyio


async def test_a_model_from_upload_to_deletion(server, owner):
    version = await server.register(owner)
    assert version["ref"] == "adder@1"
    assert version["signature"]["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]
    assert (await owner.get("/models")).json()["models"] == [
        {
            "name": "adder",
            "task": "tensor",
            "created_at": version["created_at"],
            "latest_version": 1,
            "aliases": {},
        }
    ]
    assert (await owner.get("/models/adder/versions/1")).json() == version
    assert (await owner.get("/models/adder/versions")).json() == {"versions": [version]}
    gone = await owner.delete("/models/adder")
    assert (gone.status_code, gone.content) == (204, b"")
    missing = await owner.get("/models/adder")
    assert missing.status_code == 404
    assert missing.json()["error"]["code"] == "not_found"


async def test_the_same_bytes_are_the_same_version(server, owner):
    digest = await server.upload(owner, adder())
    body = {"file": {"name": "adder.onnx", "digest": digest}}
    first = await owner.post("/versions", json=body)
    again = await owner.post("/versions", json=body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert (first.json()["created"], again.json()["created"]) == (True, False)
    assert first.json()["version"] == again.json()["version"]
