"""The ledger of a real server: killed under load, and with its database out of reach."""

from __future__ import annotations

import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest
from tests.support.operating import Operator, wait_until
from tests.support.postgres import PostgresDatabases
from tests.support.server import Running, server, start
from tests.support.wire_models import multiplier

TENSOR = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
WINDOW_S = 2.0
"""What the documentation promises: how much may be lost when the process is killed."""


@dataclass
class Load:
    """Requests that were answered, by their ids, with the time when the answer was there."""

    running: Running
    answered: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def go(self, stop: threading.Event) -> None:
        with self.running.http(timeout_s=5) as client:
            while not stop.is_set():
                try:
                    answer = client.post("/v2/models/double/infer", json={"inputs": [TENSOR]})
                except httpx2.TransportError:
                    return
                if answer.status_code == 200:
                    self.answered[answer.headers["x-request-id"]] = time.monotonic()
                else:
                    self.failures.append(answer.text)


@contextmanager
def under_load(running: Running, callers: int = 4) -> Iterator[Load]:
    load, stop = Load(running), threading.Event()
    threads = [threading.Thread(target=load.go, args=(stop,)) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)


def counted(operator: Operator) -> int:
    found = operator.call("GET", "/usage?deployment=double")["usage"]
    return sum(one["units"]["requests"] for one in found)


def check_complete(operator: Operator, load: Load, killed_at: float) -> None:
    """All answers up to the window are in the ledger, none twice, and none is made up."""
    assert load.failures == []
    certain = [one for one, at in load.answered.items() if at < killed_at - WINDOW_S]
    total = counted(operator)
    assert len(certain) <= total <= len(load.answered) + 4  # one may be under way per caller
    for one in certain[:: max(1, len(certain) // 20)]:
        (record,) = operator.call("GET", f"/requests/{one}")["requests"]
        assert (record["status"], record["units"]["items"]) == ("ok", 1)
        assert record["replica_id"]
        assert record["version_digest"].startswith("sha256:")


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_kill_under_load_loses_no_more_than_the_window(
    database: str, postgres: PostgresDatabases, tmp_path: Path
) -> None:
    data, key = tmp_path / "data", secrets.token_urlsafe(32)
    with postgres.empty() as urls:
        settings = urls.settings if database == "postgresql" else {}
        running = start(data, key=key, **settings)
        with Operator(running) as operator:
            operator.serve("double", multiplier(2))
            with under_load(running) as load:
                time.sleep(2 * WINDOW_S)
                running.kill()
                killed_at = time.monotonic()
        with server(data, key=key, **settings) as again, Operator(again) as operator:
            check_complete(operator, load, killed_at)


def test_a_database_out_of_reach_loses_nothing_even_with_a_kill(tmp_path: Path) -> None:
    data, key = tmp_path / "data", secrets.token_urlsafe(32)
    spool = data / "usage-spool"
    running = start(data, key=key)
    with Operator(running) as operator:
        operator.serve("double", multiplier(2))
        with under_load(running) as load:
            time.sleep(1)
            blocker = sqlite3.connect(data / "modelry.db", isolation_level=None)
            blocker.execute("BEGIN EXCLUSIVE")
            before = len(load.answered)
            wait_until(
                lambda: len(list(spool.glob("*.segments"))) >= 6, "usage was not put on the disk"
            )
            assert len(load.answered) > before
            running.kill()
            killed_at = time.monotonic()
        blocker.close()
    with server(data, key=key) as again, Operator(again) as operator:
        wait_until(lambda: list(spool.iterdir()) == [], "the disk was not emptied")
        check_complete(operator, load, killed_at)


def test_an_orderly_stop_loses_nothing(tmp_path: Path) -> None:
    data, key = tmp_path / "data", secrets.token_urlsafe(32)
    with server(data, key=key) as running, Operator(running) as operator:
        operator.serve("double", multiplier(2))
        with under_load(running, callers=2) as load:
            time.sleep(1)
    with server(data, key=key) as again, Operator(again) as operator:
        assert load.failures == []
        assert counted(operator) == len(load.answered)
