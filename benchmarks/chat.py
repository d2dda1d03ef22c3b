"""`make bench-chat`: streamed chat, beside the same engine's own server in the same run.

Every round asks each server the same things one after the other; a ratio is the median of the
rounds' ratios. All of Modelry's checks are on: key, routing, admission, metering. With the extra
`modelry[openvino]` installed, the same weights are also served by OpenVINO, as Q8_0.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import machine, weights
from benchmarks.served import Served, free_port, modelry
from benchmarks.streams import Endpoint, Load, Stream, body, load

SYSTEM = "You are a helpful assistant."
CONTEXT = 2048
SLOTS = 16
TOKENS = 64
OWN = "llama.cpp's own server, Q4_1"
OWN_Q8 = "llama.cpp's own server, Q8_0"
OURS = "Modelry, llama.cpp, Q4_1"
OURS_OPENVINO = "Modelry, OpenVINO, Q8_0"
_TEXT = (
    "harbour lantern meadow engine violin glacier orchard compass market thunder bridge copper "
    "island feather castle river winter garden mirror pepper rocket saddle temple valley walnut "
    "anchor basket candle desert eagle forest hammer iron jacket kettle ladder"
)
_WORDS = _TEXT.split()


@dataclass
class Measured:
    """The rounds of one server at one number of streams."""

    loads: list[Load]

    def median(self, figure: Callable[[Load], float]) -> float:
        """The median of a figure over the rounds."""
        return statistics.median(figure(one) for one in self.loads)


def prompt(number: int, words: int = 110) -> str:
    """A prompt of about 170 tokens (with the template) that no other number gives."""
    chosen = [_WORDS[(number * 7 + at * (3 + number % 11)) % len(_WORDS)] for at in range(words)]
    return f"Story {number}. Write a long story with these words: {' '.join(chosen)}"


@contextlib.contextmanager
def own_server(name: str, path: Path, threads: int, spin: int) -> Iterator[Endpoint]:
    """llama.cpp's own server in a process of its own, with the settings of our worker."""
    port = free_port()
    arguments = [str(path), str(port), str(SLOTS), str(CONTEXT), str(threads)]
    server = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.engine_server", *arguments],
        env=os.environ | {"GOMP_SPINCOUNT": str(spin)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert server.stdout is not None
        server.stdout.readline()
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        yield Endpoint(name, url, "model", (server.pid,))
    finally:
        server.kill()
        server.wait()


def serve(served: Served, model: str, path: Path, options: dict[str, int]) -> Endpoint:
    """Register `path` as `model`, deploy it and wait until it answers."""
    runtime = "llamacpp" if "spin" in options else "openvino"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.gguf"
        file.symlink_to(path)
        manifest = Path(folder) / "model.yaml"
        manifest.write_text(
            f"name: {model}\ntask: chat\nruntime: {runtime}\nfiles: {{model: model.gguf}}\n"
            f"defaults: {{system: {SYSTEM}}}\nlimits: {{context: {CONTEXT}}}\n"
        )
        served.client.register(manifest)
    served.client.deploy(model, engine_options={"slots": SLOTS, **options})
    served.client.wait_model_ready(model)
    name = OURS if runtime == "llamacpp" else OURS_OPENVINO
    workers = [replica.pid for replica in served.client.deployments.replicas(model)]
    pids = (served.pid, *(pid for pid in workers if pid is not None))
    return Endpoint(name, f"{served.url}/v1/chat/completions", model, pids, served.key)


def measure(
    endpoints: list[Endpoint], counts: list[int], rounds: int
) -> dict[tuple[str, int], Measured]:
    """Every endpoint at every number of streams, one after the other in every round."""
    found: dict[tuple[str, int], Measured] = {}
    number = 0
    for turn in range(rounds):
        for streams in counts:
            amount = max(streams, 3)
            requests = [body("", SYSTEM, prompt(number + at), TOKENS) for at in range(amount)]
            number += amount
            # who comes second finds a warmer machine: take turns
            for endpoint in endpoints if turn % 2 == 0 else reversed(endpoints):
                got = asyncio.run(load(endpoint, requests, streams))
                found.setdefault((endpoint.name, streams), Measured([])).loads.append(got)
                print(
                    f"round {turn + 1}, {streams:2} streams, {endpoint.name}: "
                    f"{got.tokens_per_s:.1f} tok/s, first {got.first_ms:.0f} ms, "
                    f"CPU {got.cpu_ms:.1f} ms per token",
                    flush=True,
                )
    return found


def rows(
    found: dict[tuple[str, int], Measured], endpoints: list[Endpoint], counts: list[int]
) -> list[list[str]]:
    """The table: absolute figures, and ratios to the first own server."""
    lines = []
    for streams in counts:
        own = found[OWN, streams]
        for endpoint in endpoints:
            got = found[endpoint.name, streams]
            ratios = [
                ours.tokens_per_s / theirs.tokens_per_s
                for ours, theirs in zip(got.loads, own.loads, strict=True)
            ]
            lines.append(
                [
                    str(streams),
                    endpoint.name,
                    f"{got.median(lambda one: one.tokens_per_s):.1f}",
                    f"{statistics.median(ratios):.2f}",
                    f"{got.median(lambda one: one.first_ms):.0f}",
                    f"{got.median(lambda one: one.between_ms(0.5)):.1f}",
                    f"{got.median(lambda one: one.between_ms(0.95)):.1f}",
                    f"{got.median(lambda one: one.between_ms(0.99)):.1f}",
                    f"{got.median(lambda one: one.cpu_ms):.1f}",
                ]
            )
    return lines


def prefix(endpoint: Endpoint, seed: int) -> tuple[float, float]:
    """Milliseconds to the first token, cold and warm, of a prompt that begins with 1,000 tokens."""
    shared = " ".join(str((at * 37 + seed * 101) % 1000) for at in range(245))

    async def first_ms(question: str) -> float:
        request = body(endpoint.model, SYSTEM, f"{shared} {question}", 2)
        return (await Stream(endpoint, request).run()).pieces_s[0] * 1e3

    cold = asyncio.run(first_ms("What is the sum of the first two?"))
    warm = asyncio.run(first_ms("How many numbers are there?"))
    return cold, warm


def cancelled(served: Served, endpoint: Endpoint) -> tuple[float, float]:
    """Milliseconds from hanging up until the slot is free, and of one token before that."""

    def in_flight() -> int:
        replicas = served.client.deployments.replicas(endpoint.model)
        return sum(replica.in_flight for replica in replicas)

    request = body(endpoint.model, SYSTEM, prompt(99_999), 400)
    timing = asyncio.run(Stream(endpoint, request).run(stop_after=24))
    hung_up = time.perf_counter()
    while in_flight():
        time.sleep(0.001)
    freed_ms = (time.perf_counter() - hung_up) * 1e3
    gaps = [b - a for a, b in zip(timing.pieces_s, timing.pieces_s[1:], strict=False)]
    return freed_ms, statistics.median(gaps) * 1e3


def nll(engine: str, path: Path) -> float:
    """Mean negative log-likelihood of a text, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.likelihood", engine, str(path)]
    ran = subprocess.run(command, check=True, capture_output=True, timeout=300)
    return float(json.loads(ran.stdout.splitlines()[-1])["nll"])


def main() -> None:
    """Measure and write benchmarks/results/chat.md."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--spin", type=int, default=300, help="llama.cpp: looks before sleeping")
    parser.add_argument("--without-openvino", action="store_true")
    chosen = parser.parse_args()
    with_openvino = not chosen.without_openvino and bool(importlib.util.find_spec("openvino_genai"))
    q4_1 = weights.packaged_file(weights.SMOLLM2_Q4_1)
    lines = [
        *machine.describe(["modelry", "xllamacpp", "openvino-genai"]),
        (
            f"- model: SmolLM2-135M-Instruct; {TOKENS} new tokens, prompts of about 170 tokens, "
            f"{chosen.threads} threads (spin {chosen.spin}), {SLOTS} slots of {CONTEXT} tokens, "
            f"{chosen.rounds} rounds"
        ),
        "",
    ]
    threads = {"threads": chosen.threads}
    with contextlib.ExitStack() as stack:
        served = stack.enter_context(modelry())
        own = stack.enter_context(own_server(OWN, q4_1, chosen.threads, chosen.spin))
        endpoints = [own, serve(served, "smollm2", q4_1, threads | {"spin": chosen.spin})]
        if with_openvino:
            q8_0 = weights.smollm2_q8_0()
            endpoints.append(
                stack.enter_context(own_server(OWN_Q8, q8_0, chosen.threads, chosen.spin))
            )
            endpoints.append(serve(served, "smollm2-q8", q8_0, threads))
        for endpoint in endpoints:
            asyncio.run(load(endpoint, [body("", SYSTEM, prompt(-1), 8)], 1))
        found = measure(endpoints, chosen.streams, chosen.rounds)
        lines += machine.table(
            ["streams", "server", "tok/s", "of the first", "first token ms", "between p50 ms",
             "p95", "p99", "CPU ms per token"],
            rows(found, endpoints, chosen.streams),
        )  # fmt: skip
        lines += ["", "## Shared prefix of 1,000 tokens: time to the first token", ""]
        lines += machine.table(
            ["server", "cold ms", "warm ms", "times faster"],
            [_prefix_row(endpoint, chosen.rounds) for endpoint in endpoints],
        )
        lines += ["", "## Hanging up in mid-stream", ""]
        for endpoint in endpoints:
            if endpoint.key:
                freed_ms, token_ms = cancelled(served, endpoint)
                lines.append(
                    f"- {endpoint.name}: the slot was free {freed_ms:.0f} ms later; one token "
                    f"takes {token_ms:.0f} ms"
                )
    lines += ["", "## Quality: mean negative log-likelihood of a text", ""]
    measured = [("llama.cpp", "llamacpp", "Q4_1", q4_1)]
    if with_openvino:
        measured += [
            ("llama.cpp", "llamacpp", "Q8_0", q8_0),
            ("OpenVINO", "openvino", "Q8_0", q8_0),
        ]
    lines += machine.table(
        ["engine", "file", "NLL"],
        [[name, kind, f"{nll(engine, path):.4f}"] for name, engine, kind, path in measured],
    )
    machine.write("chat", "Chat: tokens per second, beside the engine's own server", lines)
    print("\n".join(lines))


def _prefix_row(endpoint: Endpoint, rounds: int) -> list[str]:
    times = [prefix(endpoint, seed) for seed in range(rounds)]
    cold, warm = (statistics.median(column) for column in zip(*times, strict=True))
    return [endpoint.name, f"{cold:.0f}", f"{warm:.0f}", f"{cold / warm:.1f}"]


if __name__ == "__main__":
    main()
