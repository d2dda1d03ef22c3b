"""Small real models, trained by our recipes, whose answers are explained for measurements."""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image
from sklearn import datasets as tables

from benchmarks import backbone
from benchmarks.served import Served
from benchmarks.training import PICTURES, TEXTS, trained
from benchmarks.training_data import fashion_mnist, spam_assassin
from modelry.domain.datasets import Column, ColumnRole, ColumnType, Schema
from modelry.tasks.background_rows import BACKGROUND_ROLE, background_file
from modelry.testing.datasets import rows_of

WORDS = 60
"""Of a text that is explained: so many of the e-mail's first ones."""
BACKGROUND = 100
SIDE = 28
"""Of a picture of a garment."""
_WORD = re.compile(r"\w+|[^\w\s]+")


@dataclass(frozen=True)
class ExplainedModel:
    """A version, and what it is asked.

    Attributes:
        name: of its deployment.
        manifest: without name and files.
        files: by role.
        inputs: pictures (height, width[, 3]) uint8, texts, or rows.
        background: rows that stand for what is usual, which are kept with the version.
    """

    name: str
    manifest: Mapping[str, Any]
    files: Mapping[str, Path]
    inputs: Sequence[Any]
    background: Sequence[Sequence[float]] = ()

    @property
    def has_softmax(self) -> bool:
        """Whether its scores are probabilities made of what the engine gives."""
        steps: Sequence[Any] = self.manifest["post"]
        return any(step == "softmax" or "softmax" in step for step in steps)

    def deploy(self, served: Served, folder: Path, threads: int) -> None:
        """Register it and have it ready."""
        declared = folder / f"{self.name}.yaml"
        files = {role: os.fspath(path) for role, path in self.files.items()}
        told = {"name": self.name, **self.manifest, "files": files}
        declared.write_text(yaml.safe_dump(told, allow_unicode=True), "utf-8")
        served.client.register(declared)
        self._deploy(served, threads)

    def deploy_anew(self, served: Served, threads: int) -> None:
        """Remove its deployment, and have another ready."""
        served.client.undeploy(self.name)
        self._deploy(served, threads)

    def _deploy(self, served: Served, threads: int) -> None:
        served.client.deploy(self.name, engine_options={"threads": threads})
        served.client.wait_model_ready(self.name, timeout_s=120)


def _model(
    name: str, recipe: str, data: Any, folder: Path, inputs: Sequence[Any], **options: Any
) -> ExplainedModel:
    kept = folder / name
    kept.mkdir(parents=True)
    with trained(recipe, data, **options) as version:
        files = {
            role: Path(shutil.copy(path, kept / path.name)) for role, path in version.files.items()
        }
        return ExplainedModel(name, dict(version.manifest), files, inputs)


def garments(folder: Path, count: int) -> ExplainedModel:
    """The small network on Fashion-MNIST, 28 x 28."""
    shown, classes = fashion_mnist("train")
    unseen, _ = fashion_mnist("test")
    rows = {"picture": shown[:6000], "class": classes[:6000].astype(np.int64)}
    data = rows_of(PICTURES, {"train": rows})
    return _model("garments", "image-classification", data, folder, list(unseen[:count]), epochs=3)


def things(folder: Path, count: int) -> ExplainedModel:
    """EfficientNet-Lite0 on photos, 224 x 224; nothing is trained."""
    from benchmarks.photos import photos

    kept = folder / "things"
    kept.mkdir()
    file = Path(shutil.copy(backbone.efficientnet_lite0(), kept / "model.onnx"))
    manifest = {
        "task": "image-classification",
        "pre": backbone.PRE,
        "post": ["softmax", {"top_k": 5}],
    }
    chosen = [one for name, one in photos().items() if name.startswith("foolbox/")][:count]
    side = backbone.SIDE
    inputs = [np.asarray(one.convert("RGB").resize((side, side))) for one in chosen]
    return ExplainedModel("things", manifest, {"model": file}, inputs)


def mails(folder: Path, count: int) -> ExplainedModel:
    """The bag of subwords on e-mails without their headers."""
    return _mails("mails", folder, count, epochs=4)


def read_mails(folder: Path, count: int) -> ExplainedModel:
    """A transformer on them."""
    options = {"network": "transformer", "learning_rate": 5e-4, "max_length": 128}
    return _mails("read-mails", folder, count, epochs=2, **options)


def _mails(name: str, folder: Path, count: int, **options: Any) -> ExplainedModel:
    bodies = [(text.partition("\n\n")[2].strip(), sort) for text, sort in spam_assassin()]
    long = [one for one in dict(bodies).items() if len(_WORD.findall(one[0])) >= WORDS]
    order = np.random.default_rng(0).permutation(len(long))
    chosen = [long[at] for at in order[: 1500 + count]]
    learnt, unseen = chosen[count:], chosen[:count]
    columns = {"text": [text[:4000] for text, _ in learnt], "sort": [sort for _, sort in learnt]}
    data = rows_of(TEXTS, {"train": columns})
    inputs = [text[: list(_WORD.finditer(text))[WORDS - 1].end()] for text, _ in unseen]
    return _model(name, "text-classification", data, folder, inputs, **options)


def png(picture: np.ndarray) -> bytes:
    """A picture as a file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def words_of(text: str) -> list[list[int]]:
    """Where the words of a text are, as explanations cut them."""
    return [[one.start(), one.end()] for one in _WORD.finditer(text)]


def table(
    folder: Path, count: int, name: str, load: str, *, is_number: bool = False, **options: Any
) -> ExplainedModel:
    """A table of scikit-learn; the rows that are explained are not learnt from."""
    held = getattr(tables, f"load_{load}")()
    cells, target = np.asarray(held.data, float), held.target
    order = np.random.default_rng(0).permutation(len(cells))
    unseen, learnt = order[:count], order[count:]
    kind = ColumnType.NUMBER if is_number else ColumnType.INTEGER
    names = [f"c{at}" for at in range(cells.shape[1])]
    label = Column("target", kind, ColumnRole.LABEL)
    schema = Schema((*(Column(one, ColumnType.NUMBER) for one in names), label))
    columns = {one: cells[learnt, at] for at, one in enumerate(names)}
    data = rows_of(schema, {"train": {**columns, "target": target[learnt]}})
    objective = "regression" if is_number else "classification"
    found = _model(
        name, "tabular", data, folder, cells[unseen].tolist(), objective=objective, **options
    )
    background = cells[learnt[:BACKGROUND]].tolist()
    found.files[BACKGROUND_ROLE].write_bytes(background_file(names, background, "for a benchmark"))
    return ExplainedModel(found.name, found.manifest, found.files, found.inputs, background)
