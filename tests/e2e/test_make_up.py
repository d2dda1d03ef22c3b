"""From a fresh copy of the tree: `make up`, the commands that it prints, Ctrl-C, and again."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
NESTED = "INSIDE_MAKE_UP_TEST"
"""Set for everything that this test starts, so that it cannot start itself again."""
FIRST_START_S = 400
LATER_START_S = 60
pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(NESTED in os.environ, reason="runs inside itself"),
    pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed"),
]


def copy_of_the_tree(folder: Path) -> Path:
    """What git would clone, with the changes of this working copy."""
    if not (ROOT / ".git").exists():
        ignored = shutil.ignore_patterns(".venv", "__pycache__", ".*_cache")
        return Path(shutil.copytree(ROOT, folder, ignore=ignored))
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        source = ROOT / name
        if name and source.is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return folder


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return str(taken.getsockname()[1])


@dataclass
class MakeUp:
    """A running `make up` in a terminal's process group of its own."""

    process: subprocess.Popen[bytes]
    log: Path
    environment: dict[str, str]

    def printed(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_ready(self, timeout_s: float) -> None:
        give_up = time.monotonic() + timeout_s
        while "Ctrl-C drains and stops." not in self.printed():
            assert self.process.poll() is None, self.printed()
            assert time.monotonic() < give_up, self.printed()
            time.sleep(0.2)

    def commands(self) -> list[str]:
        """The commands to try, as they were printed."""
        return re.findall(r"^  (MODELRY_URL=.*)$", self.printed(), re.MULTILINE)

    def paste(self, command: str, **environment: str) -> str:
        """What a printed command prints in a shell."""
        done = subprocess.run(
            ["bash", "-c", command],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def interrupt(self) -> None:
        """Ctrl-C, which reaches every process of the terminal; all of them end."""
        started = psutil.Process(self.process.pid).children(recursive=True)
        assert started
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(timeout=60)
        _, alive = psutil.wait_procs(started, timeout=10)
        assert not alive, alive
        assert "Stopping." in self.printed()
        assert "Traceback" not in self.printed()


@contextlib.contextmanager
def make_up(tree: Path, log: Path, environment: dict[str, str]) -> Iterator[MakeUp]:
    with log.open("wb") as sink:
        process = subprocess.Popen(
            ["make", "up"],
            cwd=tree,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield MakeUp(process, log, environment)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)


OF_MAKE = ("MAKE", "MFLAGS", "ARGS", "WORKERS")
"""What `make test` hands on, its arguments among it."""


def test_make_up_from_a_fresh_copy(tmp_path: Path) -> None:
    tree = copy_of_the_tree(tmp_path / "modelry")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MODELRY_", "PYTHON", "VIRTUAL_ENV", *OF_MAKE))
    }
    environment = {
        **kept,
        "MODELRY_PORT": free_port(),
        "MODELRY_GRPC_PORT": free_port(),
        "MODELRY_DATA": str(tmp_path / "data"),
        NESTED: "1",
    }

    with make_up(tree, tmp_path / "first.log", environment) as first:
        first.wait_ready(FIRST_START_S)
        url = f"http://127.0.0.1:{environment['MODELRY_PORT']}"
        assert url in first.printed()
        assert environment["MODELRY_GRPC_PORT"] in first.printed()
        chat, embedding, detection = first.commands()
        key = re.search(r"mlry_\w+", chat)
        assert key is not None
        assert "Paris" in first.paste(chat)
        numbers = re.findall(r"-?\d+\.\d+(?:e-?\d+)?", first.paste(embedding))
        assert len(numbers) >= 3
        found = first.paste(detection).lower()
        assert "text" in found
        assert "title" in found
        assert re.search(r"title( +\d+){4}$", found, re.MULTILINE), found
        first.interrupt()

    started = time.monotonic()
    with make_up(tree, tmp_path / "second.log", environment) as second:
        second.wait_ready(LATER_START_S)
        assert time.monotonic() - started < LATER_START_S
        assert key[0] not in second.printed()
        chat, embedding, _ = second.commands()
        assert "Paris" in second.paste(chat, MODELRY_API_KEY=key[0])
        told = second.paste(f"{embedding} --json", MODELRY_API_KEY=key[0])
        assert json.loads(told)
        second.interrupt()
    shutil.rmtree(tree)  # pytest keeps the folders of its last runs; this one is large
