"""`make bench-footprint`: how soon a server answers, what connections and requests cost in memory.

Nothing here is compared with a peer: start in seconds, the rest in bytes of resident memory of the
gateway process.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil

from benchmarks import machine, tiny_cnn, weights, wrk
from benchmarks.served import Served, modelry
from benchmarks.tensor import binary_request

MIB = 2**20


def resident_mib(pid: int) -> float:
    """Resident memory of a process."""
    return float(psutil.Process(pid).memory_info().rss) / MIB


def seconds_to_ready(rounds: int) -> float:
    """From starting the process in an empty data folder to a ready server; the median."""
    found = []
    for _ in range(rounds):
        started = time.perf_counter()
        with modelry():
            found.append(time.perf_counter() - started)
    return statistics.median(found)


def seconds_to_import() -> float:
    """What an interpreter needs to import onnxruntime alone, for scale."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import onnxruntime"], check=True)
    return time.perf_counter() - started


@contextlib.asynccontextmanager
async def open_streams(served: Served, model: str, count: int) -> AsyncIterator[None]:
    """`count` streamed chats, of which a few are answered and all others wait."""
    address = urlsplit(served.url)
    body = json.dumps(
        {
            "model": model,
            "stream": True,
            "max_tokens": 1500,
            "messages": [{"role": "user", "content": "Write a long story."}],
        }
    ).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Authorization: Bearer {served.key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    writers = []
    try:
        for _ in range(count):
            _, writer = await asyncio.open_connection(address.hostname, address.port)
            writer.write(head + body)
            await writer.drain()
            writers.append(writer)
        yield
    finally:
        for writer in writers:
            writer.close()


async def stream_cost(served: Served, count: int) -> list[list[str]]:
    """Memory of the gateway with and after `count` open streams."""
    async with open_streams(served, "chat", 32):
        await asyncio.sleep(
            2
        )  # code and buffers that the first streams bring are no cost per stream
    await asyncio.sleep(2)
    before = resident_mib(served.pid)
    async with open_streams(served, "chat", count):
        await asyncio.sleep(5)
        during = resident_mib(served.pid)
        (replica,) = served.client.deployments.replicas("chat")
    await asyncio.sleep(5)
    (idle,) = served.client.deployments.replicas("chat")
    return [
        [f"{count} open streams: gateway grows by", f"{during - before:.1f} MiB"],
        [
            "of them with the engine / after all went away",
            f"{replica.in_flight} / {idle.in_flight}",
        ],
        ["gateway after they went away", f"{resident_mib(served.pid) - before:+.1f} MiB"],
    ]


def request_cost(served: Served, seconds: int) -> list[list[str]]:
    """Memory of gateway and worker over many requests."""
    image = np.random.default_rng(0).random((1, 1, 28, 28), np.float32)
    body, headers = binary_request(image)
    headers = headers | {"Authorization": f"Bearer {served.key}"}
    url = f"{served.url}/v2/models/tiny-cnn/infer"
    wrk.run(url, body, headers, 32, 5)
    (replica,) = served.client.deployments.replicas("tiny-cnn")
    assert replica.pid is not None
    before = resident_mib(served.pid), resident_mib(replica.pid)
    load = wrk.run(url, body, headers, 32, seconds)
    after = resident_mib(served.pid), resident_mib(replica.pid)
    return [
        ["requests answered", f"{load.rate * seconds / 1e6:.2f} million, {load.failed} failed"],
        ["gateway grows by", f"{after[0] - before[0]:+.1f} MiB, to {after[0]:.0f} MiB"],
        ["worker grows by", f"{after[1] - before[1]:+.1f} MiB, to {after[1]:.0f} MiB"],
    ]


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args()
    wrk.require()
    chat = weights.packaged_file(weights.SMOLLM2_Q4_1)
    ready_s = seconds_to_ready(options.rounds)
    rows = [
        ["start to ready, no models", f"{ready_s:.2f} s"],
        ["importing onnxruntime alone, for scale", f"{seconds_to_import():.2f} s"],
    ]
    with tempfile.TemporaryDirectory() as folder, modelry() as served:
        rows.append(["gateway, idle", f"{resident_mib(served.pid):.0f} MiB"])
        served.client.register(tiny_cnn.build(Path(folder) / "tiny-cnn.onnx"), name="tiny-cnn")
        served.client.deploy("tiny-cnn")
        served.client.wait_model_ready("tiny-cnn")
        served.client.register(chat, name="chat", task="chat")
        served.client.deploy("chat", limits={"queue": 2 * options.streams})
        served.client.wait_model_ready("chat")
        rows += request_cost(served, options.seconds)
        rows += asyncio.run(stream_cost(served, options.streams))
    lines = [
        *machine.describe(["modelry", "uvicorn", "onnxruntime", "xllamacpp"]),
        f"- start: median of {options.rounds}; requests: V2 binary at 32 connections by wrk",
        "",
        *machine.table(["what", "measured"], rows),
    ]
    machine.write("footprint", "Start and memory", lines)


if __name__ == "__main__":
    main()
