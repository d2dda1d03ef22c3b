"""Every command in the documentation works as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import documents
from tests.support.server import Running, server

PAGES = [page for page in documents.pages() if page.exists()]
MAKEFILE = (documents.ROOT / "Makefile").read_text()
KNOWN_FOR_A_FRESH_CLONE = {
    f"make {target}" for target in re.findall(r"^([a-z-]+):.*##", MAKEFILE, re.MULTILINE)
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    data = tmp_path_factory.mktemp("documents") / "data"
    with server(data, starter="1") as started:
        give_up = time.monotonic() + 240
        while "Ready." not in started.output():
            assert time.monotonic() < give_up, started.output()
            time.sleep(0.2)
        assert "is not there" not in started.output(), started.output()
        yield started


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_run(page: Path, running: Running, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MODELRY_URL": running.url,
        "MODELRY_API_KEY": running.key,
        "GRPC": running.grpc,
        "CHECKOUT": str(documents.ROOT),
        "COLUMNS": "120",
        "TERM": "dumb",
    }
    for block in documents.blocks(page):
        if block.language not in documents.RUN:
            continue
        command = (
            ["bash", "-euo", "pipefail", "-c", block.text]
            if block.language == "bash"
            else [sys.executable, "-W", "error", "-c", block.text]
        )
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, (
            f"{page.name}:{block.line}\n{block.text}\n{done.stdout}\n{done.stderr}"
        )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_is_run_or_shown(page: Path) -> None:
    for block in documents.blocks(page):
        if block.language == documents.FRESH_CLONE:
            lines = {line.split("#")[0].strip() for line in block.text.splitlines()}
            assert lines - {""} <= KNOWN_FOR_A_FRESH_CLONE, f"{page.name}:{block.line}"
        else:
            known = (*documents.RUN, *documents.SHOWN)
            assert block.language in known, f"{page.name}:{block.line}: {block.language}"
