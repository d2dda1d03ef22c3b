"""`make bench-serving-while-explaining`: what explanations do to the latency of serving.

A server as users start it holds real models: MiniLM and a small CNN, asked over V2 binary at a
fixed rate, and SmolLM2, which streams chat. Meanwhile somebody has explanations made, one after
the other: of a second deployment of the CNN, so that only the cores are shared, or of the very
deployment that is asked, so that each run of its engine is. Each round measures every model
without explanations and with either, in turns that change from round to round.

Also told: how often the model was asked for explanations in a second, alone and beside serving.
"""

from __future__ import annotations

import argparse
import io
import itertools
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from benchmarks import chat, compute_bound, machine, paced, tiny_cnn, weights
from benchmarks.served import Served, modelry
from benchmarks.serving_while_training import Asked, Figures, ask_all
from benchmarks.streams import Endpoint
from benchmarks.tensor import binary_request
from modelry.client import Client
from modelry.runtimes.llamacpp.settings import SPIN_COUNT

GOAL = 1.3
ASKED, OTHER = "tiny-cnn", "tiny-cnn-explained"
EXPLAINED = {OTHER: "another model", ASKED: "the same model"}
CALLS = 5_000
SETTLE_S = 1.0


class Explaining:
    """Somebody who has explanations made, one after the other, while `going` lasts."""

    def __init__(self, served: Served) -> None:
        self._served = served
        noise = np.random.default_rng(0).integers(0, 255, (28, 28), np.uint8)
        file = io.BytesIO()
        Image.fromarray(noise).save(file, "PNG")
        self._picture = file.getvalue()
        self.rates: dict[str, list[float]] = {}

    @contextmanager
    def going(self, model: str, what: str) -> Iterator[None]:
        """Have answers of `model` explained; calls per second are counted as those of `what`."""
        is_over = threading.Event()
        calls: list[int] = []
        failures: list[BaseException] = []

        def explain() -> None:
            client = Client(url=self._served.url, api_key=self._served.key)
            try:
                for seed in itertools.count():
                    if is_over.is_set():
                        return
                    told = client.explain(
                        model, image=self._picture, method="rise", calls=CALLS, seed=seed
                    )
                    calls.append(int(told.cost["model_calls"]))
            except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
                failures.append(error)

        asking = threading.Thread(target=explain)
        asking.start()
        time.sleep(SETTLE_S)
        began, before = time.monotonic(), sum(calls)
        yield
        done = (sum(calls) - before) / (time.monotonic() - began)
        is_over.set()
        asking.join()
        if failures:
            raise failures[0]
        self.rates.setdefault(what, []).append(done)


def serve(served: Served, folder: Path, rates: dict[str, float]) -> tuple[list[Asked], Endpoint]:
    """Deploy the models; those asked at a rate, and the one that chats."""
    client = served.client
    small = tiny_cnn.build(folder / "tiny-cnn.onnx")
    manifest = {
        "name": ASKED,
        "task": "image-classification",
        "files": {"model": small.name},
        "pre": [{"decode": "gray"}, {"resize": [28, 28]}, {"scale": "1/255"}, {"layout": "nchw"}],
        "post": [{"top_k": 3}],
    }
    declared = folder / "tiny-cnn.yaml"
    declared.write_text(yaml.safe_dump(manifest))
    client.register(declared)
    large = weights.packaged_file(compute_bound.MINILM)
    client.register(large, name="minilm", task="tensor")
    client.deploy(ASKED)
    client.deploy(OTHER, model=ASKED)
    client.deploy("minilm")
    for name in (ASKED, OTHER, "minilm"):
        client.wait_model_ready(name)
    content, headers = binary_request(np.random.default_rng(0).random((1, 1, 28, 28), np.float32))
    headers = {"Authorization": f"Bearer {served.key}", **headers}
    requests = {
        ASKED: (f"{served.url}/v2/models/{ASKED}/infer", content, headers),
        "minilm": compute_bound.request(served, "minilm", large),
    }
    named = {ASKED: "tensor: small CNN", "minilm": "tensor: MiniLM, 64 tokens"}
    asked = []
    for name, parts in requests.items():
        file = folder / f"{name}.request"
        file.write_bytes(paced.raw(*parts))
        asked.append(Asked(f"{named[name]}, {rates[name]:g}/s", file, rates[name]))
    talker = chat.serve(
        served, "smollm2", weights.packaged_file(weights.SMOLLM2_Q4_1), {"spin": SPIN_COUNT}
    )
    return asked, talker


