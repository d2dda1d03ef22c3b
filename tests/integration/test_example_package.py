"""A runtime of a third party: installed beside Modelry, tested by its own tests, and served."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.support.operating import Operator
from tests.support.server import server

PACKAGE = Path(__file__).parents[2] / "examples" / "modelry-echo"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package, as pip installs it; no index is needed for it."""
    folder = tmp_path_factory.mktemp("installed")
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder), str(PACKAGE),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_its_own_tests_pass(installed: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(PACKAGE / "tests")],
        env={"PYTHONPATH": str(installed), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


@pytest.fixture(scope="module")
def operator(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """A server that finds the package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(installed))
        with server(tmp_path_factory.mktemp("served") / "data") as running:
            operating = Operator(running)
            yield operating
            operating.close()


def register(operator: Operator, name: str) -> dict[str, object]:
    manifest = (PACKAGE / "models" / f"{name}.yaml").read_text()
    return operator.register_manifest(manifest, {"model": PACKAGE / "models" / f"{name}.json"})


def test_its_models_are_served_like_all_others(operator: Operator) -> None:
    for name in ("parrot", "mirror"):
        version = register(operator, name)
        assert version["runtime"] == "echo"
        assert version["manifest"]["format"] == "echo"
        operator.deploy(name)
        operator.load(name)

    body = {"model": "parrot", "messages": [{"role": "user", "content": "Say this again."}]}
    whole = operator.http.post("/v1/chat/completions", json=body).json()
    assert whole["choices"][0]["message"]["content"] == "Say this again."
    assert whole["usage"]["completion_tokens"] == 3

    streamed = operator.http.post("/v1/chat/completions", json={**body, "stream": True})
    lines = [line[6:] for line in streamed.text.splitlines() if line.startswith("data: {")]
    pieces = [json.loads(line)["choices"][0]["delta"].get("content", "") for line in lines]
    assert [piece for piece in pieces if piece] == ["Say", " this", " again."]

    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    tensor = {"name": "x", "datatype": "FP32", "shape": [2, 3], "data": rows.ravel().tolist()}
    answer = operator.http.post("/v2/models/mirror/infer", json={"inputs": [tensor]}).json()
    (output,) = answer["outputs"]
    assert output["name"] == "x_again"
    assert output["data"] == rows.ravel().tolist()

    wrong = {**tensor, "shape": [3, 2]}
    refused = operator.http.post("/v2/models/mirror/infer", json={"inputs": [wrong]})
    assert refused.status_code == 400
    assert "x" in refused.json()["error"]


def test_its_damaged_files_and_wrong_uses_are_refused(operator: Operator) -> None:
    def refusal(manifest: str, content: bytes) -> str:
        body = {"manifest": manifest, "files": {"model": operator.upload(content)}}
        answer = operator.http.post("/api/v1/versions", json=body)
        assert answer.is_client_error, answer.text
        return str(answer.json()["error"]["message"])

    manifest = (PACKAGE / "models" / "parrot.yaml").read_text()
    assert "no echo model" in refusal(manifest, b'{"echo": 1, "says": "nothing"}')
    good = (PACKAGE / "models" / "parrot.json").read_bytes()
    unnamed = manifest.replace("runtime: echo\n", "")
    assert "'runtime:'" in refusal(unnamed, good)
    assert "reads onnx" in refusal(manifest.replace("runtime: echo", "runtime: onnx"), good)
