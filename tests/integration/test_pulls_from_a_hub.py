"""A server that pulls from a model hub: what most users' first model comes from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import onnx_models
from tests.support.operating import Operator
from tests.support.server import server
from tests.support.web_places import Place, Served, place_on_loopback

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = onnx_models.tiny_cnn().SerializeToString()


@pytest.fixture(scope="module")
def storage() -> Iterator[Place]:
    """Where a hub keeps large files: another host."""
    with place_on_loopback() as place:
        place.paths["/blob"] = Served(MODEL)
        yield place


@pytest.fixture(scope="module")
def hub(storage: Place) -> Iterator[Place]:
    """Speaks the hub's API, with one repository and one file."""
    facts = {
        "X-Repo-Commit": COMMIT,
        "X-Linked-Etag": f'"{hashlib.sha256(MODEL).hexdigest()}"',
        "X-Linked-Size": str(len(MODEL)),
    }
    with place_on_loopback() as place:
        for revision in ("main", COMMIT):
            path = f"/org/tiny/resolve/{revision}/onnx/digits.onnx"
            place.paths[path] = Served(
                status=302, etag=None, location=storage.url + "/blob", headers=facts
            )
        yield place


@pytest.fixture(scope="module")
def operator(hub: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    folder: Path = tmp_path_factory.mktemp("hub")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", hub.url)
        patch.setenv("HF_HOME", str(folder / "hf"))
        patch.setenv("HF_TOKEN", "hf_of_this_server")
        with server(folder / "data", cache=str(folder / "cache")) as running:
            operating = Operator(running)
            yield operating
            operating.close()


def pull(operator: Operator, status: int = 200, **wanted: str) -> list[dict[str, Any]]:
    """The lines of a pull; what fails before the first byte is told by the status as well."""
    answer = operator.http.post("/api/v1/pulls", json=wanted)
    assert answer.status_code == status, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def test_a_repositorys_file_becomes_a_version(
    operator: Operator, hub: Place, storage: Place
) -> None:
    source = "hf://org/tiny@main/onnx/digits.onnx"
    *told, last = pull(operator, source=source, name="digits", task="tensor")
    version = last["registration"]["version"]
    assert version["source"].startswith(f"hf://org/tiny@{COMMIT}/onnx/digits.onnx#sha256=")
    assert version["files"][0]["size_bytes"] == len(MODEL)
    assert {line["progress"]["source"] for line in told} == {source}
    assert told[-1]["progress"]["phase"] == "done"
    asked = {seen.headers.get("authorization") for seen in hub.seen if "/resolve/" in seen.path}
    assert asked == {"Bearer hf_of_this_server"}

    downloads = len(storage.gets("/blob"))
    *_, again = pull(operator, source=source, name="digits", task="tensor")
    assert again["registration"]["created"] is False
    assert len(storage.gets("/blob")) == downloads


def test_a_repository_that_is_not_there_is_told(operator: Operator, hub: Place) -> None:
    hub.paths["/org/none/resolve/main/a.onnx"] = Served(
        status=404, etag=None, headers={"X-Error-Code": "RepoNotFound"}
    )
    *_, last = pull(operator, 502, source="hf://org/none@main/a.onnx")
    assert last["error"]["code"] == "source_unavailable"
    assert "no such repository" in last["error"]["message"]


def test_a_server_does_not_read_its_own_network_for_callers(operator: Operator) -> None:
    port = operator.server.url.rpartition(":")[2]
    *_, last = pull(operator, 400, source=f"https://127.0.0.1:{port}/metrics", name="x")
    assert last["error"]["code"] == "invalid_input"
    assert "private" in last["error"]["message"]
