"""The audit log of a real server: by its command line, and without it."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

from tests.support.server import Running, server

from modelry.client import Client


def modelry(running: Running, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "MODELRY_URL": running.url,
        "MODELRY_API_KEY": running.key,
        "MODELRY_DATA": str(running.data),
    }
    return subprocess.run(
        [sys.executable, "-m", "modelry", *arguments],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_from_the_first_start_to_a_cut_chain(tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl"
    with server(tmp_path / "data") as running:
        with Client(running.url, running.key) as client:
            made = client.keys.create("website", "inference")
            page = client.audit.list(action="keys.*", limit=2)
            assert [one.outcome for one in page.entries] == ["ok", "intent"]
            assert page.entries[0].detail["key_id"] == made.key.key_id
            assert page.next is not None
            head = client.audit.head()
            assert client.audit.verify([head.head]).sound
        assert modelry(running, "audit", "head", "--file", str(kept)).returncode == 0
        listed = modelry(running, "audit", "list", "--action", "keys.*", "--json")
        assert [one["action"] for one in json.loads(listed.stdout)][:2] == ["keys.create_key"] * 2
        exported = modelry(running, "audit", "export")
        assert len(exported.stdout.splitlines()) >= 3
        online = modelry(running, "audit", "verify", "--head", str(kept))
        assert (online.returncode, "sound" in online.stdout) == (0, True), online.stderr
        offline = modelry(running, "audit", "verify", "--offline", "--head", str(kept))
        assert offline.returncode == 0, offline.stdout + offline.stderr
        told = running.output() + listed.stdout + exported.stdout
        assert made.token not in told
        assert running.key not in told
    with sqlite3.connect(running.data / "modelry.db") as database:
        database.execute("DELETE FROM audit_entries WHERE sequence > 2")
        database.execute(
            "UPDATE audit_heads SET sequence = 2, "
            "mac = (SELECT mac FROM audit_entries WHERE sequence = 2)"
        )
    cut = modelry(running, "audit", "verify", "--offline", "--json")
    assert cut.returncode == 1
    found = json.loads(cut.stdout)["default"]
    assert {one["kind"] for one in found["breaks"]} == {"truncated"}
    with server(running.data, key=running.key) as again:
        assert "was cut off or replaced" in again.output()
        with Client(again.url, again.key) as client:
            (told,) = client.audit.list(action="audit.rolled_back").entries
            assert told.outcome == "found"
            assert not client.audit.verify().sound


def test_another_secret_is_refused_at_the_start(tmp_path: Path) -> None:
    with server(tmp_path / "data", audit_key="ab" * 32) as running:
        assert modelry(running, "status").returncode == 0
    environment = {**os.environ, **running.environment, "MODELRY_AUDIT_KEY": "cd" * 32}
    again = subprocess.run(
        [sys.executable, "-m", "modelry", "up"],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert again.returncode == 1
    assert "another secret" in again.stderr
    assert "abab" not in again.stderr
