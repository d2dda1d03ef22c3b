"""`make bench-detection`: a detector trained on the made set, asked through `/v1/detect`.

Starts Modelry, imports the set that `benchmarks.made_detection` wrote (or writes it), trains the
recipe `object-detection` in a job, deploys the version, and measures average precision on the test
split's answers: objects and photos that no other split has. The same answers are also measured as
if there were one class, which tells what is lost by taking one thing for another.

    python -m benchmarks.detection
    python -m benchmarks.detection --made FOLDER -p epochs=2 -p size=64
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine, made_detection
from benchmarks.served import modelry
from modelry.client import Client
from modelry.metrics.detection import DetectionQuality, DetectionScores

DATASET, MODEL = "garments", "garment-detector"
GOALS = {"mAP@.5": 0.9, "mAP@[.5:.95]": 0.6}
LEAST_SCORE = 0.01
ASKED_AT_ONCE = 32
PARAMETERS = {"epochs": 20, "size": 96}


def train(client: Client, folder: Path, parameters: Mapping[str, Any], seed: int) -> Any:
    """Import the set and train on it; the job when it has ended."""
    files = [folder / name for name in ("images.zip", "train.json", "validation.json", "test.json")]
    dataset = client.datasets.import_(files, DATASET, format="coco")
    print(f"imported {dataset.ref}", flush=True)
    order = {"recipe": "object-detection", "dataset": dataset.ref, "model": MODEL,
             "parameters": dict(parameters), "seed": seed}  # fmt: skip
    job = client.jobs.submit("train", order)
    job.wait()
    return job


@dataclass(frozen=True)
class Asked:
    """The quality of answers, that of their boxes alone, and seconds per image."""

    quality: DetectionQuality
    any_class: DetectionQuality
    seconds: float


def asked(client: Client, folder: Path) -> Asked:
    """What `/v1/detect` answers for the test split, measured."""
    document = json.loads((folder / "test.json").read_text())
    classes = [one["name"] for one in document["categories"]]
    numbers = {one["id"]: at for at, one in enumerate(document["categories"])}
    objects: dict[int, list[Any]] = {one["id"]: [] for one in document["images"]}
    for one in document["annotations"]:
        x, y, width, height = one["bbox"]
        box = [x, y, x + width, y + height]
        objects[one["image_id"]].append((box, numbers[one["category_id"]]))
    scores, any_class = DetectionScores(len(classes)), DetectionScores(1)
    spent = 0.0
    with zipfile.ZipFile(folder / "images.zip") as archive:
        for start in range(0, len(document["images"]), ASKED_AT_ONCE):
            some = document["images"][start : start + ASKED_AT_ONCE]
            images = [archive.read(one["file_name"]) for one in some]
            began = time.perf_counter()
            answers = client.detect_many(MODEL, images, min_score=LEAST_SCORE)
            spent += time.perf_counter() - began
            for one, answer in zip(some, answers, strict=True):
                found = answer.objects
                true = objects[one["id"]]
                boxes = np.array([each.box for each in found]).reshape(-1, 4)
                sure = [each.score for each in found]
                true_boxes = np.array([box for box, _ in true]).reshape(-1, 4)
                labels = [classes.index(each.label) for each in found]
                scores.add(boxes, sure, labels, true_boxes, [label for _, label in true])
                any_class.add(boxes, sure, [0] * len(boxes), true_boxes, [0] * len(true))
    return Asked(scores.result(), any_class.result(), spent / len(document["images"]))


def measured(
    folder: Path, parameters: Mapping[str, Any], seed: int, trained: Path | None
) -> dict[str, Any]:
    """All of it, on a server of its own; without training where there is a trained version."""
    with modelry() as served:
        client = served.client
        began = time.perf_counter()
        if trained is None:
            outcome = dict(train(client, folder, parameters, seed).outcome)
        else:
            client.register(trained)
            outcome = {}
        seconds = time.perf_counter() - began
        client.deploy(MODEL)
        client.wait_model_ready(MODEL, timeout_s=120)
        told = asked(client, folder)
    return {"asked": told, "seconds": seconds, "outcome": outcome}


def _trained(told: Mapping[str, Any]) -> list[str]:
    if not told["outcome"]:
        return ["- the version was trained before"]
    return [
        f"- import, training, export and parity check took {told['seconds']:.0f} s",
        f"- parity: {json.dumps(told['outcome'].get('parity', {}))}",
    ]


def _has_amx() -> bool:
    """Whether this machine's CPU is faster in bfloat16."""
    info = Path("/proc/cpuinfo")
    return info.exists() and "amx_bf16" in info.read_text()


def report(folder: Path, parameters: Mapping[str, Any], told: Mapping[str, Any]) -> bool:
    """Print and write the table; whether the goals are met."""
    answers: Asked = told["asked"]
    quality, boxes = answers.quality, answers.any_class
    reached = {"mAP@.5": quality.map_50 or 0.0, "mAP@[.5:.95]": quality.map or 0.0}
    classes = zip(made_detection.CLASSES, quality.by_class, strict=True)
    rows = [[name, f"{value:.3f}", f">= {GOALS[name]}"] for name, value in reached.items()]
    rows += [[f"AP@[.5:.95] of {name}", f"{value or 0:.3f}", ""] for name, value in classes]
    any_class = {"mAP@.5 of boxes alone": boxes.map_50, "mAP@[.5:.95] of boxes alone": boxes.map}
    rows += [[name, f"{value or 0:.3f}", ""] for name, value in any_class.items()]
    counts = {
        split: len(json.loads((folder / f"{split}.json").read_text())["images"])
        for split in made_detection.COUNTS
    }
    machine.write(
        "detection",
        "A detector trained on the made set",
        [
            *machine.describe(["modelry", "torch", "onnxruntime", "numpy"]),
            f"- parameters: {json.dumps(dict(parameters))}; images: {json.dumps(counts)}",
            *_trained(told),
            f"- {quality.images} images through /v1/detect: {1000 * answers.seconds:.1f} ms each",
            "",
            *machine.table(["measure", "reached", "goal"], rows),
        ],
    )
    return all(value >= GOALS[name] for name, value in reached.items())


def _setting(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    return name, json.loads(value)


def main() -> None:
    """Measure, print, write; ends with 1 when a goal is not met."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--made", type=Path, help="a folder that made_detection wrote")
    parser.add_argument("--objects", type=Path, help="a folder with Fashion-MNIST's IDX files")
    parser.add_argument("--trained", type=Path, help="register this version instead of training")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-p", dest="settings", type=_setting, action="append", default=[],
                        help="a parameter of the recipe, such as epochs=5")  # fmt: skip
    given = parser.parse_args()
    parameters = PARAMETERS | {"cpu_bfloat16": _has_amx()} | dict(given.settings)
    with tempfile.TemporaryDirectory() as made:
        folder = given.made or Path(made)
        if given.made is None:
            made_detection.write(folder, made_detection.COUNTS, given.seed, given.objects)
        told = measured(folder, parameters, given.seed, given.trained)
        if not report(folder, parameters, told):
            sys.exit(1)


if __name__ == "__main__":
    main()
