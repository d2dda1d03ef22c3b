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
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks import machine, tiny_cnn, training_data
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
from benchmarks.served import Served, modelry
from benchmarks.streams import Endpoint
from modelry.client.jobs import Job

GOAL = 1.5
ROWS = 5_000
PARAMETERS = {
    "network": "residual",
    "batch_size": 64,
    "epochs": 100_000,
    "augment": ["flip", "shift"],
    "checkpoint_every_s": 10,
}
START_TIMEOUT_S = 180.0


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
    served.client.register(tiny_cnn.build(folder / "tiny-cnn.onnx"), name=SMALL)
    served.client.deploy(SMALL)
    return serve_all(served, folder, rates)


def measure(niceness: int, given: argparse.Namespace) -> tuple[dict[str, Figures], Training]:
    """All rounds with one server."""
    found: dict[str, Figures] = {}
    rates = rates_of(given)
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
    parser = arguments(__doc__)
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
    head = ["niceness of work", "what", *figures_head("training")]
    lines = [
        *machine.describe(["modelry", "torch", "onnxruntime", "xllamacpp", "uvicorn", "uvloop"]),
        f"- medians of {given.rounds} rounds, and of their ratios",
        "- in each round once with the job paused and once with it running, in turns",
        *how_asked(given),
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
