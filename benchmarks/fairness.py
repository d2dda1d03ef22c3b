"""`make bench-fairness`: what a flooding tenant does to the latency of a quiet one.

The quiet tenant asks at a fixed rate, alone and then beside a flood, in each round. Floods: ten
times the quiet one's rate, all of it admitted; and connections that send as fast as they are
answered, of a tenant whose own limit they exceed at least tenfold. Shapes: each tenant with a
deployment of its own of the same small CNN, and one deployment shared with both.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from benchmarks import machine, tiny_cnn, wrk
from benchmarks.paced import Seen, raw, seen_by, started
from benchmarks.served import Served, modelry
from benchmarks.tensor import binary_request
from modelry.client import Client

GOAL = 1.5
FLOOD_FACTOR = 10
CLOSED_LOOP_LIMIT = 100
CLOSED_LOOP_CONNECTIONS = 32


@dataclass(frozen=True)
class Caller:
    """One tenant's request, as bytes and in parts."""

    tenant_id: str
    token: str
    url: str

    def headers(self) -> tuple[bytes, dict[str, str]]:
        """Body and headers."""
        image = np.random.default_rng(0).random((1, 1, 28, 28), np.float32)
        body, headers = binary_request(image)
        return body, {"Authorization": f"Bearer {self.token}", **headers}


def tenants(served: Served, model: Path, *, shared: bool) -> tuple[Caller, Caller]:
    """The quiet and the flooding tenant, each able to call the model."""
    callers = []
    if shared:
        _serve(served.client, model)
    for name in ("quiet", "flood"):
        tenant_id = f"{name}-{'shared' if shared else 'own'}"
        token = served.client.tenants.create(tenant_id, name).owner.token
        if shared:
            served.client.shares.share("tiny-cnn", tenant_id)
            called = "tiny-cnn@default"
        else:
            with Client(url=served.url, api_key=token) as client:
                _serve(client, model)
            called = "tiny-cnn"
        callers.append(Caller(tenant_id, token, f"{served.url}/v2/models/{called}/infer"))
    return callers[0], callers[1]


def _serve(client: Client, model: Path) -> None:
    client.register(model, name="tiny-cnn")
    client.deploy("tiny-cnn")
    client.wait_model_ready("tiny-cnn")


def paced(caller: Caller, folder: Path, rate: float, seconds: float) -> subprocess.Popen[str]:
    """A process that asks as `caller` at `rate`."""
    request = folder / f"{caller.tenant_id}.request"
    request.write_bytes(raw(caller.url, *caller.headers()))
    return started(request, urlsplit(caller.url).port or 0, rate, seconds)


@contextlib.contextmanager
def flood(kind: str, caller: Caller, folder: Path, rate: float, seconds: float) -> Iterator[None]:
    """A flood that begins a second before and ends after what it is to disturb."""
    if kind == "alone":
        yield
        return
    if kind == "open":
        process = paced(caller, folder, rate * FLOOD_FACTOR, seconds + 2)
        time.sleep(1)
        yield
        print(f"    flood: {seen_by(process)}", flush=True)
        return
    body, headers = caller.headers()
    with ThreadPoolExecutor(1) as thread:
        load = thread.submit(
            wrk.run, caller.url, body, headers, CLOSED_LOOP_CONNECTIONS, int(seconds + 2)
        )
        time.sleep(1)
        yield
        print(f"    flood: {load.result()}", flush=True)


def measure(rounds: int, seconds: float, rate: float) -> list[list[str]]:
    """Rows of the table."""
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = tiny_cnn.build(folder / "tiny-cnn.onnx")
        for shared in (False, True):
            with modelry() as served:
                quiet, flooding = tenants(served, model, shared=shared)
                seen: dict[str, list[Seen]] = {"alone": [], "open": [], "closed": []}
                for number in range(rounds):
                    for kind, found in seen.items():
                        limits = {"requests_per_second": CLOSED_LOOP_LIMIT}
                        served.client.quotas.set_tenant(
                            flooding.tenant_id, **(limits if kind == "closed" else {})
                        )
                        with flood(kind, flooding, folder, rate, seconds):
                            one = seen_by(paced(quiet, folder, rate, seconds))
                        found.append(one)
                        print(f"shared={shared} round {number + 1} {kind}: {one}", flush=True)
                rows += _rows("one shared" if shared else "each its own", seen)
    return rows


def _rows(shape: str, seen: dict[str, list[Seen]]) -> list[list[str]]:
    named = {
        "alone": "none",
        "open": f"{FLOOD_FACTOR} x the quiet one's rate",
        "closed": f"{CLOSED_LOOP_CONNECTIONS} connections, limit {CLOSED_LOOP_LIMIT}/s",
    }
    rows = []
    for kind, found in seen.items():
        ratios = [
            one.p99_ms / alone.p99_ms for one, alone in zip(found, seen["alone"], strict=True)
        ]
        rows.append(
            [
                shape,
                named[kind],
                f"{statistics.median(one.p50_ms for one in found):.2f}",
                f"{statistics.median(one.p99_ms for one in found):.2f}",
                str(sum(one.failed for one in found)),
                "" if kind == "alone" else f"{statistics.median(ratios):.2f}",
            ]
        )
    return rows


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rate", type=float, default=100, help="the quiet tenant's requests/s")
    given = parser.parse_args()
    wrk.require()
    rows = measure(given.rounds, given.seconds, given.rate)
    head = ["deployments", "flood", "quiet p50 ms", "quiet p99 ms", "failed", "x p99 alone"]
    lines = [
        *machine.describe(["modelry", "onnxruntime", "uvicorn", "uvloop"]),
        f"- the quiet tenant sends {given.rate:g} requests/s, open loop; latency from when due",
        f"- medians of {given.rounds} rounds of {given.seconds:g} s; load on the same cores",
        f"- goal: at most {GOAL} x",
        "",
        *machine.table(head, rows),
    ]
    machine.write("fairness", "A quiet tenant beside a flooding one", lines)


if __name__ == "__main__":
    main()
