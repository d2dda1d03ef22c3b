"""Checks of boxes: inside their image, of a size, of a known class, not twice."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from modelry.datasets import forms
from modelry.datasets.validation.findings import Finding, Severity, Tally
from modelry.domain.datasets import Column, ColumnType, Schema
from modelry.processing.image_header import read_header
from modelry.processing.parameters import Unfit

TOLERANCE = 1.0
"""How many pixels a box may reach beyond its image, by rounding."""

SMALLEST = 2.0
"""Boxes with a side of less are remarked."""


class BoxChecks:
    """Looks at boxes, with the image of their row where there is just one."""

    def __init__(self, schema: Schema) -> None:
        images = [at for at, one in enumerate(schema.columns) if one.type is ColumnType.IMAGE]
        self._image = images[0] if len(images) == 1 else None
        self._columns = [
            _OneColumn(at, one)
            for at, one in enumerate(schema.columns)
            if one.type is ColumnType.BOXES
        ]
        self._unreadable = Tally()

    def add(self, split: str, row: int, batch: pa.RecordBatch) -> None:
        """Take rows; the first is number `row` of `split`."""
        if not self._columns:
            return
        sizes = np.full((len(batch), 2), np.inf)
        if self._image is not None:
            sizes = _sizes(batch.column(self._image))
            self._unreadable.add(split, row, np.isnan(sizes[:, 0]))
        for one in self._columns:
            one.add(split, row, batch, sizes)

    def findings(self) -> list[Finding]:
        """What was found."""
        found = self._unreadable.finding(
            Severity.ERROR, "unreadable-image", "Images have no header that can be read."
        )
        return found + [one for column in self._columns for one in column.findings()]


class _OneColumn:
    def __init__(self, at: int, column: Column) -> None:
        self._at = at
        self._column = column
        self._outside = Tally()
        self._flat = Tally()
        self._small = Tally()
        self._unknown = Tally()
        self._twice = Tally()
        self._bare = Tally()
        self._classes: Counter[int] = Counter()

    def add(
        self, split: str, row: int, batch: pa.RecordBatch, sizes: npt.NDArray[np.float64]
    ) -> None:
        array = batch.column(self._at).fill_null([])
        counts = pa.compute.list_value_length(array).to_numpy(zero_copy_only=False)
        boxes = forms.box_values(array)
        owner = np.repeat(np.arange(len(batch)), counts)
        label, x, y, width, height = boxes.T
        self._classes.update(Counter(label.astype(np.int64).tolist()))

        def told(tally: Tally, mask: npt.NDArray[np.bool_]) -> None:
            rows = np.zeros(len(batch), np.bool_)
            rows[owner[mask]] = True
            before = tally.count
            tally.add(split, row, rows)
            if mask.any():
                tally.count = before + int(mask.sum())  # boxes are counted, rows are named

        ends = np.stack([x + width, y + height], axis=1)
        room = sizes[owner]
        beyond = (ends > room + TOLERANCE).any(axis=1) | (np.minimum(x, y) < -TOLERANCE)
        turned = (ends > room[:, ::-1] + TOLERANCE).any(axis=1) | (np.minimum(x, y) < -TOLERANCE)
        is_bad = ~np.isfinite(boxes).all(axis=1)
        told(self._outside, (beyond & turned) | is_bad)
        is_flat = ~is_bad & ((width <= 0) | (height <= 0))
        told(self._flat, is_flat)
        told(self._small, ~is_bad & ~is_flat & (np.minimum(width, height) < SMALLEST))
        told(self._unknown, (label < 0) | (label >= len(self._column.classes)))
        told(self._twice, _again(owner, boxes))
        self._bare.add(split, row, counts == 0)

    def findings(self) -> list[Finding]:
        name = self._column.name
        error, warning, info = Severity.ERROR, Severity.WARNING, Severity.INFO
        found = self._outside.finding(
            error,
            "box-outside",
            f"{self._outside.count} boxes reach out of their image, or are no numbers.",
            name,
        )
        found += self._flat.finding(
            error, "box-without-area", f"{self._flat.count} boxes have no width or height.", name
        )
        found += self._small.finding(
            info,
            "box-small",
            f"{self._small.count} boxes have a side of less than {SMALLEST:g} pixels.",
            name,
        )
        found += self._unknown.finding(
            error,
            "unknown-class",
            f"{self._unknown.count} boxes have a class number that is none of the "
            f"{len(self._column.classes)} classes.",
            name,
        )
        found += self._twice.finding(
            warning,
            "duplicate-box",
            f"{self._twice.count} boxes stand twice in their row, with the same class.",
            name,
        )
        found += self._bare.finding(
            info, "no-box", f"{self._bare.count} rows have no box: they show background.", name
        )
        absent = [one for at, one in enumerate(self._column.classes) if not self._classes[at]]
        if absent:
            found.append(
                Finding(
                    warning,
                    "absent-class",
                    f"No box is of {len(absent)} of the classes, such as '{absent[0]}'.",
                    name,
                    len(absent),
                )
            )
        return found


def _sizes(images: pa.Array) -> npt.NDArray[np.float64]:
    """Width and height of each image, NaN where its header cannot be read."""
    sizes = np.full((len(images), 2), np.nan)
    for place, image in enumerate(images):
        if image.is_valid:
            try:
                header = read_header(image.as_py())
            except Unfit:
                continue
            sizes[place] = header.width, header.height
    return sizes


def _again(owner: npt.NDArray[np.int64], boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    again = np.ones(len(boxes), np.bool_)
    if len(boxes):
        whole = np.column_stack([owner, boxes])
        again[np.unique(whole, axis=0, return_index=True)[1]] = False
    return again
