"""`make bench-keras`: the documentation's Keras program on Modelry, beside the program itself.

    python -m benchmarks.keras_program                         # both sets, 10 epochs
    python -m benchmarks.keras_program --rows 2000 --epochs 1  # a glance

Twice: with a file that `keras` made, and with one that `tensorflow.keras` made (in an environment
of its own, installed on first use). Plain Keras on torch and Modelry get the same file, so both
begin from the same first weights, with the same rows and seed, one after the other. What TensorFlow
itself makes of its file is told beside it: it takes the rows in another order. Data: Fashion-MNIST
with its own test split, and 10,000 digits of MNIST, seeded 80/20. How fast it trains is measured by
`make bench-training ARGS=speed`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np

from benchmarks import machine, training_data
from benchmarks.peers.environment import python_for
from benchmarks.served import modelry
from modelry.client import Client

SEED = 7
GOALS = {"fashion-mnist": 0.9}
"""The least accuracy."""
CLOSE, PARITY = 0.5, 1e-4
"""Points of accuracy, and the largest difference of an answer."""
TRAINER = Path(__file__).parent / "peers" / "tensorflow_program.py"


@dataclass(frozen=True, slots=True)
class Data:
    """Images of one channel, 0 to 1, and their classes."""

    name: str
    x_train: Any
    y_train: Any
    x_test: Any
    y_test: Any


def fashion() -> Data:
    """Fashion-MNIST with its own test split."""

    def part(split: str) -> tuple[Any, Any]:
        pixels, classes = training_data.fashion_mnist(split)
        return pixels[..., None].astype(np.float32) / 255, classes.astype(np.int64)

    return Data("fashion-mnist", *part("train"), *part("test"))


def mnist() -> Data:
    """Digits, a seeded fifth of them as test."""
    images, labels = training_data.mnist_digits()
    order = np.random.default_rng(SEED).permutation(len(images))
    cut = len(images) * 8 // 10
    train, test = order[:cut], order[cut:]
    return Data("mnist", images[train], labels[train], images[test], labels[test])


def by_keras(file: Path, data: Data, given: argparse.Namespace) -> None:
    """The program up to its training: its untrained model goes to `file`."""
    del data, given
    import keras
    from keras.layers import Conv2D, Dense, Flatten, MaxPooling2D

    keras.utils.set_random_seed(SEED)
    model = keras.Sequential()
    model.add(keras.Input((28, 28, 1)))
    model.add(Conv2D(32, (3, 3), activation="relu"))
    model.add(MaxPooling2D((2, 2)))
    model.add(Flatten())
    model.add(Dense(10, activation="softmax"))
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.save(file)


def by_tensorflow(file: Path, data: Data, given: argparse.Namespace) -> Any:
    """The same in TensorFlow, in a process of its own; what comes of its training there."""
    python = python_for("tensorflow")
    if python is None:
        raise LookupError("TensorFlow cannot be installed")
    folder = file.parent
    rows = folder / "rows.npz"
    np.savez(rows, x_train=data.x_train, y_train=data.y_train, x_test=data.x_test)
    arguments = [str(rows), str(folder), str(given.epochs), str(SEED), str(given.threads)]
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    command = [str(python), str(TRAINER), *arguments]
    subprocess.run(command, stdout=subprocess.DEVNULL, env=environment, check=True)
    (folder / "model.keras").rename(file)
    return np.load(folder / "answers.npy")


WAYS: dict[str, Callable[[Path, Data, argparse.Namespace], Any]] = {
    "keras": by_keras,
    "tensorflow": by_tensorflow,
}


def trained_by_keras(file: Path, data: Data, epochs: int) -> Any:
    """The rest of the program, in plain Keras: answers for the test rows."""
    import keras

    model = keras.saving.load_model(file)
    keras.utils.set_random_seed(SEED)
    model.fit(data.x_train, data.y_train, epochs=epochs, verbose=0)
    return model.predict(data.x_test, verbose=0)


def on_modelry(client: Client, file: Path, data: Data, epochs: int, threads: int) -> dict[str, Any]:
    """Train, deploy, predict: served answers, and how far they are from the model's own."""
    job = client.train(
        file,
        (data.x_train, data.y_train),
        name=file.stem,
        epochs=epochs,
        seed=SEED,
        threads=threads,
    )
    job.wait(progress=False)
    assert job.version is not None, "it ended without a version"
    deployment = client.deploy(job.version)
    served_answers = client.predict(deployment, data.x_test)
    own = job.keras_model().predict(data.x_test, verbose=0)
    return {
        "answers": served_answers,
        "parity": float(np.abs(served_answers - own).max()),
    }


