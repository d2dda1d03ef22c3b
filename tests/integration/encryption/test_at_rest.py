"""Encryption at rest on a real server: nothing in the clear, and nothing changed unnoticed."""

from __future__ import annotations

import json
import re
import socket
import tempfile
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from tests.support.onnx_models import model_of
from tests.support.operating import Operator, wait_until
from tests.support.server import Running, server, start
from tests.support.weights import smollm2_q4_1, smollm2_q8_0
from tests.support.wire_models import multiplier

CANARIES = [f"canary-{place}-in-a-file" for place in ("model", "label", "cut", "weights")]
LABELLED = """\
name: labelled
task: tensor
files: {model: model.onnx, labels: secret-labels.txt}
"""
TWO_FILES = """\
name: two-files
task: tensor
files: {model: model.onnx, weights: weights.bin}
"""
CHAT = """\
name: %s
task: chat
runtime: %s
files: {model: smollm2.gguf}
limits: {context: 256}
"""


def labelled_model() -> bytes:
    model = model_of(
        [helper.make_node("Mul", ["x", "factor"], ["y"])],
        {"x": (TensorProto.FLOAT, ("batch", 3))},
        {"y": (TensorProto.FLOAT, ("batch", 3))},
        {"factor": np.array(2, "f4")},
    )
    model.doc_string = CANARIES[0] * 1000
    return bytes(model.SerializeToString())


def model_with_external_weights() -> tuple[bytes, bytes]:
    """A model that adds what another file holds."""
    weights = np.array([1, 2, 3], "<f4").tobytes() + CANARIES[3].encode()
    model = model_of(
        [helper.make_node("Add", ["x", "bias"], ["y"])],
        {"x": (TensorProto.FLOAT, ("batch", 3))},
        {"y": (TensorProto.FLOAT, ("batch", 3))},
        {"bias": np.zeros(3, "f4")},
    )
    (bias,) = model.graph.initializer
    bias.ClearField("raw_data")
    bias.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "weights.bin"), ("offset", "0"), ("length", "12")):
        bias.external_data.add(key=key, value=value)
    return bytes(model.SerializeToString()), weights


def answer_of(operator: Operator, name: str) -> list[float]:
    tensor = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
    answer = operator.http.post(f"/v2/models/{name}/infer", json={"inputs": [tensor]})
    assert answer.status_code == 200, answer.text
    data: list[float] = answer.json()["outputs"][0]["data"]
    return data


def refusal_of(operator: Operator, name: str) -> str:
    tensor = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
    answer = operator.http.post(f"/v2/models/{name}/infer", json={"inputs": [tensor]})
    assert answer.status_code == 500, answer.text
    return answer.text


def hits(*folders: Path) -> list[str]:
    """Files that hold a canary."""
    found = []
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                raw = path.read_bytes()
                found += [f"{word} in {path}" for word in CANARIES if word.encode() in raw]
    return found


def cut_off_upload(running: Running, content: bytes, size_bytes: int) -> str:
    """The id of an upload whose sender went away."""
    with Operator(running) as operator:
        upload = operator.call("POST", "/uploads", json={"size_bytes": size_bytes})["upload_id"]
        host, port = running.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            head = (
                f"PATCH /api/v1/uploads/{upload} HTTP/1.1\r\nHost: {host}:{port}\r\n"
                f"Authorization: Bearer {running.key}\r\nUpload-Offset: 0\r\n"
                f"Content-Length: {size_bytes}\r\n\r\n"
            )
            connection.sendall(head.encode() + content)
            wait_until(
                lambda: (
                    operator.call("GET", f"/uploads/{upload}")["received_bytes"] == len(content)
                ),
                "the bytes arrive",
            )
        return str(upload)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A data folder, and the folder for temporary files of the server and its workers."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path / "data", temporary


def test_no_file_of_a_tenant_lies_in_the_clear(folders: tuple[Path, Path]) -> None:
    data, temporary = folders
    running = start(data, cache=str(data.parent / "cache"))
    everything = (data, temporary, data.parent / "cache")
    cut = CANARIES[2].encode() * 5000
    try:
        with Operator(running) as operator:
            labels = CANARIES[1].encode() + b"\n" + b"another\n"
            operator.register_manifest(LABELLED, {"model": labelled_model(), "labels": labels})
            model, weights = model_with_external_weights()
            operator.register_manifest(TWO_FILES, {"model": model, "weights": weights})
            for name, wanted in (("labelled", [2, 4, 6]), ("two-files", [2, 4, 6])):
                operator.deploy(name)
                operator.load(name)
                assert answer_of(operator, name) == wanted
            upload = cut_off_upload(running, cut, len(cut) + 7)
            assert hits(*everything) == [], "while it runs"
            limits = Path(f"/proc/{running.process.pid}/limits").read_text()
            assert re.search(r"Max core file size +0 +0", limits), "a crash would write memory"
    finally:
        running.kill()
    assert hits(*everything) == [], "after a crash"
    again = start(data, key=running.key, cache=str(data.parent / "cache"))
    with Operator(again) as operator:
        told = operator.call("GET", f"/uploads/{upload}")
        assert told["received_bytes"] == len(cut)
        operator.load("labelled")
        assert answer_of(operator, "labelled") == [2, 4, 6]
        assert hits(*everything) == [], "after a restart"
    assert again.stop() == 0


