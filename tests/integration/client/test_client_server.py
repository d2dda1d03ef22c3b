"""The SDK against a whole server in a process of its own."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.support.onnx_models import identity, tiny_cnn
from tests.support.server import Running, server, start

from modelry import Client
from modelry.client.errors import Conflict, FileRefused, ModelryError, NotFound, PermissionDenied

MANIFEST = """
name: digits
task: tensor
files: {model: tiny.onnx}
---
name: same
task: tensor
files: {model: same.onnx}
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with server(tmp_path_factory.mktemp("client") / "data") as found:
        yield found


@pytest.fixture
def client(running: Running) -> Iterator[Client]:
    with Client(running.url, running.key) as made:
        yield made


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "tiny.onnx").write_bytes(tiny_cnn().SerializeToString())
    (tmp_path / "same.onnx").write_bytes(identity(1, ("batch", 3)).SerializeToString())
    (tmp_path / "model.yaml").write_text(MANIFEST)
    return tmp_path


def test_from_a_file_to_an_answer(client: Client, files: Path):
    client.wait_ready(30)
    told = []
    done = client.register(files / "tiny.onnx", name="tiny", task="tensor", progress=told.append)
    assert (done.created, done.version.ref) == (True, "tiny@1")
    assert told[-1].phase == "uploading"
    again = client.register(files / "tiny.onnx", name="tiny", task="tensor", progress=told.append)
    assert (again.created, again.version.digest) == (False, done.version.digest)
    assert told[-1].phase == "present"

    deployment = client.deploy("tiny", limits={"queue": 9})
    assert deployment.traffic[0].version == 1
    client.wait_model_ready("tiny", 60)
    images = np.random.default_rng(0).random((3, 1, 28, 28), dtype=np.float32)
    answer = client.infer("tiny", {"x": images})
    assert answer["y"].shape == (3, 10)
    assert answer.version == 1
    deployment = client.deployments.get("tiny")
    assert deployment.is_ready
    assert deployment.limits["queue"] == 9
    assert client.status()["deployments"]["ready"] >= 1

    assert [one.name for one in client.models.list()] == ["tiny"]
    client.aliases.set("tiny", "champion", 1, reason="the first")
    assert client.versions.get("tiny", "champion").version == 1
    assert client.models.get("tiny").aliases == {"champion": 1}
    (move,) = client.aliases.moves("tiny")
    assert (move.alias, move.from_version, move.to_version, move.reason) == (
        "champion", None, 1, "the first",
    )  # fmt: skip
    with pytest.raises(Conflict):
        client.aliases.set("tiny", "champion", 1, expected=7)
    with pytest.raises(Conflict):
        client.models.delete("tiny")

    scaled = client.deployments.scale("tiny", min_replicas=0, idle_unload_s=60)
    assert (scaled.scale.min_replicas, scaled.scale.idle_unload_s) == (0, 60)
    client.deployments.unload("tiny")
    client.wait_model_ready("tiny", 60)  # loads it, since nobody else will
    assert client.deployments.logs("tiny") is not None
    client.undeploy("tiny")
    with pytest.raises(NotFound):
        client.infer("tiny", {"x": images})
    client.models.delete("tiny")
    assert client.models.list() == []


def test_a_manifest_of_several_models(client: Client, files: Path):
    done = client.register_all(files / "model.yaml")
    assert [one.version.ref for one in done] == ["digits@1", "same@1"]
    client.deploy("one", model="same", version="1")
    client.wait_model_ready("one", 60)
    assert client.infer("one", {"x": [[1, 2, 3]]}, datatypes={"x": "FP32"})


def test_what_is_no_model_is_refused_with_the_reason(client: Client, tmp_path: Path):
    (tmp_path / "evil.onnx").write_bytes(b"\x80\x04\x95" + bytes(100))
    with pytest.raises(FileRefused, match="pickle"):
        client.register(tmp_path / "evil.onnx", name="evil")


def test_keys_are_made_used_and_revoked(client: Client, running: Running):
    made = client.keys.create("app", deployments=["one"])
    assert made.token not in repr(made)
    with Client(running.url, made.token) as limited:
        assert limited.keys.whoami().role == "inference"
        with pytest.raises(PermissionDenied):
            limited.models.list()
        client.keys.revoke(made.key.key_id)
        with pytest.raises(ModelryError) as caught:
            limited.keys.whoami()
        assert made.token not in str(caught.value)
    kept = {key.key_id: key for key in client.keys.list()}
    assert kept[made.key.key_id].revoked_at is not None


def test_a_pull_that_fails_tells_why(client: Client):
    with pytest.raises(ModelryError, match="pypi"):
        client.pull("pypi://nothing")


def test_an_upload_goes_on_in_another_process(client: Client, tmp_path: Path):
    model = tmp_path / "large.onnx"
    model.write_bytes(large_model(np.random.default_rng(1).random((6, 2**20), dtype=np.float32)))

    class Ended(Exception):
        """Stands for the end of the first process."""

    def end(progress):
        if progress.phase == "uploading":
            raise Ended

    with pytest.raises(Ended):
        client.register(model, name="large", task="tensor", progress=end)
    offsets: list[int] = []

    def note(progress):
        if progress.phase == "uploading":
            offsets.append(progress.done_bytes)

    assert client.register(model, name="large", task="tensor", progress=note).created
    assert offsets[0] > 8 * 2**20  # the first piece was not sent again


def test_an_upload_goes_on_after_the_server_was_killed_and_started_anew(tmp_path: Path):
    model = tmp_path / "big.onnx"
    weights = np.random.default_rng(0).random((6, 2**20), dtype=np.float32)  # 24 MiB
    model.write_bytes(large_model(weights))
    first = start(tmp_path / "data", port="0")
    port = first.url.rpartition(":")[2]
    killed = threading.Event()
    offsets: list[int] = []
    second: list[Running] = []

    def crash(progress):
        if progress.phase != "uploading":
            return
        offsets.append(progress.done_bytes)
        if not killed.is_set():
            killed.set()
            first.kill()
            second.append(start(tmp_path / "data", key=first.key, port=port))

    try:
        with Client(first.url, first.key) as client:
            done = client.register(model, name="big", task="tensor", progress=crash)
        assert done.created
        assert killed.is_set()
        assert offsets[0] > 0
        assert offsets == sorted(offsets)  # nothing was lost, nothing was sent from the start
    finally:
        for one in (first, *second):
            one.kill()


def large_model(weights: np.ndarray) -> bytes:
    from onnx import TensorProto, helper
    from tests.support.onnx_models import model_of

    made = model_of(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        {"x": (TensorProto.FLOAT, ("batch", weights.shape[0]))},
        {"y": (TensorProto.FLOAT, ("batch", weights.shape[1]))},
        {"w": weights},
    )
    return made.SerializeToString()
