"""How fast recipes train on a GPU beside the same machine's CPU: `make bench-training-gpu`.

    python -m benchmarks.training_gpu                       all of them, on both
    python -m benchmarks.training_gpu --only detector chat  some
    python -m benchmarks.training_gpu --devices cpu --seconds 1   a glance, where there is no GPU

Each run trains with its recipe's own loop, for so many seconds after it has warmed up, and is then
stopped: what is told is rows per second, without reading and exporting. Rows are real; the chat
model has SmolLM2-135M's shape and weights at random, which are as fast.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits

from benchmarks import backbone, chat_tuning, machine
from benchmarks.parallel_texts import interface_texts
from benchmarks.shaped_chat_model import shaped_chat_model
from benchmarks.training import PICTURES, RESIDUAL, TEXTS
from benchmarks.training_data import fashion_mnist, spam_assassin
from modelry.datasets.conversations import COLUMN, Message, to_text
from modelry.domain.datasets import Column, ColumnRole, ColumnType, Schema
from modelry.domain.errors import Cancelled
from modelry.testing.datasets import MemoryRows, rows_of
from modelry.testing.training import MemoryRun
from modelry.training.contract import BaseVersion
from modelry.training.registry import find_recipe

WARM_S = 2.0
ROWS = 3200
ENDLESS = 100_000
"""Epochs: a run is stopped long before."""
PACKAGES = ["modelry", "torch", "keras", "onnxruntime"]


@dataclass(frozen=True)
class Case:
    """What is trained, and on what."""

    recipe: str
    shown: str
    data: MemoryRows
    options: Mapping[str, Any]
    base: Mapping[str, Path] = field(default_factory=dict)
    base_version: BaseVersion | None = None

    @property
    def rows(self) -> int:
        """That an epoch goes through."""
        return self.data.description.rows["train"]


class TimedRun(MemoryRun):
    """Stops itself when enough was seen; `rate` is in epochs per second."""

    def __init__(self, folder: Path, case: Case, seconds: float) -> None:
        super().__init__(folder, seed=0, base=case.base, base_version=case.base_version)
        self._seconds = seconds
        self._began: float | None = None
        self._first: tuple[float, int] | None = None
        self.rate: float | None = None

    def progress(self, done: int, total: int | None, unit: str, phase: str = "") -> None:
        """See `Run.progress`."""
        del unit
        if not phase.startswith("epoch"):
            return
        now = time.perf_counter()
        self._began = self._began or now
        if self._first is None:
            if now - self._began >= WARM_S:
                self._first = (now, done)
        elif now - self._first[0] >= self._seconds:
            assert total is not None
            steps = (done - self._first[1]) / (now - self._first[0])
            self.rate = steps * ENDLESS / total
            self.stop.set()


def pictures(network: Mapping[str, Any], shown: str) -> Case:
    """Fashion-MNIST."""
    pixels, classes = fashion_mnist("train")
    columns = {"picture": pixels[:ROWS], "class": classes[:ROWS].astype(np.int64)}
    return Case("image-classification", shown, rows_of(PICTURES, {"train": columns}), network)


def lite0() -> Case:
    """EfficientNet-Lite0, all of it, on things of Fashion-MNIST."""
    pixels, classes = fashion_mnist("train")
    columns = {"picture": pixels[:640], "class": classes[:640].astype(np.int64)}
    file = backbone.efficientnet_lite0()
    return Case(
        "image-classification",
        "EfficientNet-Lite0, all blocks, 224 pixels, 32 rows a step",
        rows_of(PICTURES, {"train": columns}),
        {"network": "backbone", "unfreeze": 1000, "head_epochs": 0, "batch_size": 32},
        {"model": file},
        backbone.base_version(),
    )


def detector() -> Case:
    """Things of Fashion-MNIST on noise, and where they are."""
    pixels, classes = fashion_mnist("train")
    draw = np.random.default_rng(0)
    side, files, boxes = 320, [], []
    for at in range(480):
        ground = draw.integers(60, 180, (side, side, 3), np.uint8)
        placed = []
        for other in range(int(draw.integers(1, 4))):
            size = 28 * int(draw.integers(2, 4))
            x, y = (int(one) for one in draw.integers(0, side - size, 2))
            number = 3 * at + other
            thing = np.kron(pixels[number], np.ones((size // 28, size // 28), np.uint8))
            ground[y : y + size, x : x + size] = thing[..., None]
            placed.append((int(classes[number]), x, y, size, size))
        written = io.BytesIO()
        Image.fromarray(ground).save(written, "JPEG")
        files.append(written.getvalue())
        boxes.append(placed)
    names = tuple(str(one) for one in range(10))
    label = Column("objects", ColumnType.BOXES, ColumnRole.LABEL, classes=names)
    schema = Schema((Column("image", ColumnType.IMAGE), label))
    return Case(
        "object-detection",
        "detector, 320 pixels, 16 rows a step, augmented",
        rows_of(schema, {"train": {"image": files, "objects": boxes}}),
        {"size": side, "batch_size": 16},
    )


def texts(network: str, shown: str, **options: Any) -> Case:
    """SpamAssassin's e-mails."""
    held = spam_assassin()  # ham first
    mails, sorts = zip(*held[:: max(1, len(held) // 1200)], strict=True)
    columns = {"text": list(mails), "sort": list(sorts)}
    options = {"network": network, "batch_size": 32, **options}
    return Case("text-classification", shown, rows_of(TEXTS, {"train": columns}), options)


def translator() -> Case:
    """Texts of an interface, English and German."""
    sources, targets = zip(*interface_texts()["train"][:ROWS], strict=True)
    schema = Schema(
        (
            Column("en", ColumnType.TEXT, ColumnRole.SOURCE),
            Column("de", ColumnType.TEXT, ColumnRole.TARGET),
        )
    )
    data = rows_of(schema, {"train": {"en": list(sources), "de": list(targets)}})
    return Case("seq2seq", "translator, defaults", data, {})


def table() -> Case:
    """Digits as a table of 64 columns."""
    held = load_digits()
    names = [f"c{at}" for at in range(64)]
    label = Column("class", ColumnType.INTEGER, ColumnRole.LABEL)
    schema = Schema((*(Column(name, ColumnType.NUMBER) for name in names), label))
    columns = {name: held.data[:, at] for at, name in enumerate(names)}
    data = rows_of(schema, {"train": {**columns, "class": held.target.astype(np.int64)}})
    options = {"model": "network", "objective": "classification"}
    return Case("tabular", "table, network, defaults", data, options)


def keras_program() -> Case:
    """The Keras program of the documentation."""
    from benchmarks.keras_program import by_keras

    file = Path(tempfile.mkdtemp()) / "program.keras"
    import keras

    with keras.device("cpu"):
        by_keras(file, None, None)  # type: ignore[arg-type]
    pixels, classes = fashion_mnist("train")
    schema = Schema(
        (
            Column("x", ColumnType.TENSOR, shape=(28, 28, 1), dtype="float32"),
            Column("y", ColumnType.INTEGER, ColumnRole.LABEL),
        )
    )
    x = pixels[:ROWS, ..., None].astype(np.float32) / 255
    data = rows_of(schema, {"train": {"x": x, "y": classes[:ROWS].astype(np.int64)}})
    return Case("keras", "the Keras program of the docs, 32 rows a step", data, {}, {"model": file})


def chat() -> Case:
    """E-mails, judged by a chat model of SmolLM2-135M's shape."""
    learnt, _ = chat_tuning.rows_of(160, 0, 200, 0)
    asked = [(chat_tuning.QUESTION.format(text=text), kind) for text, kind in learnt]
    said = [
        to_text([Message("user", question), Message("assistant", kind)]) for question, kind in asked
    ]
    data = rows_of(Schema((Column(COLUMN, ColumnType.TEXT),)), {"train": {COLUMN: said}})
    file = shaped_chat_model(Path(tempfile.mkdtemp()) / "shaped.gguf")
    manifest = {"task": "chat", "format": "gguf", "files": {"model": {"name": file.name}}}
    return Case(
        "chat",
        "LoRA of SmolLM2-135M's shape, about 300 tokens a row, 8 rows a step",
        data,
        {"max_tokens": 512},
        {"model": file},
        BaseVersion("shaped@1", manifest),
    )


CASES: dict[str, Callable[[], Case]] = {
    "small": lambda: pictures({}, "default CNN, 28 pixels, 32 rows a step"),
    "small-256": lambda: pictures({"batch_size": 256}, "default CNN, 256 rows a step"),
    "residual": lambda: pictures(RESIDUAL, "residual CNN, 28 pixels, 128 rows a step, augmented"),
    "lite0": lite0,
    "detector": detector,
    "bag": lambda: texts("bag", "text classifier, bag of words, 32 rows a step"),
    "transformer": lambda: texts("transformer", "text classifier, transformer, 32 rows a step"),
    "translator": translator,
    "table": table,
    "keras": keras_program,
    "chat": chat,
}


def measured(case: Case, device: str, seconds: float, options: Mapping[str, Any]) -> dict[str, Any]:
    """Rows per second, and the card's memory in MiB."""
    recipe = find_recipe(case.recipe)
    always = {"epochs": ENDLESS, "validation_share": 0.0, "device": device}
    parameters = recipe.parameters(**{**always, **case.options, **options})
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory() as folder:
        run = TimedRun(Path(folder), case, seconds)
        with contextlib.suppress(Cancelled):
            recipe.train(case.data, parameters, run)
    assert run.rate is not None, "the run ended by itself"
    memory = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else 0.0
    return {"rows/s": run.rate * case.rows, "MiB": memory}


def lines(found: Sequence[tuple[str, Mapping[str, Mapping[str, Any]]]]) -> list[str]:
    """The table."""
    rows = []
    for shown, by_device in found:
        cpu, gpu = by_device.get("cpu"), by_device.get("cuda")
        rows.append(
            [
                shown,
                f"{cpu['rows/s']:,.0f}" if cpu else "",
                f"{gpu['rows/s']:,.0f}" if gpu else "",
                f"{gpu['rows/s'] / cpu['rows/s']:.1f}" if cpu and gpu else "",
                f"{gpu['MiB']:,.0f}" if gpu else "",
            ]
        )
    head = ["what", "CPU, rows/s", "GPU, rows/s", "times as fast", "GPU memory, MiB"]
    return machine.table(head, rows)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=sorted(CASES), default=list(CASES))
    parser.add_argument("--devices", nargs="+", choices=["cpu", "cuda"], default=["cpu", "cuda"])
    parser.add_argument("--seconds", type=float, default=6.0, help="that each run is measured")
    parser.add_argument("-p", action="append", default=[], help="further parameters: name=value")
    given = parser.parse_args()
    options = dict(one.split("=", 1) for one in given.p)
    if "cuda" in given.devices and not torch.cuda.is_available():
        sys.exit("There is no GPU here that torch can use; see docs/how-to/train-on-a-gpu.md.")
    found = []
    for name in given.only:
        case = CASES[name]()
        by_device = {}
        for device in given.devices:
            by_device[device] = measured(case, device, given.seconds, options)
            print(name, device, by_device[device], file=sys.stderr, flush=True)
        found.append((case.shown, by_device))
    print("\n".join(lines(found)))
    if given.devices == ["cpu", "cuda"] and given.only == list(CASES) and not options:
        head = _head(given.seconds)
        machine.write("training-gpu", "Training on a GPU", [*head, "", *lines(found)])


def _head(seconds: float) -> list[str]:
    card = torch.cuda.get_device_properties(0)
    how = (
        f"- {torch.get_num_threads()} threads on the CPU, in float32; the GPU in bfloat16 where "
        f"that is exact enough; {seconds:g} s each, after {WARM_S:g} s of warming up"
    )
    return [
        *machine.describe(PACKAGES),
        f"- GPU: {card.name}, {card.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}",
        how,
    ]


if __name__ == "__main__":
    main()
