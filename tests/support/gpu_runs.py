"""A small run of every recipe that can compute on a GPU, on real rows where they are small."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_digits
from tests.support import backbones
from tests.support.chat_models import chat_model

from modelry.datasets.conversations import COLUMN, Message, to_text
from modelry.domain.datasets import Column, ColumnRole, ColumnType, Schema
from modelry.testing.datasets import MemoryRows, rows_of
from modelry.training.contract import BaseVersion

DIGITS = tuple(str(one) for one in range(10))
SIDE = 64


@dataclass(frozen=True)
class Trial:
    """What a recipe is given.

    Attributes:
        recipe: its name.
        data: rows.
        options: parameters without the device; nothing in them is drawn at random, so that a run
            on another device takes the same steps but for rounding.
        drawn: further ones, with all that is drawn at random.
        base: files of the version that is trained further.
        base_version: what the catalogue knows of it.
    """

    recipe: str
    data: MemoryRows
    options: Mapping[str, Any]
    drawn: Mapping[str, Any] = field(default_factory=dict)
    base: Mapping[str, Path] = field(default_factory=dict)
    base_version: BaseVersion | None = None


def _pictures(count: int = 320) -> MemoryRows:
    held = load_digits()
    label = Column("digit", ColumnType.TEXT, ColumnRole.LABEL, classes=DIGITS)
    schema = Schema((Column("picture", ColumnType.IMAGE), label))
    files = [_png(np.kron(one, np.ones((4, 4))) * 15) for one in held.images[:count]]
    names = [DIGITS[one] for one in held.target[:count]]
    return rows_of(schema, {"train": {"picture": files, "digit": names}})


def _png(pixels: Any) -> bytes:
    written = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(written, "PNG")
    return written.getvalue()


def small(folder: Path) -> Trial:
    """The default network."""
    del folder
    drawn = {"dropout": 0.2, "augment": ["flip", "shift", "turn", "brighten", "erase"]}
    return Trial("image-classification", _pictures(), {"epochs": 4, "dropout": 0.0}, drawn)


def residual(folder: Path) -> Trial:
    """The deeper network."""
    return Trial(
        "image-classification",
        small(folder).data,
        {"epochs": 2, "network": "residual", "dropout": 0.0, "learning_rate": 1e-3},
        {"augment": ["shift", "erase"], "optimiser": "sgd"},
    )


def backbone(folder: Path) -> Trial:
    """A registered network that is trained further."""
    return Trial(
        "image-classification",
        small(folder).data,
        {"network": "backbone", "epochs": 3, "unfreeze": 1, "head_epochs": 1, "dropout": 0.0},
        {"augment": ["shift"], "dropout": 0.1},
        {"model": backbones.kept(backbones.network(7), folder)},
        backbones.version_of(),
    )


def last_layer(folder: Path) -> Trial:
    """A registered network, of which a new last layer alone learns; the rest is computed once."""
    given = backbone(folder)
    return replace(given, options={"network": "backbone", "epochs": 4, "dropout": 0.0}, drawn={})


def detection(folder: Path) -> Trial:
    """Digits on noise and where they are."""
    del folder
    random = np.random.default_rng(3)
    held = load_digits()
    images, boxes = [], []
    for at in range(96):
        pixels = random.integers(90, 130, (SIDE, SIDE, 3), np.uint8)
        size = int(random.integers(2, 4)) * 8
        x, y = (int(one) for one in random.integers(0, SIDE - size, 2))
        drawn = np.kron(held.images[at], np.ones((size // 8, size // 8))) * 15
        pixels[y : y + size, x : x + size] = drawn[..., None].astype(np.uint8)
        images.append(_png(pixels))
        boxes.append([(int(held.target[at] > 4), x, y, size, size)])
    label = Column("objects", ColumnType.BOXES, ColumnRole.LABEL, classes=("low", "high"))
    schema = Schema((Column("image", ColumnType.IMAGE), label))
    data = rows_of(schema, {"train": {"image": images, "objects": boxes}})
    options = {"epochs": 3, "batch_size": 16, "size": SIDE, "width": 8, "augment": False}
    return Trial("object-detection", data, options, {"augment": True, "mirror": True, "paste": 0.7})


def _texts() -> MemoryRows:
    import sklearn

    here = Path(sklearn.__file__).parent
    kinds = {"code": (here / "linear_model").glob("_*.py"),
             "prose": (here / "datasets" / "descr").glob("*.rst")}  # fmt: skip
    lines, names = [], []
    for name, files in kinds.items():
        found = [line.strip() for file in sorted(files) for line in file.read_text().splitlines()]
        chosen = [line for line in dict.fromkeys(found) if len(line) > 30][:200]
        lines += chosen
        names += [name] * len(chosen)
    label = Column("kind", ColumnType.TEXT, ColumnRole.LABEL, classes=tuple(kinds))
    schema = Schema((Column("line", ColumnType.TEXT), label))
    return rows_of(schema, {"train": {"line": lines, "kind": names}})


def bag(folder: Path) -> Trial:
    """Vectors of words and of pairs of them."""
    del folder
    options = {"vocabulary_size": 600, "pair_buckets": 1024, "vector_size": 16, "dropout": 0.0,
               "epochs": 3}  # fmt: skip
    return Trial("text-classification", _texts(), options, {"dropout": 0.3})


def transformer(folder: Path) -> Trial:
    """An encoder of texts."""
    return Trial(
        "text-classification",
        bag(folder).data,
        {"network": "transformer", "vocabulary_size": 600, "vector_size": 32, "heads": 2,
         "layers": 2, "max_length": 64, "dropout": 0.0, "epochs": 2, "learning_rate": 1e-3},
        {"dropout": 0.2},
    )  # fmt: skip


def seq2seq(folder: Path) -> Trial:
    """Numbers and their squares, as words of digits."""
    del folder
    numbers = [int(one) for one in np.random.default_rng(5).integers(0, 10_000, 300)]
    schema = Schema(
        (
            Column("given", ColumnType.TEXT, ColumnRole.SOURCE),
            Column("wanted", ColumnType.TEXT, ColumnRole.TARGET),
        )
    )
    rows = {"given": [" ".join(str(one)) for one in numbers],
            "wanted": [" ".join(str(one * one)) for one in numbers]}  # fmt: skip
    options = {"vocabulary": 330, "width": 48, "heads": 2, "encoder_layers": 1, "epochs": 2,
               "decoder_layers": 1, "inner_width": 96, "source_tokens": 32, "target_tokens": 32,
               "tokens_per_batch": 512, "dropout": 0.0}  # fmt: skip
    drawn = {"dropout": 0.2, "attention_dropout": 0.1, "token_dropout": 0.1, "merge_dropout": 0.1}
    return Trial("seq2seq", rows_of(schema, {"train": rows}), options, drawn)


def tabular(folder: Path) -> Trial:
    """A network on a table."""
    del folder
    held = load_breast_cancer()
    names = [f"c{at}" for at in range(held.data.shape[1])]
    label = Column("class", ColumnType.INTEGER, ColumnRole.LABEL)
    schema = Schema((*(Column(name, ColumnType.NUMBER) for name in names), label))
    columns = {name: held.data[:, at] for at, name in enumerate(names)}
    rows = {**columns, "class": held.target.astype(np.int64)}
    options = {"model": "network", "objective": "classification", "epochs": 4, "dropout": 0.0}
    return Trial("tabular", rows_of(schema, {"train": rows}), options, {"dropout": 0.2})


def keras_model(folder: Path) -> Trial:
    """A user's own network, with layers that draw at random and ones that keep averages."""
    import keras
    from keras import layers

    with keras.device("cpu"):
        keras.utils.set_random_seed(3)
        inputs = keras.Input((8, 8, 1))
        maps = layers.Conv2D(8, 3, activation="relu")(inputs)
        maps = layers.BatchNormalization()(maps)
        flat = layers.Dropout(0.3)(layers.Flatten()(maps))
        model = keras.Model(inputs, layers.Dense(10, activation="softmax")(flat))
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        file = folder / "own.keras"
        model.save(file)
    held = load_digits()
    schema = Schema(
        (
            Column("x", ColumnType.TENSOR, shape=(8, 8, 1), dtype="float32"),
            Column("y", ColumnType.INTEGER, ColumnRole.LABEL),
        )
    )
    x = (held.images[:320, ..., None] / 16).astype(np.float32)
    rows = {"x": x, "y": held.target[:320].astype(np.int64)}
    options = {"epochs": 2, "class_weights": "balanced"}
    return Trial("keras", rows_of(schema, {"train": rows}), options, {}, {"model": file})