def accuracy(answers: Any, labels: Any) -> float:
    """The share of rows whose best class is right."""
    return float((answers.argmax(axis=1) == labels).mean())


def cut(data: Data, rows: int | None) -> Data:
    """The first rows alone."""
    if rows is None:
        return data
    return Data(
        data.name, data.x_train[:rows], data.y_train[:rows], data.x_test[:rows], data.y_test[:rows]
    )


def sets(given: argparse.Namespace) -> Iterator[Data]:
    """Those that are asked for."""
    for name, make in (("mnist", mnist), ("fashion-mnist", fashion)):
        if name in given.data:
            yield cut(make(), given.rows)


def row(
    name: str, way: str, labels: Any, answers: dict[str, Any], parity: float
) -> tuple[list[str], list[str]]:
    """A line of the table, and what of the goals is not met."""
    right = {who: accuracy(one, labels) for who, one in answers.items() if one is not None}
    apart = 100 * (right["served"] - right["keras"])
    missed = []
    if abs(apart) > CLOSE:
        missed.append(f"{name}, {way}: {apart:+.2f} points apart")
    if right["served"] < GOALS.get(name, 0):
        missed.append(f"{name}, {way}: accuracy {right['served']:.4f}")
    if parity > PARITY:
        missed.append(f"{name}, {way}: parity {parity:.1e}")
    told = [f"{right[who]:.4f}" if who in right else "" for who in ("framework", "keras", "served")]
    return [name, way, *told, f"{apart:+.2f}", f"{parity:.1e}"], missed


def main() -> int:
    """Print a table and write it to the results; 1 when a goal is not met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", nargs="+", default=["mnist", "fashion-mnist"])
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    given = parser.parse_args()
    import torch

    torch.set_num_threads(given.threads)
    rows, missed = [], []
    with modelry() as server, tempfile.TemporaryDirectory() as at:
        for data in sets(given):
            for way in given.ways:
                file = Path(at) / f"{data.name}-{way}.keras"
                answers = {"framework": WAYS[way](file, data, given)}
                answers["keras"] = trained_by_keras(file, data, given.epochs)
                found = on_modelry(server.client, file, data, given.epochs, given.threads)
                answers["served"] = found["answers"]
                cells, said = row(data.name, way, data.y_test, answers, found["parity"])
                rows.append(cells)
                missed += said
                print(*cells, sep="\t", flush=True)
                write(rows, missed, given)
    return 1 if missed else 0


def write(rows: list[list[str]], missed: list[str], given: argparse.Namespace) -> None:
    """The table so far."""
    head = ["data", "file by", "trained there", "by plain Keras", "by Modelry, served", "points",
            "parity"]  # fmt: skip
    lines = [
        *machine.describe(["modelry", "keras", "torch", "onnxruntime"]),
        f"- {given.epochs} epochs, {given.threads} thread(s), seed {SEED}; TensorFlow 2.16.2",
        f"- goals: within {CLOSE:g} points of plain Keras, parity {PARITY:g}, Fashion-MNIST 0.90",
        "- parity: served answers beside `predict` of the model that comes back",
        "",
        *machine.table(head, rows),
        *([""] * bool(missed)),
        *(f"- **not met**: {one}" for one in missed),
    ]
    machine.write("keras-program", "The Keras program, plain and on Modelry", lines)


if __name__ == "__main__":
    sys.exit(main())
