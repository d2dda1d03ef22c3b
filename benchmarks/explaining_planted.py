"""`make bench-explain-planted`: explanations of models of which it is known what they look at.

Watermarks: the recipe `image-classification` learns Fashion-MNIST's ten kinds, and as an eleventh
class pictures of any kind that carry a small checkered mark somewhere. Nothing but the mark tells
that class, so the top region of an explanation must lie on it. Objects: a detector trained by
`benchmarks.detection` on its made set, and test images with two objects or more; the top region of
the map of each box that was found rightly must lie on its object (the pointing game).

    python -m benchmarks.explaining_planted --trained FOLDER
    python -m benchmarks.explaining_planted watermarks --images 20 --rows 6000

`--trained` is a detector's version; without it one is trained (minutes). Test pictures, photos and
objects were never seen by a training.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import detection, machine, made_detection
from benchmarks.served import modelry
from benchmarks.training_data import fashion_mnist
from modelry.client import Client
from modelry.client.explained import Explanation
from modelry.metrics.detection import box_iou

MARK_SIDE, SQUARE_SIDE = 6, 2
MARKED = "marked"
TRAIN_PICTURES, SHARE_MARKED = 24_000, 1 / 6
CLASSIFIER = "watermarks"
GOALS = {
    ("watermarks", "occlusion"): 0.95,
    ("watermarks", "rise"): 0.95,
    ("objects", "d-rise"): 0.9,
}
MIN_OVERLAP = 0.5
CHECKED_IMAGES = 20
"""Of these it is also measured how often the check says that a map is better than random."""


@dataclass
class Told:
    """What explanations by one method came to."""

    truth: str
    method: str
    right: list[bool] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    inside: list[float] = field(default_factory=list)
    trusted: list[bool] = field(default_factory=list)

    def count(self, found: Explanation, seconds: float | None) -> None:
        """Count what one took."""
        self.calls.append(found.parameters["calls"])
        self.stopped.append(found.parameters["stopped"])
        if seconds is not None:
            self.seconds.append(seconds)

    @property
    def share(self) -> float:
        """Of maps whose top region lies where it must."""
        return float(np.mean(self.right)) if self.right else 0.0


def marked(random: np.random.Generator, picture: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """A picture (28, 28) with the mark somewhere, and where: left, top, right, bottom."""
    at = np.arange(MARK_SIDE) // SQUARE_SIDE
    mark = np.where((at[:, None] + at[None, :]) % 2 == 0, 255, 0).astype(np.uint8)
    top, left = (int(random.integers(side - MARK_SIDE + 1)) for side in picture.shape)
    changed = picture.copy()
    changed[top : top + MARK_SIDE, left : left + MARK_SIDE] = mark
    return changed, [left, top, left + MARK_SIDE, top + MARK_SIDE]


def watermark_rows(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """So many pictures and the names of their classes, to learn from."""
    random = np.random.default_rng(seed)
    pictures, numbers = fashion_mnist("train")
    chosen = random.permutation(len(pictures))[:count]
    names = np.array([f"kind {number}" for number in numbers[chosen]], dtype="U20")
    shown = pictures[chosen].copy()
    for at in range(round(SHARE_MARKED * len(chosen))):
        shown[at], _ = marked(random, shown[at])
        names[at] = MARKED
    return shown, names


def train_classifier(client: Client, rows: int, epochs: int, seed: int) -> None:
    """Train the model with the watermark."""
    shown, names = watermark_rows(rows, seed)
    dataset = client.datasets.from_arrays(CLASSIFIER, shown, names)
    order = {"recipe": "image-classification", "dataset": dataset.ref, "model": CLASSIFIER,
             "parameters": {"epochs": epochs}, "seed": seed}  # fmt: skip
    client.jobs.submit("train", order).wait()


def serve(client: Client, model: str) -> None:
    """Deploy a model and wait for it."""
    client.deploy(model)
    client.wait_model_ready(model, timeout_s=120)


def watermarks(client: Client, images: int, seed: int) -> list[Told]:
    """Explanations of test pictures with a mark, where the model tells the mark."""
    random = np.random.default_rng(seed + 1)
    pictures, _ = fashion_mnist("test")
    chosen = pictures[random.permutation(len(pictures))[:images]]
    methods = [Told("watermarks", "occlusion"), Told("watermarks", "rise")]
    for number, picture in enumerate(chosen):
        changed, box = marked(random, picture)
        for told in methods:
            found, seconds = explained(
                client, CLASSIFIER, as_png(changed), told.method, checks=number < CHECKED_IMAGES
            )
            if found.target.label != MARKED:
                break
            told.count(found, seconds)
            told.right.append(is_within(found.attribution["regions"][0]["box"], box))
            told.trusted += trusted([found.faithfulness])
    return methods


def objects(client: Client, folder: Path, images: int) -> list[Told]:
    """The pointing game: explanations of boxes that were found rightly, by image."""
    methods = [Told("objects", "d-rise"), Told("objects", "occlusion")]
    for number, (data, true) in enumerate(several_objects(folder, images)):
        for told in methods:
            found, seconds = explained(
                client, detection.MODEL, data, told.method, checks=number < CHECKED_IMAGES // 4
            )
            told.count(found, seconds)
            for one in found.attribution["objects"]:
                box = true_box(one, true)
                if box is not None:
                    told.right.append(is_within(one["regions"][0]["box"], box))
                    told.inside.append(one["inside"] or 0.0)
                    told.trusted += trusted([one["faithfulness"]])
    return methods


def several_objects(
    folder: Path, images: int
) -> Iterator[tuple[bytes, Sequence[tuple[str, Sequence[float]]]]]:
    """Test images with two objects or more, each with the names and boxes of all."""
    document = json.loads((folder / "test.json").read_text())
    names = {one["id"]: one["name"] for one in document["categories"]}
    true: dict[int, list[tuple[str, Sequence[float]]]] = {}
    for one in document["annotations"]:
        x, y, width, height = one["bbox"]
        box = (names[one["category_id"]], [x, y, x + width, y + height])
        true.setdefault(one["image_id"], []).append(box)
    several = [one for one in document["images"] if len(true.get(one["id"], ())) > 1]
    with zipfile.ZipFile(folder / "images.zip") as archive:
        for one in several[:images]:
            yield archive.read(one["file_name"]), true[one["id"]]


def true_box(
    found: Mapping[str, Any], true: Sequence[tuple[str, Sequence[float]]]
) -> Sequence[float] | None:
    """The true box that a found one stands for, None where it stands for none."""
    boxes = np.array([box for _, box in true], float)
    overlaps = box_iou(np.array([found["box"]], float), boxes)[0]
    overlaps *= [name == found["label"] for name, _ in true]
    best = int(overlaps.argmax())
    return true[best][1] if overlaps[best] >= MIN_OVERLAP else None


def explained(
    client: Client, model: str, data: bytes, method: str, *, checks: bool
) -> tuple[Explanation, float | None]:
    """One explanation, and its seconds where there is no check in them."""
    began = time.perf_counter()
    found = client.explain(model, image=data, method=method, checks=checks, picture=False)
    return found, None if checks else time.perf_counter() - began


def is_within(region: Sequence[float], box: Sequence[float]) -> bool:
    """Whether the middle of a region lies in a box."""
    left, top, right, bottom = region
    across, down = (left + right) / 2, (top + bottom) / 2
    return bool(box[0] <= across <= box[2] and box[1] <= down <= box[3])


def trusted(checks: Sequence[Mapping[str, Any] | None]) -> list[bool]:
    """What checks say, where there are any."""
    return [bool(one["is_better_than_random"]) for one in checks if one is not None]


def as_png(picture: np.ndarray) -> bytes:
    """A grey picture as a file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def report(told: Sequence[Told], notes: Sequence[str], *, is_whole: bool) -> bool:
    """Print and write the table; whether the goals are met."""
    rows = []
    for one in told:
        goal = GOALS.get((one.truth, one.method))
        settled = float(np.mean([float(why == "settled") for why in one.stopped] or [0.0]))
        rows.append(
            [
                one.truth,
                one.method,
                f"{one.share:.3f} of {len(one.right)}",
                "" if goal is None else f">= {goal}",
                f"{np.mean(one.inside):.2f}" if one.inside else "",
                f"{np.mean(one.trusted):.2f} of {len(one.trusted)}" if one.trusted else "",
                f"{np.mean(one.calls or [0]):.0f}",
                f"{settled:.2f}",
                f"{1000 * float(np.median(one.seconds)):.0f}" if one.seconds else "",
            ]
        )
    head = ["truth", "method", "top region on it", "goal", "weight inside", "better than random",
            "calls", "settled", "ms (median)"]  # fmt: skip
    table = machine.table(head, rows)
    print("\n".join(table))
    if is_whole:
        described = machine.describe(["modelry", "onnxruntime", "numpy", "torch"])
        title = "Explanations of what is known"
        machine.write("explaining-planted", title, [*described, *notes, "", *table])
    return all(one.share >= GOALS.get((one.truth, one.method), 0) for one in told)