def chat(folder: Path) -> Trial:
    """Adapters of a chat model."""
    colours = {"sky": "blue", "grass": "green", "blood": "red", "snow": "white", "coal": "black"}
    texts = [
        to_text([Message("user", f"What colour has {thing}?"), Message("assistant", colour)])
        for thing, colour in colours.items()
    ]
    rows = rows_of(Schema((Column(COLUMN, ColumnType.TEXT),)), {"train": {COLUMN: texts * 4}})
    manifest = {"task": "chat", "format": "gguf", "files": {"model": {"name": "small.gguf"}}}
    options = {"epochs": 6, "batch_size": 5, "learning_rate": 1e-2, "rank": 4, "alpha": 8.0,
               "max_tokens": 128}  # fmt: skip
    return Trial(
        "chat",
        rows,
        options,
        {"dropout": 0.1},
        {"model": chat_model(folder / "small.gguf")},
        BaseVersion("small@1", manifest),
    )


_ALL = (small, residual, backbone, last_layer, detection, bag, transformer, seq2seq, tabular,
        keras_model, chat)  # fmt: skip
TRIALS: dict[str, Callable[[Path], Trial]] = {one.__name__: one for one in _ALL}


def trial(name: str) -> Trial:
    """A trial with its files in a folder that stays as long as the process does."""
    return TRIALS[name](Path(tempfile.mkdtemp()))
