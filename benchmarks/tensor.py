"""`make bench-tensor`: the tiny CNN over V2 binary and V2 JSON, beside its limit and a peer.

Every round measures the limit (raw onnxruntime, one thread, batch 1, no server), Modelry and the
peer one after the other; a ratio is the median of the rounds' ratios. All of Modelry's checks
are on: key, routing, admission, metering.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from benchmarks import machine, tiny_cnn, wrk
from benchmarks.peers.environment import python_for
from benchmarks.served import Served, free_port, modelry


@dataclass(frozen=True)
class Case:
    """One way to ask one server."""

    name: str
    url: str
    body: bytes
    headers: dict[str, str]


def binary_request(image: np.ndarray) -> tuple[bytes, dict[str, str]]:
    """A V2 request with binary tensors both ways."""
    raw = image.tobytes()
    tensor = {
        "name": tiny_cnn.INPUT,
        "datatype": "FP32",
        "shape": list(image.shape),
        "parameters": {"binary_data_size": len(raw)},
    }
    head = orjson.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}})
    return head + raw, {
        "Inference-Header-Content-Length": str(len(head)),
        "Content-Type": "application/octet-stream",
    }


def json_request(image: np.ndarray) -> tuple[bytes, dict[str, str]]:
    """A V2 request with JSON tensors both ways."""
    tensor = {
        "name": tiny_cnn.INPUT,
        "datatype": "FP32",
        "shape": list(image.shape),
        "data": image.ravel(),
    }
    body = orjson.dumps({"inputs": [tensor]}, option=orjson.OPT_SERIALIZE_NUMPY)
    return body, {"Content-Type": "application/json"}


def cases(served: Served) -> list[Case]:
    """Modelry's cases."""
    image = np.random.default_rng(0).random((1, 1, 28, 28), np.float32)
    key = {"Authorization": f"Bearer {served.key}"}
    url = f"{served.url}/v2/models/tiny-cnn/infer"
    binary, binary_headers = binary_request(image)
    text, text_headers = json_request(image)
    return [
        Case("modelry V2 binary", url, binary, key | binary_headers),
        Case("modelry V2 JSON", url, text, key | text_headers),
    ]


@contextlib.contextmanager
def mosec(model: Path) -> Iterator[Case | None]:
    """The peer, if it can be installed here."""
    python = python_for("mosec")
    if python is None:
        yield None
        return
    port = free_port()
    app = Path(__file__).parent / "peers" / "mosec_app.py"
    environment = os.environ | {"MODEL_PATH": str(model)}
    server = subprocess.Popen(
        [python, app, "--port", str(port), "--address", "127.0.0.1"],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait_for(f"http://127.0.0.1:{port}/metrics")
        body = np.random.default_rng(0).random((1, 1, 28, 28), np.float32).tobytes()
        yield Case("mosec raw", f"http://127.0.0.1:{port}/inference", body, {})
    finally:
        server.terminate()
        server.wait(timeout=20)


def _wait_for(url: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(url, timeout=1)
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
        else:
            return
    sys.exit(f"{url} did not come up")


def limit(model: Path, seconds: float) -> float:
    """Raw onnxruntime, requests/s."""
    command = [sys.executable, "-m", "benchmarks.limit", str(model), str(seconds)]
    return float(json.loads(subprocess.check_output(command))["rate"])


def measure(rounds: int, seconds: int, connections: list[int]) -> list[list[str]]:
    """Rows of the table."""
    with tempfile.TemporaryDirectory() as folder:
        model = tiny_cnn.build(Path(folder) / "tiny-cnn.onnx")
        with modelry() as served, mosec(model) as peer:
            served.client.register(model, name="tiny-cnn")
            served.client.deploy("tiny-cnn")
            served.client.wait_model_ready("tiny-cnn")
            asked = [*cases(served), *([peer] if peer else [])]
            rows = []
            for count in connections:
                rows += _measure_at(asked, model, count, rounds, seconds)
    return rows


def _measure_at(
    asked: list[Case], model: Path, count: int, rounds: int, seconds: int
) -> list[list[str]]:
    seen: dict[str, list[tuple[wrk.Load, float]]] = {case.name: [] for case in asked}
    for round_number in range(rounds):
        bound = limit(model, seconds)
        for case in asked:
            load = wrk.run(case.url, case.body, case.headers, count, seconds)
            seen[case.name].append((load, load.rate / bound))
            print(
                f"c={count} round {round_number + 1}: {case.name} {load.rate:.0f}/s "
                f"p50 {load.p50_ms:.2f} ms p99 {load.p99_ms:.2f} ms failed {load.failed} "
                f"({load.rate / bound:.2f} x limit {bound:.0f}/s)",
                flush=True,
            )
    return [_row(name, count, loads) for name, loads in seen.items()]


def _row(name: str, count: int, loads: list[tuple[wrk.Load, float]]) -> list[str]:
    median = statistics.median
    return [
        str(count),
        name,
        f"{median(load.rate for load, _ in loads):.0f}",
        f"{median(load.p50_ms for load, _ in loads):.2f}",
        f"{median(load.p99_ms for load, _ in loads):.2f}",
        str(sum(load.failed for load, _ in loads)),
        f"{median(ratio for _, ratio in loads):.2f}",
    ]


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 32, 128])
    options = parser.parse_args()
    wrk.require()
    rows = measure(options.rounds, options.seconds, options.connections)
    head = ["connections", "what", "requests/s", "p50 ms", "p99 ms", "failed", "x limit"]
    how = f"medians of {options.rounds} interleaved rounds of {options.seconds} s"
    lines = [
        *machine.describe(["modelry", "onnxruntime", "numpy", "uvicorn", "uvloop", "httptools"]),
        f"- {how}; load by wrk on the same cores",
        "- limit: raw onnxruntime, one thread, batch 1, no server, in the same round",
        "",
        *machine.table(head, rows),
    ]
    machine.write("tensor", "Tiny CNN over the Open Inference Protocol", lines)


if __name__ == "__main__":
    main()