@pytest.mark.parametrize("runtime", ["llamacpp", "openvino"])
def test_engines_read_their_files_from_memory(folders: tuple[Path, Path], runtime: str) -> None:
    weights = smollm2_q4_1() if runtime == "llamacpp" else smollm2_q8_0()
    data, temporary = folders
    needle = weights.read_bytes()[1_000_000:1_000_200]
    with server(data) as running, Operator(running) as operator:
        operator.register_manifest(CHAT % (runtime, runtime), {"model": weights})
        operator.deploy(runtime, scale={"min_replicas": 2, "max_replicas": 2})
        operator.load(runtime)
        wait_until(lambda: states_of(operator, runtime) == ["ready"] * 2, "both are there", 60)
        # llama.cpp maps the file, and its replicas share one; the other engine is done with it
        assert len(memory_files_of(running)) == (1 if runtime == "llamacpp" else 0)
        body = {
            "model": runtime,
            "messages": [{"role": "user", "content": "Say a word."}],
            "max_tokens": 4,
        }
        answer = operator.http.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        for path in [*data.rglob("*"), *temporary.rglob("*")]:
            assert not path.is_file() or path.is_symlink() or needle not in path.read_bytes()


def states_of(operator: Operator, name: str) -> list[str]:
    return [one["state"] for one in operator.replicas(name)]


def memory_files_of(running: Running) -> list[str]:
    """The contents that the server holds in memory."""
    folder = Path(f"/proc/{running.process.pid}/fd")
    targets = [str(one.readlink()) for one in folder.iterdir()]
    return [one for one in targets if "memfd:modelry-content" in one]


def only_content_of(data: Path) -> Path:
    (path,) = (data / "blobs").rglob("encrypted/*/*")
    return path


def test_a_changed_file_is_quarantined_until_it_is_uploaded_again(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with server(data) as running, Operator(running) as operator:
        operator.serve("pets", multiplier(2))
        assert answer_of(operator, "pets") == [2, 4, 6]
        path = only_content_of(data)
        raw = bytearray(path.read_bytes())
        raw[-1] ^= 1
        path.chmod(0o600)
        path.write_bytes(raw)
        operator.call("POST", "/deployments/pets/unload", json={})
        assert "Quarantined" in refusal_of(operator, "pets")
        version = operator.call("GET", "/models/pets/versions/1")
        assert version["quarantined_at"]
        digest = version["files"][0]["digest"]
        (replica,) = operator.replicas("pets")
        assert replica["state"] == "failed"
        assert "Quarantined" in replica["reason"]
        body = {"file": {"name": "other.onnx", "digest": digest}, "name": "other", "task": "tensor"}
        refused = operator.http.post("/api/v1/versions", json=body)
        assert refused.json()["error"]["code"] == "data_damaged", refused.text
        entries = operator.call("GET", "/audit/entries?action=contents.quarantine")["entries"]
        assert [one["resource"] for one in entries] == [f"/contents/{digest}"]

        begun = operator.call("POST", "/uploads", json={"size_bytes": 1, "digest": digest})
        assert not begun["complete"], "it would be taken for kept"
        operator.call("DELETE", f"/uploads/{begun['upload_id']}")
        assert operator.upload(multiplier(2)) == digest
        assert operator.call("GET", "/models/pets/versions/1")["quarantined_at"] is None
        wait_until(lambda: operator.replicas("pets")[0]["state"] == "ready", "it is back", 60)
        assert answer_of(operator, "pets") == [2, 4, 6]


def test_a_lost_file_is_quarantined_and_back_from_a_backup(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with server(data) as running, Operator(running) as operator:
        operator.serve("pets", multiplier(2))
        path = only_content_of(data)
        backup = path.read_bytes()
        path.unlink()
        digest = operator.call("GET", "/models/pets/versions/1")["files"][0]["digest"]
        body = {"file": {"name": "other.onnx", "digest": digest}, "name": "other", "task": "tensor"}
        assert operator.http.post("/api/v1/versions", json=body).status_code == 500
        wait_until(lambda: operator.replicas("pets")[0]["state"] == "failed", "it is taken away")
        assert "Quarantined" in refusal_of(operator, "pets")
        path.write_bytes(backup)
        operator.load("pets")
        assert answer_of(operator, "pets") == [2, 4, 6]
        assert operator.call("GET", "/models/pets/versions/1")["quarantined_at"] is None


def test_what_an_older_version_kept_is_encrypted_at_start(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with server(data) as running, Operator(running) as operator:
        operator.serve("pets", labelled_model())
    path = only_content_of(data)
    old = data / "blobs" / "default" / "contents" / path.parent.name
    old.mkdir(parents=True)
    (old / path.name).write_bytes(labelled_model())
    (data / "scratch" / "pull-killed").mkdir(parents=True)
    (data / "scratch" / "pull-killed" / "m.onnx").write_bytes(labelled_model())
    path.unlink()
    assert hits(data)
    with server(data, key=running.key) as again, Operator(again) as operator:
        assert "encrypted 1 of 1 files of tenant default" in again.output()
        assert hits(data) == []
        operator.load("pets")
        assert answer_of(operator, "pets") == [2, 4, 6]


def test_a_server_whose_key_is_lost_does_not_start(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with server(data) as running, Operator(running) as operator:
        operator.register("pets", multiplier(2))
    secrets = data / "secrets" / "key-encryption-keys"
    kept = secrets.read_bytes()
    secrets.unlink()
    with pytest.raises(AssertionError, match="Restore the file 'secrets/key-encryption-keys'"):
        start(data, key=running.key)
    with pytest.raises(AssertionError, match="MODELRY_ENCRYPTION_PROVIDER"):
        start(data, key=running.key, encryption_key="A" * 43 + "=")
    assert not secrets.exists()
    secrets.write_bytes(kept)
    secrets.chmod(0o600)
    with server(data, key=running.key) as again, Operator(again) as operator:
        operator.deploy("pets")
        operator.load("pets")
        assert answer_of(operator, "pets") == [2, 4, 6]
    assert json.loads(kept)["keys"]
