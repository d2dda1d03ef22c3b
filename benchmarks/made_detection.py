"""A made detection set with exact boxes: real garments pasted on real photos.

Objects are Fashion-MNIST's pictures, its own training ones for training and validation (no picture
in both), its own test ones for the test; grounds are pieces of the photos of `benchmarks.photos`,
which are held out whole. So a split shares no object and no photo with another one. Every picture
is coloured, scaled and placed at random (seeded); its box is that of its opaque pixels. Kinds that
classifiers take for each other are one class, by the rule of `benchmarks.kinds`: what is measured
is detection.

    python -m benchmarks.made_detection made

Writes `images.zip` and, in COCO's form, `train.json`, `validation.json`, `test.json`. Pictures and
photos are fetched once by the ordinary package managers.
"""

from __future__ import annotations

import argparse
import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import photos
from benchmarks.training_data import fashion_mnist

CLASSES = ("top", "trousers", "dress", "sandal", "sneaker", "bag", "boot")
CLASS_OF = (0, 1, 0, 2, 0, 3, 0, 4, 5, 6)
"""Of Fashion-MNIST's kinds: T-shirt, trousers, pullover, dress, coat, sandal, shirt, sneaker, bag,
ankle boot."""
TRAIN_PICTURES = 50_000
"""Of its 60,000 training pictures; the others are for validation."""
COUNTS = {"train": 6000, "validation": 200, "test": 500}
MIN_SIDE, MAX_SIDE = 112, 144
MIN_OBJECT, MAX_OBJECT = 48, 100
MAX_OBJECTS = 3
MAX_ZOOM = 2.0
"""How many pixels of a photo one of an image shows at most, along a side."""
_OPAQUE = 128
_MAX_OVERLAP = 0.05
_QUALITY = 92


@dataclass(frozen=True)
class Placed:
    """An object in an image: class and box x, y, width, height in pixels."""

    label: int
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class Made:
    """An image and what is in it."""

    image: Image.Image
    objects: Sequence[Placed]


@dataclass(frozen=True)
class Parts:
    """What a split is made of: pictures (n, 28, 28), their classes, and grounds."""

    pictures: np.ndarray
    labels: np.ndarray
    photos: Sequence[Image.Image]


def parts_of(split: str, objects: Path | None = None) -> Parts:
    """The parts of a split, which are in no other; `objects` has Fashion-MNIST's files."""
    pictures, kinds = fashion_mnist("test" if split == "test" else "train", objects)
    labels = np.array(CLASS_OF)[kinds]
    if split != "test":
        part = slice(0, TRAIN_PICTURES) if split == "train" else slice(TRAIN_PICTURES, None)
        pictures, labels = pictures[part], labels[part]
    held = photos.photos()
    return Parts(pictures, labels, [held[name] for name in photos.of_split(split, list(held))])


def made(parts: Parts, count: int, seed: int) -> Iterator[Made]:
    """So many images; the same for the same parts and seed."""
    random = np.random.default_rng(seed)
    by_class = [np.flatnonzero(parts.labels == label) for label in range(len(CLASSES))]
    for _ in range(count):
        sheet = _ground(random, parts.photos)
        placed: list[Placed] = []
        for _ in range(int(random.integers(1, MAX_OBJECTS + 1))):
            label = int(random.integers(len(CLASSES)))
            picture = parts.pictures[random.choice(by_class[label])]
            one = _paste(random, sheet, picture, label, placed)
            placed += [one] if one else []
        yield Made(sheet, placed)


def write(folder: Path, counts: dict[str, int], seed: int, objects: Path | None = None) -> None:
    """Make all splits and write them into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / "images.zip", "w", zipfile.ZIP_STORED) as archive:
        for at, (split, count) in enumerate(counts.items()):
            document = _document()
            parts = parts_of(split, objects)
            for number, one in enumerate(made(parts, count, seed * 1000 + at)):
                name = f"{split}-{number:05}.jpg"
                archive.writestr(zipfile.ZipInfo(name), encoded(one.image))
                _add(document, name, one)
            (folder / f"{split}.json").write_text(json.dumps(document))


def encoded(image: Image.Image) -> bytes:
    """As a JPEG file."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def _document() -> dict[str, Any]:
    categories = [{"id": at + 1, "name": name} for at, name in enumerate(CLASSES)]
    return {"images": [], "annotations": [], "categories": categories}


