"""`make bench-serving-while-explaining`: what explanations do to the latency of serving.

A server as users start it holds real models: MiniLM and a small CNN, asked over V2 binary at a
fixed rate, and SmolLM2, which streams chat. Meanwhile somebody has explanations made, one after
the other: of a second deployment of the CNN, so that only the cores are shared; of the very
deployment that is asked, so that each run of its engine is; of EfficientNet-Lite0, of which one
run takes longer than a request to the CNN; or by its gradients, which a process of its own
calculates. Each round measures every model without
explanations and with each of these, in turns that change from round to round.

Also told: how often the model was asked for explanations in a second, alone and beside serving.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks import machine, paced, tiny_cnn
from benchmarks.asked_models import (
    SETTLE_S,
    SMALL,
    Asked,
    Figures,
    arguments,
    ask_all,
    figures_head,
    how_asked,
    rates_of,
    serve_all,
)
from benchmarks.explained_models import png, things
from benchmarks.served import Served, modelry
from benchmarks.streams import Endpoint
from modelry.client import Client
from modelry.client.explained import Explanation, ExplanationProgress

GOAL = 1.3
AS_USERS_HAVE_IT = {"MODELRY_WORK_NICENESS": "19"}
OTHER, LARGER = "tiny-cnn-explained", "things"
CALLS = 5_000
LARGE_CALLS = 1_000
"""Of a model whose run takes 8 ms: more would end with the deadline, as they rest so long."""


@dataclass(frozen=True)
class Way:
    """What is explained, of which deployment, and how it is asked for."""

    what: str
    model: str
    wishes: Mapping[str, Any] = field(default_factory=lambda: {"method": "rise", "calls": CALLS})


WAYS = (
    Way("another model", OTHER),
    Way("the same model", SMALL),
    Way("a large model", LARGER, {"method": "rise", "calls": LARGE_CALLS}),
    Way("by gradients", LARGER, {"method": "integrated-gradients"}),
)


class _Calls:
    """Counts calls of explanations, one after the other: by their progress, and by their end."""

    def __init__(self) -> None:
        self.all = 0
        self._phases: dict[str, int] = {}
        self._before = 0

    def seen(self, far: ExplanationProgress) -> None:
        """One is so far."""
        self._phases[far.phase] = far.calls
        self.all = self._before + sum(self._phases.values())

    def ended(self, told: Explanation) -> None:
        """One is over; much of a short one is in no progress."""
        self._before += max(int(told.cost["model_calls"]), sum(self._phases.values()))
        self.all = self._before
        self._phases = {}


class Explaining:
    """Somebody who has explanations made, one after the other, while `going` lasts."""

    def __init__(self, served: Served, photo: bytes) -> None:
        self._served = served
        noise = np.random.default_rng(0).integers(0, 255, (28, 28), np.uint8)
        self._pictures = {OTHER: png(noise), SMALL: png(noise), LARGER: photo}
        self.rates: dict[str, list[float]] = {}

    @contextmanager
    def going(self, way: Way, what: str) -> Iterator[None]:
        """Have answers explained that way; calls per second are counted as those of `what`."""
        picture = self._pictures[way.model]
        is_over = threading.Event()
        calls = _Calls()
        failures: list[BaseException] = []

        def explain() -> None:
            client = Client(url=self._served.url, api_key=self._served.key)
            try:
                for seed in itertools.count():
                    if is_over.is_set():
                        return
                    told = client.explain(
                        way.model, image=picture, seed=seed, on_progress=calls.seen, **way.wishes
                    )
                    calls.ended(told)
            except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
                failures.append(error)

        asking = threading.Thread(target=explain)
        asking.start()
        time.sleep(SETTLE_S)
        began, before = time.monotonic(), calls.all
        yield
        done = (calls.all - before) / (time.monotonic() - began)
        is_over.set()
        asking.join()
        if failures:
            raise failures[0]
        self.rates.setdefault(what, []).append(done)


def serve(
    served: Served, folder: Path, rates: Mapping[str, float]
) -> tuple[list[Asked], Endpoint, bytes]:
    """Deploy the models; those asked at a rate, the one that chats, and a photo to explain."""
    client = served.client
    small = tiny_cnn.build(folder / "tiny-cnn.onnx")
    manifest = {
        "name": SMALL,
        "task": "image-classification",
        "files": {"model": small.name},
        "pre": [{"decode": "gray"}, {"resize": [28, 28]}, {"scale": "1/255"}, {"layout": "nchw"}],
        "post": [{"top_k": 3}],
    }
    declared = folder / "tiny-cnn.yaml"
    declared.write_text(yaml.safe_dump(manifest))
    client.register(declared)
    client.deploy(SMALL)
    client.deploy(OTHER, model=SMALL)
    client.wait_model_ready(OTHER)
    larger = things(folder, 1)
    larger.deploy(served, folder, threads=1)
    return *serve_all(served, folder, rates), png(larger.inputs[0])


def measure(given: argparse.Namespace) -> tuple[dict[tuple[str, str], Figures], Explaining]:
    """All rounds."""
    found: dict[tuple[str, str], Figures] = {}
    rates = rates_of(given)
    with tempfile.TemporaryDirectory() as folder, modelry(settings=AS_USERS_HAVE_IT) as served:
        asked, talker, photo = serve(served, Path(folder), rates)
        looks = itertools.count()  # no prompt comes twice: the second time it would be kept

        def look() -> dict[str, paced.Seen]:
            return ask_all(asked, talker, given.seconds, given.answers, next(looks))

        ask_all(asked, talker, 1, 1, 10_000)  # everything is loaded and warm
        explaining = Explaining(served, photo)
        with explaining.going(WAYS[0], "alone"):
            time.sleep(given.seconds)
        for number in range(given.rounds):
            ways = [None, *WAYS]
            seen: dict[str, dict[str, paced.Seen]] = {}
            for way in ways if number % 2 == 0 else reversed(ways):
                time.sleep(SETTLE_S)
                name = way.what if way else "nothing"
                with explaining.going(way, name) if way else nullcontext():
                    seen[name] = look()
                for what, one in seen[name].items():
                    print(
                        f"round {number + 1}, explaining {name:14}, "
                        f"{what}: p50 {one.p50_ms:.2f} p99 {one.p99_ms:.2f}",
                        flush=True,
                    )
            for name in (way.what for way in WAYS):
                for what, one in seen[name].items():
                    figures = found.setdefault((name, what), Figures())
                    figures.alone.append(seen["nothing"][what])
                    figures.beside.append(one)
        return found, explaining


def main() -> None:
    """Measure and write the table."""
    parser = arguments(__doc__)
    given = parser.parse_args()
    found, explaining = measure(given)
    rows = [[name, what, *figures.row()] for (name, what), figures in found.items()]
    head = ["explained", "what", *figures_head("explaining")]
    lines = [
        *machine.describe(["modelry", "onnxruntime", "xllamacpp", "uvicorn", "uvloop"]),
        f"- medians of {given.rounds} rounds, and of their ratios",
        (
            "- in each round without explanations, with those of another deployment, with those "
            "of the deployment of the small CNN that is asked, with those of EfficientNet-Lite0, "
            "and by its gradients, in turns"
        ),
        *how_asked(given),
        (
            f"- explanations: RISE with up to {CALLS} masks ({LARGE_CALLS} of EfficientNet), or "
            "integrated gradients, and their check, one after the other"
        ),
        f"- goal: p99 at most {GOAL} x",
        "",
        *machine.table(head, rows),
        "",
    ]
    lines += [
        f"- explained {what}: the model is asked {statistics.median(rates):.3g} times a second"
        for what, rates in explaining.rates.items()
    ]
    print("\n".join(lines))
    if given.rounds >= parser.get_default("rounds"):
        machine.write("serving-while-explaining", "Serving while answers are explained", lines)


if __name__ == "__main__":
    main()
