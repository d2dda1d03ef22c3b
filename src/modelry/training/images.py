"""What the first images of a dataset look like."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from modelry.datasets.pictures import image_files
from modelry.domain.datasets import Column
from modelry.domain.errors import RowsInvalid
from modelry.training.contract import TrainingData

PEEKED_ROWS = 256
_GRAY = frozenset({"1", "L", "LA", "I", "I;16"})


@dataclass(frozen=True, slots=True)
class Looks:
    """What the images of a dataset are like: the commonest size, and whether all are grey."""

    width: int
    height: int
    are_gray: bool


def looks(data: TrainingData, split: str, column: Column) -> Looks:
    """What the first rows tell.

    Raises:
        RowsInvalid: none of them can be read as an image.
    """
    sizes: Counter[tuple[int, int]] = Counter()
    are_gray = True
    for file in _first_files(data, split, column):
        try:
            with Image.open(io.BytesIO(file or b"")) as image:
                sizes[image.size] += 1
                are_gray = are_gray and image.mode in _GRAY
        except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
            continue  # the graph names such rows, and why
    if not sizes:
        raise RowsInvalid(
            f"None of the first {PEEKED_ROWS} rows of split '{split}' has an image in "
            f"'{column.name}' that can be read; expected PNG, JPEG or WebP files.",
            param=column.name,
        )
    width, height = min(sizes, key=lambda size: (-sizes[size], size))
    return Looks(width, height, are_gray)


def _first_files(data: TrainingData, split: str, column: Column) -> Iterator[bytes | None]:
    left = PEEKED_ROWS
    for batch in data.batches(split, [column.name], PEEKED_ROWS):
        yield from image_files(column, batch.column(0).slice(0, left))
        left -= len(batch)
        if left <= 0:
            return
