"""A made detection set with exact boxes: real garments pasted on real photos.

Objects are Fashion-MNIST's pictures, its own training ones for training and validation, its own
test ones for the test; grounds are parts of photos of scikit-image and scikit-learn, the right part
of each for the test and the rest for training. So no pixel of the test split was seen before. Every
picture is coloured, scaled and placed at random (seeded); its box is that of its opaque pixels.
Kinds that are hard to tell apart at 28 x 28 pixels (shirts, coats and dresses; shoes) are one
class: what is measured is detection.

    python -m benchmarks.made_detection made --photos FOLDER --objects FOLDER

`--objects` has the four IDX files of the Debian package `dataset-fashion-mnist`; `--photos` is the
folder `skimage/data` of scikit-image (its own photos; scikit-learn's are taken from where it is
installed). Writes `images.zip` and, in COCO's form, `train.json`, `validation.json`, `test.json`.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = ("garment", "trousers", "shoe", "bag")
_CLASS_OF = (0, 1, 0, 0, 0, 2, 0, 2, 3, 2)  # of Fashion-MNIST's: T-shirt, trouser, pullover, ...
PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "brick.png",
          "gravel.png", "ihc.png", "china.jpg", "rocket.jpg", "hubble_deep_field.jpg", "grass.png",
          "coins.png", "flower.jpg")  # fmt: skip
TEST_SHARE = 0.35
"""Of each photo's width, from the right."""
OBJECTS = Path("/usr/share/datasets/fashion-mnist")
COUNTS = {"train": 2000, "validation": 100, "test": 400}
MIN_SIDE, MAX_SIDE = 112, 144
MIN_OBJECT, MAX_OBJECT = 48, 100
MAX_OBJECTS = 3
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


def parts_of(split: str, objects: Path, photos: Path) -> Parts:
    """The parts of a split; those of `test` are in no other."""
    prefix = "t10k" if split == "test" else "train"
    pictures = _idx(objects / f"{prefix}-images-idx3-ubyte.gz")
    labels = np.array(_CLASS_OF)[_idx(objects / f"{prefix}-labels-idx1-ubyte.gz")]
    if split != "test":  # no picture is in both
        half = slice(0, 50_000) if split == "train" else slice(50_000, None)
        pictures, labels = pictures[half], labels[half]
    grounds = [_part(_photo(name, photos), is_test=split == "test") for name in PHOTOS]
    return Parts(pictures, labels, grounds)


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


def write(folder: Path, objects: Path, photos: Path, counts: dict[str, int], seed: int) -> None:
    """Make all splits and write them into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / "images.zip", "w", zipfile.ZIP_STORED) as archive:
        for at, (split, count) in enumerate(counts.items()):
            document = _document()
            parts = parts_of(split, objects, photos)
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


def _ground(random: np.random.Generator, photos: Sequence[Image.Image]) -> Image.Image:
    """A part of a photo, of random place, scale and sides."""
    width, height = (int(side) for side in random.integers(MIN_SIDE, MAX_SIDE + 1, 2))
    photo = photos[int(random.integers(len(photos)))]
    most = min(2.0, photo.width / width, photo.height / height)
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


def _idx(file: Path) -> np.ndarray:
    if not file.is_file():
        sys.exit(f"There is no {file}; give the folder of Fashion-MNIST's IDX files (--objects).")
    data = gzip.decompress(file.read_bytes())
    ranks = data[3]
    shape = np.frombuffer(data, ">i4", ranks, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * ranks).reshape(shape)


def _part(photo: Image.Image, *, is_test: bool) -> Image.Image:
    cut = round(photo.width * (1 - TEST_SHARE))
    return photo.crop((cut if is_test else 0, 0, photo.width if is_test else cut, photo.height))


def _photo(name: str, photos: Path) -> Image.Image:
    file = photos / name
    if not file.is_file():
        from sklearn import datasets

        file = Path(datasets.__file__).parent / "images" / name
    if not file.is_file():
        sys.exit(f"There is no {name} in {photos}; give scikit-image's folder data (--photos).")
    with Image.open(file) as photo:
        return photo.convert("RGB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where it is written")
    parser.add_argument("--objects", type=Path, default=OBJECTS)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    for split, count in COUNTS.items():
        parser.add_argument(f"--{split}", type=int, default=count, help="how many images")
    given = parser.parse_args()
    counts = {split: getattr(given, split) for split in COUNTS}
    write(given.folder, given.objects, given.photos, counts, given.seed)


if __name__ == "__main__":
    main()