def measure(given: argparse.Namespace) -> tuple[dict[tuple[str, str], Figures], Explaining]:
    """All rounds."""
    found: dict[tuple[str, str], Figures] = {}
    rates = {ASKED: given.rate, "minilm": given.slow_rate}
    with tempfile.TemporaryDirectory() as folder, modelry() as served:
        asked, talker = serve(served, Path(folder), rates)
        looks = itertools.count()  # no prompt comes twice: the second time it would be kept

        def look() -> dict[str, paced.Seen]:
            return ask_all(asked, talker, given.seconds, given.answers, next(looks))

        ask_all(asked, talker, 1, 1, 10_000)  # everything is loaded and warm
        explaining = Explaining(served)
        with explaining.going(OTHER, "alone"):
            time.sleep(given.seconds)
        for number in range(given.rounds):
            ways = ["", *EXPLAINED]
            seen: dict[str, dict[str, paced.Seen]] = {}
            for way in ways if number % 2 == 0 else reversed(ways):
                time.sleep(SETTLE_S)
                if way:
                    with explaining.going(way, EXPLAINED[way]):
                        seen[way] = look()
                else:
                    seen[way] = look()
                for what, one in seen[way].items():
                    print(
                        f"round {number + 1}, explaining {EXPLAINED.get(way, 'nothing'):14}, "
                        f"{what}: p50 {one.p50_ms:.2f} p99 {one.p99_ms:.2f}",
                        flush=True,
                    )
            for way, name in EXPLAINED.items():
                for what, one in seen[way].items():
                    figures = found.setdefault((name, what), Figures())
                    figures.alone.append(seen[""][what])
                    figures.beside.append(one)
        return found, explaining


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10, help="of each model asked at a rate")
    parser.add_argument("--answers", type=int, default=5, help="of chat, one after the other")
    parser.add_argument("--rate", type=float, default=200, help="requests/s of the small CNN")
    parser.add_argument("--slow-rate", type=float, default=15, help="requests/s of MiniLM")
    given = parser.parse_args()
    found, explaining = measure(given)
    rows = [[name, what, *figures.row()] for (name, what), figures in found.items()]
    head = ["explained", "what", "p50 ms", "explaining", "p99 ms", "explaining", "x p50",
            "x p99", "failed"]  # fmt: skip
    lines = [
        *machine.describe(["modelry", "onnxruntime", "xllamacpp", "uvicorn", "uvloop"]),
        f"- medians of {given.rounds} rounds, and of their ratios",
        (
            "- in each round without explanations, with those of another deployment, and with "
            "those of the deployment of the small CNN that is asked, in turns"
        ),
        f"- tensors: {given.seconds:g} s a round, open loop, latency from when due",
        f"- chat: {given.answers} answers a round, one at a time",
        "- p99 of first tokens: the slowest one of a round",
        f"- explanations: RISE with up to {CALLS} masks and their check, one after the other",
        f"- goal: p99 at most {GOAL} x",
        "",
        *machine.table(head, rows),
        "",
    ]
    lines += [
        f"- explained {what}: the model is asked {statistics.median(rates):.0f} times a second"
        for what, rates in explaining.rates.items()
    ]
    print("\n".join(lines))
    if given.rounds >= parser.get_default("rounds"):
        machine.write("serving-while-explaining", "Serving while answers are explained", lines)


if __name__ == "__main__":
    main()
