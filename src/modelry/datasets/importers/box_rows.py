"""Rows of an image and boxes: found in archives, looked at, checked against each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from modelry.datasets.importers.archives import Archive, open_archive
from modelry.datasets.importers.batches import RowBatches
from modelry.datasets.importers.contract import ImportRequest
from modelry.datasets.importers.images import MAX_IMAGE_BYTES, Size, look_at
from modelry.domain.datasets import Column, ColumnRole, ColumnType, Schema
from modelry.domain.errors import InvalidInput
from modelry.processing.parameters import Unfit

TOLERANCE = 1.0
"""By how many pixels boxes may reach beyond their image through rounding; they are cut there."""


@dataclass(frozen=True, slots=True)
class BoxRow:
    """An image with its objects.

    Attributes:
        file: what names bad boxes: the annotations' file.
        place: where in it.
        name: of the image, as rows keep it.
        archive: that holds the image; "" if there is none.
        entry: of the archive.
        labels: numbers of classes, one per box.
        boxes: (n, 4) x, y, width, height.
        is_relative: whether boxes are in parts of the image's width and height, else in pixels.
        said: the image's size as the annotations say it; None if they don't.
        reason: why the row cannot be used; "" if it can as far as is known.
    """

    file: str
    place: str
    name: str
    archive: str
    entry: str
    labels: npt.NDArray[np.int32]
    boxes: npt.NDArray[np.float64]
    is_relative: bool = False
    said: Size | None = None
    reason: str = ""


class BoxSource:
    """Implements `Source` for annotated images.

    Args:
        request: what to import; its options are `BoxOptions`.
        classes: their names in the order of their numbers.
        splits: gives the rows of each split.
    """

    def __init__(
        self,
        request: ImportRequest,
        classes: Sequence[str],
        splits: Mapping[str, Any],
    ) -> None:
        self.problems = request.problems
        self._request = request
        self._splits = splits
        self.schema = Schema(
            (
                Column("image", ColumnType.IMAGE),
                Column("boxes", ColumnType.BOXES, ColumnRole.LABEL, classes=tuple(classes)),
                Column("file", ColumnType.TEXT, ColumnRole.ID),
            )
        )

    @property
    def splits(self) -> Sequence[str]:
        """See `Source.splits`."""
        return tuple(self._splits)

    def rows(self, split: str) -> Iterator[pa.RecordBatch]:
        """See `Source.rows`."""
        self.problems.begin(split)
        batches = RowBatches(self.schema, self.problems)
        rows: Sequence[BoxRow] | Any = self._splits[split]
        with Archives(self._request.files) as archives:
            for done, row in enumerate(rows, start=1):
                try:
                    data = self._image(row, archives)
                    boxes = self._boxes(row, look_at(data))
                except (Unfit, InvalidInput) as reason:
                    self.problems.bad(row.file, row.place, str(reason))
                    continue
                yield from batches.add((data, boxes, row.name), len(data) + 100 * len(boxes))
                if done % 64 == 0:
                    self._request.watch("reading", done, len(rows))
        yield from batches.rest()
        self.problems.settle()

    def _image(self, row: BoxRow, archives: Archives) -> bytes:
        if row.reason:
            raise Unfit(row.reason)
        return archives[row.archive].read(row.entry, MAX_IMAGE_BYTES)

    def _boxes(self, row: BoxRow, size: Size) -> list[dict[str, float]]:
        """Boxes in pixels within the image.

        Raises:
            Unfit: one has no area, or lies outside.
        """
        if row.said is not None and row.said != size:
            raise Unfit(
                f"its image has {size.width} x {size.height} pixels, the annotations are made for "
                f"{row.said.width} x {row.said.height}"
            )
        boxes = row.boxes
        if row.is_relative:
            boxes = boxes * np.array([size.width, size.height] * 2)
        starts, ends = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
        room = np.array([size.width, size.height])
        for at in np.flatnonzero(~(boxes[:, 2:] > 0).all(axis=1)):
            raise Unfit(f"box {at + 1} has no width or height: {_shown(boxes[at])}")
        outside = (starts < -TOLERANCE).any(axis=1) | (ends > room + TOLERANCE).any(axis=1)
        if outside.any() and self._request.options.boxes_outside == "refuse":
            first = int(np.flatnonzero(outside)[0])
            raise Unfit(
                f"box {first + 1} {_shown(boxes[first])} lies outside its image of {size.width} x "
                f"{size.height} pixels; import with boxes_outside=clip to cut such"
            )
        starts, ends = np.clip(starts, 0, room), np.clip(ends, 0, room)
        sides = ends - starts
        told = []
        for label, start, side in zip(row.labels, starts, sides, strict=True):
            if (side > 0).all():
                x, y, width, height = (float(one) for one in (*start, *side))
                told.append({"label": int(label), "x": x, "y": y, "width": width, "height": height})
        if len(told) < len(boxes):
            self.problems.note(
                f"gone {row.name}",
                f"{row.name}: {len(boxes) - len(told)} boxes lie outside the image altogether and "
                "were left out.",
            )
        return told


class Archives:
    """All zips of an import, open; by name."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = {name: path for name, path in files.items() if is_zip(path)}
        self._stack = ExitStack()
        self._open: dict[str, Archive] = {}

    def __enter__(self) -> Self:
        for name, path in self._files.items():
            self._open[name] = self._stack.enter_context(open_archive(path, name))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __getitem__(self, name: str) -> Archive:
        return self._open[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._open)


def is_zip(path: Path) -> bool:
    """Whether a file is a zip by its first bytes."""
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _shown(box: npt.NDArray[np.float64]) -> str:
    return "[" + ", ".join(f"{one:g}" for one in box) + "]"
