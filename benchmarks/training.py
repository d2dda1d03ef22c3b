"""How well and how fast recipes train: `make bench-training`.

    python -m benchmarks.training speed     steps/s of the default CNN beside plain torch and Keras
    python -m benchmarks.training fashion   default CNN on Fashion-MNIST (goal: 0.90)
    python -m benchmarks.training residual  residual CNN on Fashion-MNIST (goal: 0.925)
    python -m benchmarks.training spam      texts of SpamAssassin beside TF-IDF (goal: 0.98)
    python -m benchmarks.training tabular   tables of scikit-learn beside linear models

`--rows` and `--epochs` make runs small, and write no results. Test rows are never seen by a run,
neither for learning nor for choosing an epoch or a setting; what is measured is the exported ONNX
file behind the version's own steps.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np
import torch
from sklearn import datasets as tables
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks import machine
from benchmarks.training_data import fashion_mnist, spam_assassin
from modelry.domain.datasets import Column, ColumnRole, ColumnType, Schema
from modelry.testing.datasets import rows_of
from modelry.testing.training import MemoryRun
from modelry.training.contract import Trained
from modelry.training.parity import Exported
from modelry.training.registry import find_recipe

RESIDUAL = {
    "network": "residual",
    "batch_size": 128,
    "optimiser": "adamw",
    "learning_rate": 5e-3,
    "weight_decay": 0.02,
    "schedule": "one-cycle",
    "augment": ["flip", "shift", "erase"],
}
PICTURES = Schema(
    (
        Column("picture", ColumnType.TENSOR, shape=(28, 28), dtype="uint8"),
        Column("class", ColumnType.INTEGER, ColumnRole.LABEL),
    )
)
TEXTS = Schema(
    (
        Column("text", ColumnType.TEXT),
        Column("sort", ColumnType.TEXT, ColumnRole.LABEL, classes=("ham", "spam")),
    )
)
SPEED_ROWS, SPEED_ROUNDS, SPEED_BATCH = 6400, 5, 32
SEEDS = range(5)


class TellingRun(MemoryRun):
    """Tells its log on stderr."""

    def log(self, line: str) -> None:
        """See `Run.log`."""
        print(line, file=sys.stderr, flush=True)


@contextmanager
def trained(recipe: str, data: Any, seed: int = 0, **options: Any) -> Iterator[Trained]:
    """What came of a run; its files are there within the context."""
    chosen = find_recipe(recipe)
    parameters = chosen.parameters(**options)
    chosen.check(data.description, parameters)
    with tempfile.TemporaryDirectory() as folder:
        yield chosen.train(data, parameters, TellingRun(Path(folder), seed=seed))


def pictures(rows: int | None, network: Mapping[str, Any], epochs: int) -> list[dict[str, Any]]:
    """Fashion-MNIST, its own test split."""
    shown, classes = fashion_mnist("train")
    unseen, truth = fashion_mnist("test")
    if rows:
        shown, classes, unseen, truth = shown[:rows], classes[:rows], unseen[:rows], truth[:rows]
    data = rows_of(PICTURES, {"train": {"picture": shown, "class": classes.astype(np.int64)}})
    began = time.process_time()
    with trained("image-classification", data, epochs=epochs, **network) as version:
        seconds = time.process_time() - began
        model = Exported(version.files["model"])
        scaled = unseen[:, None].astype(np.float32) * np.float32(1 / 255)
        scores = np.concatenate(
            [model({"image": scaled[at : at + 256]})["logits"] for at in range(0, len(scaled), 256)]
        )
        return [
            {
                "network": str(network.get("network", "small (default)")),
                "test accuracy": float((scores.argmax(axis=1) == truth).mean()),
                "held-out accuracy": float(version.metrics["accuracy"]),
                "parity": version.parity.max_abs,
                "epochs": epochs,
                "CPU s": round(seconds),
            }
        ]


def spam(rows: int | None, epochs: int) -> list[dict[str, Any]]:
    """SpamAssassin with and without headers; a seeded fifth is the test."""
    mails = spam_assassin()
    bodies = [(text.partition("\n\n")[2] or text, sort) for text, sort in mails]
    found = []
    for name, held in (("whole e-mails", mails), ("bodies alone", bodies)):
        unique = list(dict(held).items())
        order = np.random.default_rng(0).permutation(len(unique))[: rows or len(unique)]
        chosen = [unique[at] for at in order]
        cut = len(chosen) // 5
        found.append({"texts": name, **_spam_run(chosen[cut:], chosen[:cut], epochs)})
    return found


def _spam_run(
    learnt: Sequence[tuple[str, str]], unseen: Sequence[tuple[str, str]], epochs: int
) -> dict[str, Any]:
    texts, sorts = zip(*learnt, strict=True)
    theirs, truth = zip(*unseen, strict=True)
    baseline = make_pipeline(TfidfVectorizer(), LogisticRegression(max_iter=1000))
    baseline.fit(texts, sorts)
    data = rows_of(TEXTS, {"train": {"text": list(texts), "sort": list(sorts)}})
    with trained("text-classification", data, epochs=epochs) as version:
        answers = _text_answers(version, theirs)
        return {
            "test accuracy": float(np.mean([a == b for a, b in zip(answers, truth, strict=True)])),
            "TF-IDF and logistic regression": float(baseline.score(theirs, truth)),
            "test rows": len(truth),
            "parity": version.parity.max_abs,
        }


def _text_answers(version: Trained, texts: Sequence[str]) -> list[str]:
    from modelry.training.inputs import graph_of
    from modelry.training.recipes.text_classification.training import TASK, signature_of

    manifest = version.manifest
    labels = manifest["labels"]
    graph = graph_of(
        TASK,
        manifest["pre"],
        manifest["post"],
        signature_of(len(labels)),
        labels=labels,
        files=version.files,
    )
    model = Exported(version.files["model"])
    found: list[str] = []
    for at in range(0, len(texts), 16):
        inputs, context = graph.before([{"text": one} for one in texts[at : at + 16]])
        ranking: Any = graph.after(model(inputs), context)
        found += [labels[indexes[0]] for indexes in ranking.indexes]
    return found


TABLES = (("digits", False), ("wine", False), ("breast_cancer", False), ("diabetes", True))
"""Name, and whether it is a number that is predicted."""
NETWORK = {
    "model": "network",
    "epochs": 60,
    "optimiser": "adamw",
    "schedule": "cosine",
}
NETWORK_CHOICES = {"dropout": (0.1, 0.3), "weight_decay": (0.0, 0.01)}
"""All pairs are tried on a fifth of the training rows; the best one learns from all of them."""


def tabular(seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Trees and network beside a linear model, a seeded quarter as test, mean over the seeds.

    Trees are the recipe's defaults; see `NETWORK_CHOICES` for the network.
    """
    found = []
    for name, is_number in TABLES:
        held = getattr(tables, f"load_{name}")()
        cells, target = np.asarray(held.data, float), held.target
        scores: dict[str, list[float]] = {"trees": [], "network": [], "linear": []}
        for seed in seeds:
            order = np.random.default_rng(seed).permutation(len(cells))
            test, train = order[: len(order) // 4], order[len(order) // 4 :]
            linear = LinearRegression() if is_number else LogisticRegression(max_iter=5000)
            baseline = make_pipeline(StandardScaler(), linear).fit(cells[train], target[train])
            scores["linear"].append(float(baseline.score(cells[test], target[test])))
            task = _Table(cells, target, is_number, seed)
            for kind, options in (("trees", {}), ("network", task.best_network(train))):
                scores[kind].append(task.score(train, test, options))
        measure = "R²" if is_number else "accuracy"
        means = {kind: round(float(np.mean(each)), 4) for kind, each in scores.items()}
        found.append({"table": name, "measure": measure, "seeds": len(seeds), **means})
        print(json.dumps(found[-1]), file=sys.stderr, flush=True)
    return found


@dataclass(frozen=True)
class _Table:
    """A table, and how runs on it are scored."""

    cells: np.ndarray
    target: np.ndarray
    is_number: bool
    seed: int

    def score(self, train: np.ndarray, test: np.ndarray, options: Mapping[str, Any]) -> float:
        """What a run on the rows `train` scores on the rows `test`."""
        cells, target = self.cells, self.target
        data = _table(cells[train], target[train], is_number=self.is_number)
        objective = "regression" if self.is_number else "classification"
        with trained("tabular", data, self.seed, objective=objective, **options) as version:
            answers = Exported(version.files["model"])({"cells": cells[test].astype("f4")})
            (output,) = answers.values()
            return _score(output, target[test], is_number=self.is_number)

    def best_network(self, train: np.ndarray) -> dict[str, Any]:
        """The settings that do best on a fifth of the training rows; the test stays unseen."""
        cut = len(train) // 5
        settings = [
            NETWORK | dict(zip(NETWORK_CHOICES, values, strict=True))
            for values in itertools.product(*NETWORK_CHOICES.values())
        ]
        return max(settings, key=lambda one: self.score(train[cut:], train[:cut], one))


def _table(cells: np.ndarray, target: np.ndarray, *, is_number: bool) -> Any:
    names = [f"c{at}" for at in range(cells.shape[1])]
    kind = ColumnType.NUMBER if is_number else ColumnType.INTEGER
    label = Column("target", kind, ColumnRole.LABEL)
    schema = Schema((*(Column(name, ColumnType.NUMBER) for name in names), label))
    columns = {name: cells[:, at] for at, name in enumerate(names)}
    return rows_of(schema, {"train": {**columns, "target": target}})


def _score(output: np.ndarray, truth: np.ndarray, *, is_number: bool) -> float:
    if not is_number:
        return float((output.argmax(axis=1) == truth).mean())
    errors, spread = output[:, 0] - truth, truth - truth.mean()
    return float(1 - (errors**2).sum() / (spread**2).sum())


def speed(rows: int, rounds: int) -> list[dict[str, Any]]:
    """Steps per CPU second of an epoch of the default CNN: ours, plain torch, Keras; in turns."""
    shown, classes = fashion_mnist("train")
    x = torch.from_numpy(shown[:rows, None].astype(np.float32) / 255)
    y = torch.from_numpy(classes[:rows].astype(np.int64))
    ways = {"ours": _ours(x, y), "torch": _plain(x, y), "keras": _keras(x, y)}
    steps = -(-rows // SPEED_BATCH)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, epoch in ways.items():
            began = time.process_time()
            epoch()
            rates[name].append(steps / (time.process_time() - began))
    told = {name: round(float(np.median(each[1:])), 1) for name, each in rates.items()}
    return [
        {
            **{f"{name}, steps/CPU s": rate for name, rate in told.items()},
            "to torch": round(told["ours"] / told["torch"], 3),
            "to Keras": round(told["ours"] / told["keras"], 3),
        }
    ]


def _ours(x: torch.Tensor, y: torch.Tensor) -> Callable[[], None]:
    from modelry.training.loop import fit, prepare
    from modelry.training.options import LoopParameters
    from modelry.training.recipes.image_classification.networks import SmallNetwork

    options = LoopParameters(epochs=1, batch_size=SPEED_BATCH)
    prepare(0, options)
    model = SmallNetwork(1, 28, 28, 10)
    optimiser = torch.optim.Adam(model.parameters())

    class Held:
        def __len__(self) -> int:
            return len(x)

        def batch(self, places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x[places], y[places]

    def loss(batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])

    def epoch() -> None:
        with tempfile.TemporaryDirectory() as folder:
            fit(model, Held(), loss, options, MemoryRun(Path(folder)), optimiser=optimiser)

    return epoch


def _plain(x: torch.Tensor, y: torch.Tensor) -> Callable[[], None]:
    from modelry.training.recipes.image_classification.networks import SmallNetwork

    model = SmallNetwork(1, 28, 28, 10)
    optimiser = torch.optim.Adam(model.parameters())

    def epoch() -> None:
        for places in torch.randperm(len(x)).split(SPEED_BATCH):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(model(x[places]), y[places]).backward()
            optimiser.step()

    return epoch


def _keras(x: torch.Tensor, y: torch.Tensor) -> Callable[[], None]:
    import keras

    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(32, (3, 3), activation="relu"),
            keras.layers.MaxPooling2D((2, 2)),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    pixels = x.permute(0, 2, 3, 1).numpy()
    return lambda: model.fit(pixels, y.numpy(), batch_size=SPEED_BATCH, epochs=1, verbose=0)


@dataclass(frozen=True)
class Measurement:
    """What can be asked for: how it is headed, and what it gives."""

    title: str
    about: str
    goal: str
    measure: Callable[[argparse.Namespace], list[dict[str, Any]]]


MEASUREMENTS = {
    "speed": Measurement(
        "Training speed: the default network",
        f"medians of {SPEED_ROUNDS} rounds in turns, {SPEED_BATCH} rows a step, by CPU time",
        "0.95 of plain torch and of Keras",
        lambda given: speed(given.rows or SPEED_ROWS, SPEED_ROUNDS),
    ),
    "fashion": Measurement(
        "Training: the default network on Fashion-MNIST",
        "its own 10,000 test rows; a tenth of the training rows is held out to choose the epoch",
        "0.90",
        lambda given: pictures(given.rows, {}, given.epochs or 10),
    ),
    "residual": Measurement(
        "Training: the residual network on Fashion-MNIST",
        "its own 10,000 test rows; a tenth of the training rows is held out to choose the epoch; "
        f"`{json.dumps(RESIDUAL)}`",
        "0.925",
        lambda given: pictures(given.rows, RESIDUAL, given.epochs or 16),
    ),
    "spam": Measurement(
        "Training: spam of SpamAssassin",
        "a seeded fifth is the test; the recipe's defaults; no text twice",
        "0.98 for whole e-mails",
        lambda given: spam(given.rows, given.epochs or 6),
    ),
    "tabular": Measurement(
        "Training: tables of scikit-learn",
        "a seeded quarter is the test; trees: the recipe's defaults; network: the best of "
        f"`{json.dumps(NETWORK_CHOICES)}` on a fifth of the training rows; linear: standardised "
        "logistic or linear regression",
        "better than linear on two tables",
        lambda given: tabular(range(given.seeds)),
    ),
}


def write(name: str, what: Measurement, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a result file."""

    def cell(value: object) -> str:
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    lines = [
        *machine.describe(["modelry", "torch", "keras", "onnxruntime", "scikit-learn"]),
        f"- {torch.get_num_threads()} thread(s); {what.about}",
        f"- goal: {what.goal}",
        "",
        *machine.table(list(rows[0]), [[cell(one) for one in row.values()] for row in rows]),
    ]
    machine.write(f"training-{name}", what.title, lines)


def main() -> int:
    """Measure what is asked for, print it as JSON and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=list(MEASUREMENTS))
    parser.add_argument("--rows", type=int, help="at most so many rows of a set")
    parser.add_argument("--epochs", type=int, help="of pictures and texts")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="of tables")
    parser.add_argument("--threads", type=int, help="by default as many as torch likes")
    asked = parser.parse_args()
    if asked.threads:
        torch.set_num_threads(asked.threads)
    for name in asked.what:
        rows = MEASUREMENTS[name].measure(asked)
        print(json.dumps({name: rows}), flush=True)
        if not asked.rows and asked.seeds == len(SEEDS):
            write(name, MEASUREMENTS[name], rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
