"""The official `openai` package for Node drives the server unchanged."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.support.operating import Operator, wait_until
from tests.support.server import Running
from tests.support.wire_models import EMBEDDING_SIZE

SOURCES = Path(__file__).parent / "node"


def _run(command: list[str], folder: Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stderr[-2000:]}{done.stdout[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the client installed as its lock file says."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Node (with npm) is not installed here")
    folder = tmp_path_factory.mktemp("node")
    for source in SOURCES.iterdir():
        if source.is_file():
            shutil.copy(source, folder)
    _run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], folder)
    return folder


@pytest.fixture(scope="module")
def seen(node: Path, chat: Running, words: Running) -> dict[str, Any]:
    """What the client saw in one session."""
    printed = _run(["node", "drive.mjs"], node, BASE_URL=f"{chat.url}/v1", KEY=chat.key)
    told: dict[str, Any] = json.loads(printed)
    return told


def test_models_and_whole_answers(seen: dict[str, Any]) -> None:
    assert {"chat", "words"} <= set(seen["models"])
    assert "Paris" in seen["whole"]


def test_streams(seen: dict[str, Any]) -> None:
    assert seen["streamed"] == seen["whole"]
    assert seen["parts"] > 1
    assert seen["usage"]["completion_tokens"] > 1


def test_the_streaming_helper_collects_a_demanded_tool_call(seen: dict[str, Any]) -> None:
    (call,) = seen["tool"]
    assert call["name"] == "get_weather"
    assert list(json.loads(call["arguments"])) == ["city"]
    assert seen["toolReason"] == "tool_calls"


def test_embeddings_decode_to_the_same_numbers(seen: dict[str, Any]) -> None:
    assert seen["sizes"] == [EMBEDDING_SIZE, EMBEDDING_SIZE]
    assert seen["agree"]


def test_errors_are_the_client_s_own_classes(seen: dict[str, Any]) -> None:
    assert seen["refused"] == {"isBadRequest": True, "param": "colour"}
    assert seen["stranger"]


def test_an_aborted_stream_leaves_nothing_behind(seen: dict[str, Any], wired: Operator) -> None:
    assert seen["left"]
    wait_until(lambda: wired.open_requests() == 0, "the aborted request is over", 5)


def test_the_lock_file_names_no_registry() -> None:
    lock = json.loads((SOURCES / "package-lock.json").read_text())
    assert not [name for name, package in lock["packages"].items() if "resolved" in package]