def measured(given: argparse.Namespace, made: Path) -> tuple[list[Told], list[str]]:
    """All that was asked for, on a server of its own."""
    told: list[Told] = []
    notes: list[str] = []
    with modelry() as served:
        client = served.client
        if given.what in ("watermarks", "all"):
            if given.classifier is None:
                train_classifier(client, given.rows, given.epochs, given.seed)
            else:
                client.register(given.classifier)
            serve(client, CLASSIFIER)
            told += watermarks(client, given.images or 200, given.seed)
            notes.append(
                f"- watermarks: {_learnt(given)}, marks of {MARK_SIDE} x {MARK_SIDE} anywhere; "
                "pictures whose mark the model tells"
            )
        if given.what in ("objects", "all"):
            if given.trained is None:
                detection.train(client, made, detection.PARAMETERS, given.seed)
            else:
                client.register(given.trained)
            serve(client, detection.MODEL)
            told += objects(client, made, given.images or 60)
            notes.append(
                "- objects: boxes that were found rightly (class, and overlap of at least "
                f"{MIN_OVERLAP}) in test images with two objects or more"
            )
    return told, notes


def _learnt(given: argparse.Namespace) -> str:
    if given.classifier is not None:
        return "a model that was trained before"
    return f"{given.rows} pictures of 28 x 28 learnt from in {given.epochs} epochs"


def main() -> None:
    """Measure, print, write; ends with 1 when a goal is not met."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", nargs="?", default="all", choices=("all", "watermarks", "objects"))
    parser.add_argument("--made", type=Path, help="a folder that made_detection wrote")
    parser.add_argument("--trained", type=Path, help="register this detector instead of training")
    parser.add_argument("--classifier", type=Path, help="register this instead of training")
    parser.add_argument("--images", type=int, help="how many, of each truth [default: 200 and 60]")
    parser.add_argument("--rows", type=int, default=TRAIN_PICTURES, help="that it learns from")
    parser.add_argument("--epochs", type=int, default=6, help="of the watermarks' classifier")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = given.made or Path(folder)
        if given.made is None and given.what != "watermarks":
            made_detection.write(made, made_detection.COUNTS, given.seed)
        told, notes = measured(given, made)
        is_whole = given.what == "all" and given.images is None
        if not report(told, notes, is_whole=is_whole):
            sys.exit(1)


if __name__ == "__main__":
    main()
