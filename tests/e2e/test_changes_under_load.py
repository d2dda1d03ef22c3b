"""Deployments are changed while they are being called: nobody gets an error for it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Self

import pytest
from tests.support.operating import Operator
from tests.support.server import server as running_server
from tests.support.wire_models import multiplier

TENSOR = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
FACTORS = {"1": 2, "2": 3}
SETTLE_S = 0.6
"""How long the callers go on after each change."""


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    with running_server(tmp_path_factory.mktemp("changes") / "data") as running:
        operator = Operator(running)
        for factor in FACTORS.values():
            operator.register("moving", multiplier(factor))
        operator.deploy("moving", version=1)
        operator.load("moving")
        yield operator
        operator.close()


class Callers:
    """Threads that ask on, and note what is told during which change."""

    def __init__(self, operator: Operator, count: int = 4) -> None:
        self.change = "none"
        self.told: Counter[tuple[str, int]] = Counter()
        self.versions: Counter[tuple[str, str]] = Counter()
        self.wrong: list[Any] = []
        self._server = operator.server
        self._ended = threading.Event()
        self._asking = ["none"] * count
        self._threads = [threading.Thread(target=self._ask_on, args=(at,)) for at in range(count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def during(self, name: str, change: Callable[[], Any]) -> None:
        """Make a change, and go on asking for a while."""
        self.change = name
        while set(self._asking) != {name}:  # until what was asked before is answered
            time.sleep(0.02)
        change()
        time.sleep(SETTLE_S)

    def _ask_on(self, place: int) -> None:
        with self._server.http() as http:
            while not self._ended.is_set():
                change = self._asking[place] = self.change
                answer = http.post("/v2/models/moving/infer", json={"inputs": [TENSOR]})
                self.told[change, answer.status_code] += 1
                if answer.status_code == 200:
                    told = answer.json()
                    version = told["model_version"]
                    self.versions[change, version] += 1
                    factor = FACTORS[version]
                    if told["outputs"][0]["data"] != [factor, 2 * factor, 3 * factor]:
                        self.wrong.append(told)


def test_changes_cost_no_request(operator: Operator) -> None:
    def post(action: str, **body: Any) -> Any:
        return operator.call("POST", f"/deployments/moving/{action}", json=body, timeout=60)

    halves = [{"version": number, "percent": 50.0} for number in (1, 2)]
    changes: dict[str, Callable[[], Any]] = {
        "to version 2": lambda: operator.deploy("moving", version=2),
        "split": lambda: operator.deploy("moving", traffic=halves),
        "to version 1": lambda: operator.deploy("moving", version=1),
        "two replicas": lambda: post("scale", min_replicas=2, max_replicas=2),
        "one replica": lambda: post("scale", min_replicas=1, max_replicas=1),
        "restart": lambda: post("restart"),
        "unload": lambda: post("unload"),
        "limits": lambda: operator.deploy("moving", limits={"queue": 100}),
        "engine options": lambda: operator.deploy("moving", engine_options={"threads": 1}),
        "memory": lambda: operator.deploy("moving", limits={"memory_bytes": 2**30}),
    }
    with Callers(operator) as callers:
        for name, change in changes.items():
            callers.during(name, change)
            operator.load("moving")
        callers.during("killed", lambda: os.kill(operator.pid_of("moving"), signal.SIGKILL))
        operator.load("moving")

    assert not callers.wrong
    failed = {key: count for key, count in callers.told.items() if key[1] != 200}
    # those that the killed worker was answering: one for each caller at most
    assert set(failed) <= {("killed", 503)}, failed
    assert sum(failed.values()) <= 4
    assert all(callers.told[name, 200] for name in changes)
    assert callers.versions["split", "1"]
    assert callers.versions["split", "2"]
    assert operator.open_requests() == 0
    assert len(operator.server.workers()) == 1
