"""`make bench-serving-while-training`: what a training job does to the latency of serving.

A server as users start it holds real models: MiniLM and a small CNN, asked over V2 binary at a
fixed rate, and SmolLM2, which streams chat. A job trains a residual network on Fashion-MNIST with
all cores. Each round measures every model with the job paused and with the job running, in turns
that change from round to round. That is done once with work that stands back, as it does by
default, and once with work that does not (`MODELRY_WORK_NICENESS=0`).

Also told: how fast the job goes on beside serving, and alone.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from benchmarks import chat, compute_bound, machine, paced, tiny_cnn, training_data, weights
from benchmarks.served import Served, modelry
from benchmarks.streams import Endpoint, Load, body, load
from benchmarks.tensor import binary_request
from modelry.client.jobs import Job
from modelry.runtimes.llamacpp.settings import SPIN_COUNT

GOAL = 1.5
ROWS = 5_000
PARAMETERS = {
    "network": "residual",
    "batch_size": 64,
    "epochs": 100_000,
    "augment": ["flip", "shift"],
    "checkpoint_every_s": 10,
}
TOKENS = 48
START_TIMEOUT_S = 180.0
SETTLE_S = 1.0


@dataclass(frozen=True)
class Asked:
    """A model that is asked at a fixed rate, and the request."""

    what: str
    request: Path
    rate: float


@dataclass
class Figures:
    """What was seen of one model: milliseconds by round, with the job paused and running."""

    alone: list[paced.Seen] = field(default_factory=list)
    beside: list[paced.Seen] = field(default_factory=list)

    def row(self) -> list[str]:
        """Medians of the rounds, and of their ratios."""

        def middle(values: Iterator[float]) -> float:
            return statistics.median(values)

        pairs = list(zip(self.alone, self.beside, strict=True))
        return [
            f"{middle(one.p50_ms for one in self.alone):.2f}",
            f"{middle(one.p50_ms for one in self.beside):.2f}",
            f"{middle(one.p99_ms for one in self.alone):.2f}",
            f"{middle(one.p99_ms for one in self.beside):.2f}",
            f"{middle(two.p50_ms / one.p50_ms for one, two in pairs):.2f}",
            f"{middle(two.p99_ms / one.p99_ms for one, two in pairs):.2f}",
            str(sum(one.failed for pair in pairs for one in pair)),
        ]


class Training:
    """The job, and how fast it goes."""

    def __init__(self, served: Served) -> None:
        pictures, classes = training_data.fashion_mnist("train")
        served.client.datasets.from_arrays(
            "fashion", pictures[:ROWS, ..., None], classes[:ROWS].astype(np.int64)
        )
        self.job: Job = served.client.training.start(
            "image-classification", "fashion", "fashion", parameters=PARAMETERS
        )
        self.beside: list[float] = []
        self.alone: list[float] = []
        self._await(lambda: self._steps() > 0)

    def pause(self) -> None:
        """Have it end its process."""
        if self.job.refresh().state == "running":
            self.job.pause()
            self._await(lambda: self.job.refresh().state == "paused")
        time.sleep(SETTLE_S)

    def go_on(self) -> None:
        """Have it train; comes back once it does."""
        if self.job.refresh().state == "paused":
            before = self._steps()
            self.job.resume()
            self._await(lambda: self._steps() > before)
        time.sleep(SETTLE_S)

    def rate(self, seconds: float) -> None:
        """See how fast it is when nobody asks anything."""
        with self.timed(self.alone):
            time.sleep(seconds)

    @contextmanager
    def timed(self, rates: list[float]) -> Iterator[None]:
        """Add the steps per second of what happens meanwhile."""
        steps, began = self._steps(), time.monotonic()
        yield
        rates.append((self._steps() - steps) / (time.monotonic() - began))

    def _steps(self) -> int:
        progress = self.job.refresh().record.progress
        if progress is None or not progress.phase.startswith("epoch"):
            return 0
        return progress.done

    def _await(self, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not is_so():
            if self.job.record.has_ended:
                raise SystemExit(f"the job ended: {self.job.record.error}")
            if time.monotonic() > deadline:
                raise SystemExit(f"the job does not come along: {self.job.record}")
            time.sleep(0.2)


def serve(served: Served, folder: Path, rates: Mapping[str, float]) -> tuple[list[Asked], Endpoint]:
    """Deploy the models; those asked at a rate, and the one that chats."""
    client = served.client
    small = tiny_cnn.build(folder / "tiny-cnn.onnx")
    large = weights.packaged_file(compute_bound.MINILM)
    client.register(small, name="tiny-cnn")
    client.register(large, name="minilm", task="tensor")
    for name in ("tiny-cnn", "minilm"):
        client.deploy(name)
        client.wait_model_ready(name)
    image = np.random.default_rng(0).random((1, 1, 28, 28), np.float32)
    content, headers = binary_request(image)
    headers = {"Authorization": f"Bearer {served.key}", **headers}
    requests = {
        "tiny-cnn": (f"{served.url}/v2/models/tiny-cnn/infer", content, headers),
        "minilm": compute_bound.request(served, "minilm", large),
    }
    named = {"tiny-cnn": "tensor: small CNN", "minilm": "tensor: MiniLM, 64 tokens"}
    asked = []
    for name, parts in requests.items():
        file = folder / f"{name}.request"
        file.write_bytes(paced.raw(*parts))
        asked.append(Asked(f"{named[name]}, {rates[name]:g}/s", file, rates[name]))
    talker = chat.serve(
        served, "smollm2", weights.packaged_file(weights.SMOLLM2_Q4_1), {"spin": SPIN_COUNT}
    )
    return asked, talker


def ask_all(
    asked: Sequence[Asked], talker: Endpoint, seconds: float, answers: int, number: int
) -> dict[str, paced.Seen]:
    """One look at every model, one after the other."""
    port = urlsplit(talker.url).port or 0
    found = {
        one.what: paced.seen_by(paced.started(one.request, port, one.rate, seconds))
        for one in asked
    }
    requests = [
        body("", chat.SYSTEM, chat.prompt(number * answers + at, words=40), TOKENS)
        for at in range(answers)
    ]
    seen: Load = asyncio.run(load(talker, requests, 1))
    first = sorted(one.pieces_s[0] * 1e3 for one in seen.timings)
    found["chat: first token"] = paced.Seen(statistics.median(first), first[-1], 0)
    found["chat: between tokens"] = paced.Seen(seen.between_ms(0.5), seen.between_ms(0.99), 0)
    return found


def measure(niceness: int, given: argparse.Namespace) -> tuple[dict[str, Figures], Training]:
    """All rounds with one server."""
    found: dict[str, Figures] = {}
    rates = {"tiny-cnn": given.rate, "minilm": given.slow_rate}
    settings = {"MODELRY_WORK_NICENESS": str(niceness)}
    with tempfile.TemporaryDirectory() as folder, modelry(settings=settings) as served:
        asked, talker = serve(served, Path(folder), rates)
        ask_all(asked, talker, 1, 1, 10_000)  # everything is loaded and warm
        training = Training(served)
        looks = itertools.count()  # no prompt comes twice: the second time it would be kept
        for number in range(given.rounds):
            order = (False, True) if number % 2 == 0 else (True, False)
            for is_beside in order:
                if is_beside:
                    training.go_on()
                    training.rate(given.seconds / 2)
                    with training.timed(training.beside):
                        seen = ask_all(asked, talker, given.seconds, given.answers, next(looks))
                else:
                    training.pause()
                    seen = ask_all(asked, talker, given.seconds, given.answers, next(looks))
                for what, one in seen.items():
                    figures = found.setdefault(what, Figures())
                    (figures.beside if is_beside else figures.alone).append(one)
                    print(
                        f"niceness {niceness}, round {number + 1}, "
                        f"{'training' if is_beside else 'alone':8}, {what}: "
                        f"p50 {one.p50_ms:.2f} p99 {one.p99_ms:.2f}",
                        flush=True,
                    )
        training.job.cancel()
        return found, training


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10, help="of each model asked at a rate")
    parser.add_argument("--answers", type=int, default=5, help="of chat, one after the other")
    parser.add_argument("--rate", type=float, default=200, help="requests/s of the small CNN")
    parser.add_argument("--slow-rate", type=float, default=15, help="requests/s of MiniLM")
    parser.add_argument("--niceness", type=int, nargs="+", default=[19, 0])
    given = parser.parse_args()
    rows, told = [], []
    for niceness in given.niceness:
        found, training = measure(niceness, given)
        rows += [[str(niceness), what, *figures.row()] for what, figures in found.items()]
        alone, beside = map(statistics.median, (training.alone, training.beside))
        told.append(
            f"- niceness {niceness}: the job does {alone:.1f} steps/s while nothing is asked, "
            f"{beside:.1f} beside serving"
        )
    head = ["niceness of work", "what", "p50 ms", "training", "p99 ms", "training", "x p50",
            "x p99", "failed"]  # fmt: skip
    lines = [
        *machine.describe(["modelry", "torch", "onnxruntime", "xllamacpp", "uvicorn", "uvloop"]),
        f"- medians of {given.rounds} rounds, and of their ratios",
        "- in each round once with the job paused and once with it running, in turns",
        f"- tensors: {given.seconds:g} s a round, open loop, latency from when due",
        f"- chat: {given.answers} answers of {TOKENS} tokens a round, one at a time",
        "- p99 of first tokens: the slowest one of a round",
        f"- the job: a residual network, {PARAMETERS['batch_size']} rows a step, on all cores",
        f"- goal: p99 at most {GOAL} x where cores allow",
        "",
        *machine.table(head, rows),
        "",
        *told,
    ]
    machine.write("serving-while-training", "Serving while a job trains", lines)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
