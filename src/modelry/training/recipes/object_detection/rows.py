"""Rows as the network learns from them: images through the version's own processing graph.

The graph that will serve the version makes the pixels, and its geometry moves the boxes, so
training sees exactly what serving will see.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from modelry.domain.datasets import Column
from modelry.domain.errors import Cancelled, InvalidInput, RowsInvalid
from modelry.processing.values import Geometry
from modelry.training.contract import Run, TrainingData
from modelry.training.recipes.object_detection.serving import Served

READ_AT_ONCE = 64
MAX_NAMED = 5
OUTSIDE_PX = 1.0
"""How far a box may reach beyond its image, as rounding does; it is cut there."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """All images of a split, in memory, with what is in them.

    Attributes:
        pixels: (n, 3, side, side) bytes, as the engine will get them.
        boxes: of each image (k, 4) as x0, y0, x1, y1 in pixels of `pixels`.
        classes: of each image (k,) numbers.
        geometry: of each image, how its input lies in the original.
    """

    pixels: npt.NDArray[np.uint8]
    boxes: Sequence[npt.NDArray[np.float32]]
    classes: Sequence[npt.NDArray[np.int64]]
    geometry: Sequence[Geometry]

    def __len__(self) -> int:
        return len(self.boxes)

    def take(self, places: npt.NDArray[np.int64]) -> Pictures:
        """The images at these places."""
        return Pictures(
            self.pixels[places],
            *([held[at] for at in places] for held in (self.boxes, self.classes, self.geometry)),
        )


def read(
    data: TrainingData, split: str, columns: tuple[Column, Column], served: Served, run: Run
) -> Pictures:
    """Read a split.

    Args:
        data: the dataset.
        split: its name.
        columns: those of images and of boxes.
        served: what makes input of images.
        run: told how far it is.

    Raises:
        RowsInvalid: images that cannot be decoded, boxes that are none; names the rows.
        Cancelled: the run was stopped.
    """
    count = data.description.rows[split]
    pixels = np.empty((count, 3, served.side, served.side), dtype=np.uint8)
    boxes: list[npt.NDArray[np.float32]] = []
    classes: list[npt.NDArray[np.int64]] = []
    geometry: list[Geometry] = []
    problems = _Problems(split)
    for at, (image, objects) in enumerate(_rows(data, split, columns)):
        if at % READ_AT_ONCE == 0:
            run.progress(at, count, "rows", f"reading {split}")
            if run.stop.is_set():
                raise Cancelled(f"Training was stopped while '{split}' was read.")
        try:
            made, context = served.graph.before([{"image": image}])
            assert context.geometry is not None
            where = context.geometry[0]
            corners, labels = _objects(objects, where, len(served.classes))
        except InvalidInput as error:
            problems.add(at + 1, error.message)
            continue
        (pixels[at],) = next(iter(made.values()))
        boxes.append(_to_input(corners, where))
        classes.append(labels)
        geometry.append(where)
    problems.complain()
    return Pictures(pixels, boxes, classes, geometry)


def _rows(
    data: TrainingData, split: str, columns: tuple[Column, Column]
) -> Iterator[tuple[Any, Any]]:
    for batch in data.batches(split, [one.name for one in columns], READ_AT_ONCE):
        images, boxes = batch.column(0), batch.column(1)
        for at in range(batch.num_rows):
            yield images[at].as_py(), boxes[at].as_py()


def _objects(
    objects: Sequence[Mapping[str, Any]], image: Geometry, class_count: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Corners (k, 4) in pixels of the original, and classes (k,).

    Raises:
        InvalidInput: a box is none.
    """
    corners, classes = [], []
    limits = [image.width, image.height] * 2
    for number, one in enumerate(objects, 1):
        x, y, width, height = (float(one[name]) for name in ("x", "y", "width", "height"))
        box = [x, y, x + width, y + height]
        told = f"box {number} [{x:g}, {y:g}, {width:g}, {height:g}]"
        if not np.isfinite(box).all() or width <= 0 or height <= 0:
            raise InvalidInput(f"{told} is empty, or no numbers")
        if min(box) < -OUTSIDE_PX or any(
            at > limit + OUTSIDE_PX for at, limit in zip(box, limits, strict=True)
        ):
            raise InvalidInput(f"{told} reaches out of its image of {image.width} x {image.height}")
        if not 0 <= one["label"] < class_count:
            raise InvalidInput(f"{told} has class {one['label']}; there are {class_count}")
        corners.append(np.clip(box, 0, limits))
        classes.append(int(one["label"]))
    return np.array(corners, np.float64).reshape(-1, 4), np.array(classes, np.int64)


def _to_input(corners: npt.NDArray[np.float64], image: Geometry) -> npt.NDArray[np.float32]:
    scale = np.array([image.scale_x, image.scale_y] * 2)
    shift = np.array([image.shift_x, image.shift_y] * 2)
    moved: npt.NDArray[np.float32] = (corners * scale + shift).astype(np.float32)
    return moved


@dataclass(slots=True)
class _Problems:
    """Rows that cannot be used: the first ones with their reasons, all of them counted."""

    split: str
    count: int = 0
    named: list[str] = field(default_factory=list)

    def add(self, row: int, reason: str) -> None:
        self.count += 1
        if len(self.named) < MAX_NAMED:
            self.named.append(f"row {row}: {reason.rstrip('.')}")

    def complain(self) -> None:
        if self.count:
            more = f" (and {self.count - MAX_NAMED} more)" if self.count > MAX_NAMED else ""
            raise RowsInvalid(
                f"{self.count} rows of split '{self.split}' cannot be used: "
                f"{'; '.join(self.named)}{more}. Derive a version without them, or mend them and "
                "import again."
            )
