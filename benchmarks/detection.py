"""`make bench-detection`: a detector trained on the made set, asked through `/v1/detect`.

Starts Modelry, imports the set that `benchmarks.made_detection` wrote (or writes it), trains the
recipe `object-detection` in a job, deploys the version, and measures average precision on the test
split's answers: other objects and other grounds than those of training.

    python -m benchmarks.detection --photos FOLDER --objects FOLDER
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
PARAMETERS = {"epochs": 20, "size": 96, "batch_size": 8}


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


def asked(client: Client, folder: Path) -> tuple[DetectionQuality, float]:
    """The quality of what `/v1/detect` answers for the test split, and seconds per image."""
    document = json.loads((folder / "test.json").read_text())
    classes = [one["name"] for one in document["categories"]]
    numbers = {one["id"]: at for at, one in enumerate(document["categories"])}
    objects: dict[int, list[Any]] = {one["id"]: [] for one in document["images"]}
    for one in document["annotations"]:
        x, y, width, height = one["bbox"]
        box = [x, y, x + width, y + height]
        objects[one["image_id"]].append((box, numbers[one["category_id"]]))
    scores = DetectionScores(len(classes))
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
                scores.add(
                    np.array([each.box for each in found]).reshape(-1, 4),
                    [each.score for each in found],
                    [classes.index(each.label) for each in found],
                    np.array([box for box, _ in true]).reshape(-1, 4),
                    [label for _, label in true],
                )
    return scores.result(), spent / len(document["images"])


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
        quality, per_image = asked(client, folder)
    return {"quality": quality, "seconds": seconds, "ms": 1000 * per_image,
            "outcome": outcome}  # fmt: skip


def report(folder: Path, parameters: Mapping[str, Any], told: Mapping[str, Any]) -> bool:
    """Print and write the table; whether the goals are met."""
    quality: DetectionQuality = told["quality"]
    reached = {"mAP@.5": quality.map_50 or 0.0, "mAP@[.5:.95]": quality.map or 0.0}
    classes = zip(made_detection.CLASSES, quality.by_class, strict=True)
    rows = [[name, f"{value:.3f}", f">= {GOALS[name]}"] for name, value in reached.items()]
    rows += [[f"AP of {name}", f"{value or 0:.3f}", ""] for name, value in classes]
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
            f"- import, training, export and parity check took {told['seconds']:.0f} s",
            f"- {quality.images} test images through /v1/detect: {told['ms']:.1f} ms each",
            f"- parity: {json.dumps(told['outcome'].get('parity', {}))}",
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
    parser.add_argument("--objects", type=Path, default=made_detection.OBJECTS)
    parser.add_argument("--photos", type=Path, help="scikit-image's folder data")
    parser.add_argument("--trained", type=Path, help="register this version instead of training")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-p", dest="settings", type=_setting, action="append", default=[],
                        help="a parameter of the recipe, such as epochs=5")  # fmt: skip
    given = parser.parse_args()
    parameters = PARAMETERS | dict(given.settings)
    with tempfile.TemporaryDirectory() as made:
        folder = given.made or Path(made)
        if given.made is None:
            if given.photos is None:
                parser.error("give --made, or --photos and --objects to make the set")
            counts = made_detection.COUNTS
            made_detection.write(folder, given.objects, given.photos, counts, given.seed)
        told = measured(folder, parameters, given.seed, given.trained)
        if not report(folder, parameters, told):
            sys.exit(1)


if __name__ == "__main__":
    main()