def _add(document: dict[str, Any], name: str, one: Made) -> None:
    number = len(document["images"]) + 1
    width, height = one.image.size
    document["images"].append({"id": number, "file_name": name, "width": width, "height": height})
    for placed in one.objects:
        document["annotations"].append(
            {"id": len(document["annotations"]) + 1, "image_id": number, "iscrowd": 0,
             "category_id": placed.label + 1, "bbox": list(placed.box),
             "area": placed.box[2] * placed.box[3]}
        )  # fmt: skip


def _ground(random: np.random.Generator, grounds: Sequence[Image.Image]) -> Image.Image:
    """A part of a photo, of random place, scale and sides."""
    width, height = (int(side) for side in random.integers(MIN_SIDE, MAX_SIDE + 1, 2))
    photo = grounds[int(random.integers(len(grounds)))]
    most = min(MAX_ZOOM, photo.width / width, photo.height / height)
    scale = random.uniform(min(1.0, most), most)
    cut = int(width * scale), int(height * scale)
    left = int(random.integers(photo.width - cut[0] + 1))
    top = int(random.integers(photo.height - cut[1] + 1))
    part = photo.crop((left, top, left + cut[0], top + cut[1])).resize((width, height))
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else part


def _paste(
    random: np.random.Generator,
    sheet: Image.Image,
    picture: np.ndarray,
    label: int,
    placed: Sequence[Placed],
) -> Placed | None:
    """Put a picture where it covers none of the others; None when ten places did not do."""
    side = round(float(np.exp(random.uniform(np.log(MIN_OBJECT), np.log(MAX_OBJECT)))))
    gray = Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC)
    mask = Image.fromarray(np.uint8(255) * (picture > 8)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    opaque = np.asarray(mask) >= _OPAQUE
    if not opaque.any():
        return None
    rows, columns = np.flatnonzero(opaque.any(1)), np.flatnonzero(opaque.any(0))
    low, high = (int(columns[0]), int(rows[0])), (int(columns[-1]) + 1, int(rows[-1]) + 1)
    width, height = high[0] - low[0], high[1] - low[1]
    if width > sheet.width or height > sheet.height:
        return None
    for _ in range(10):
        x = int(random.integers(sheet.width - width + 1))
        y = int(random.integers(sheet.height - height + 1))
        box = x, y, width, height
        if all(_shared(box, other.box) <= _MAX_OVERLAP for other in placed):
            break
    else:
        return None
    tint = random.uniform(0.35, 1.0, 3)
    coloured = (40 + np.asarray(gray)[..., None] * tint * (215 / 255)).clip(0, 255).astype(np.uint8)
    cut = slice(low[1], high[1]), slice(low[0], high[0])
    sheet.paste(Image.fromarray(coloured[cut]), (x, y), Image.fromarray(opaque[cut]))
    return Placed(label, box)


def _shared(one: Sequence[int], other: Sequence[int]) -> float:
    """Area of both together, as a share of the smaller."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    smaller = min(one[2] * one[3], other[2] * other[3])
    return max(0, width) * max(0, height) / smaller


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where it is written")
    parser.add_argument("--objects", type=Path, help="a folder with Fashion-MNIST's IDX files")
    parser.add_argument("--seed", type=int, default=1)
    for split, count in COUNTS.items():
        parser.add_argument(f"--{split}", type=int, default=count, help="how many images")
    given = parser.parse_args()
    counts = {split: getattr(given, split) for split in COUNTS}
    write(given.folder, counts, given.seed, given.objects)


if __name__ == "__main__":
    main()
