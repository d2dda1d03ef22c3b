"""COCO annotations of one file, in compact arrays: about 30 bytes a box and 300 an image."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from modelry.datasets.importers.images import Size
from modelry.datasets.importers.json_stream import members
from modelry.datasets.importers.options import MAX_CLASSES
from modelry.datasets.importers.problems import Problems
from modelry.domain.errors import InvalidInput

MAX_IMAGES = 1_000_000
MAX_BOXES = 20_000_000


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """An image that annotations name."""

    name: str
    said: Size | None


class Annotations:
    """What a file tells of images, categories and boxes.

    Args:
        file: the JSON.
        name: of it, for messages.
        problems: told what belongs to no image.

    Raises:
        InvalidInput: it is no such file.
    """

    def __init__(self, file: IO[bytes], name: str, problems: Problems) -> None:
        self.name = name
        self.images: dict[int, AnnotatedImage] = {}
        self.categories: dict[int, str] = {}
        self.reasons: dict[int, str] = {}
        """Why rows cannot be used, by the number of their image."""
        self._problems = problems
        self._numbers: dict[int | str, int] = {}
        self._owners = array("q")
        self._classes = array("q")
        self._boxes = array("d")
        self._crowds = 0
        self._read(file)
        self._starts: Mapping[int, tuple[int, int]] = {}
        self._sort()

    def of(self, image: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Categories (n) and boxes (n, 4) of an image, in the order of the file."""
        start, end = self._starts.get(image, (0, 0))
        return self._sorted_classes[start:end], self._sorted_boxes[start:end]

    def _read(self, file: IO[bytes]) -> None:
        seen = set()
        readers = {
            "images": self._image,
            "annotations": self._annotation,
            "categories": self._category,
        }
        for key, element in members(file, self.name):
            seen.add(key)
            if key in readers:
                readers[key](element)
        for key in ("images", "annotations"):
            if key not in seen:
                raise self._refused(f"it has no list '{key}', or an empty one")
        if not self.categories:
            raise self._refused("it has no categories")
        if self._crowds:
            self._problems.note(
                f"crowds {self.name}",
                f"{self.name}: {self._crowds} boxes around crowds (iscrowd) were left out.",
            )

    def _image(self, told: Any) -> None:
        if not isinstance(told, dict) or not isinstance(told.get("file_name"), str):
            raise self._refused(f"image {len(self.images) + 1} has no file_name")
        if len(self.images) >= MAX_IMAGES:
            raise self._refused(f"it has more than {MAX_IMAGES} images")
        number = self._number(told.get("id"), f"image '{told['file_name'][:80]}'")
        width, height = told.get("width"), told.get("height")
        said = None
        if isinstance(width, int) and isinstance(height, int):
            said = Size(width, height)
        image = AnnotatedImage(told["file_name"], said)
        if number in self.images:
            raise self._refused(f"two images have the id of '{image.name[:80]}'")
        self.images[number] = image

    def _category(self, told: Any) -> None:
        place = len(self.categories) + 1
        if not isinstance(told, dict) or not isinstance(told.get("name"), str):
            raise self._refused(f"category {place} has no name")
        number = told.get("id")
        if type(number) is not int or not 0 <= number < 2**31 or number in self.categories:
            raise self._refused(f"category {place} has no id of its own from 0 on")
        if not 1 <= len(told["name"]) <= 200 or told["name"] in self.categories.values():
            raise self._refused(f"category {place} has no name of its own, of 1 to 200 characters")
        if place > MAX_CLASSES:
            raise self._refused(f"it has more than {MAX_CLASSES} categories")
        self.categories[number] = told["name"]

    def _annotation(self, told: Any) -> None:
        place = len(self._owners) + 1
        if not isinstance(told, dict):
            raise self._refused(f"annotation {place} is no object")
        if place > MAX_BOXES:
            raise self._refused(f"it has more than {MAX_BOXES} annotations")
        owner = self._number(told.get("image_id"), f"annotation {place}")
        if told.get("iscrowd") == 1:
            self._crowds += 1
            return
        box, category = told.get("bbox"), told.get("category_id", -1)
        if type(category) is not int or not 0 <= category < 2**31:
            category = -1
        if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
            box = None
        if box is None or category < 0:
            self.reasons.setdefault(
                owner,
                f"its annotation {told.get('id', place)} has no bbox of 4 numbers, or no "
                "category_id",
            )
            return
        self._owners.append(owner)
        self._classes.append(category)
        self._boxes.extend(float(one) for one in box)

    def _number(self, id_: Any, what: str) -> int:
        """A number for an id, whichever list has it first."""
        if type(id_) is not int and type(id_) is not str:
            raise self._refused(f"{what} has no id of an image")
        if len(self._numbers) > MAX_IMAGES:
            raise self._refused(f"it has ids of more than {MAX_IMAGES} images")
        return self._numbers.setdefault(id_, len(self._numbers))

    def _sort(self) -> None:
        """Put boxes in the order of their images, and see what belongs to none."""
        owners = np.frombuffer(self._owners, np.int64)
        order = np.argsort(owners, kind="stable")
        self._sorted_classes = np.frombuffer(self._classes, np.int64)[order]
        self._sorted_boxes = np.frombuffer(self._boxes, np.float64).reshape(-1, 4)[order]
        numbers, starts = np.unique(owners[order], return_index=True)
        ends = np.append(starts, len(order))[1:]
        self._starts = {
            int(number): (int(start), int(end))
            for number, start, end in zip(numbers, starts, ends, strict=True)
        }
        ids = {number: id_ for id_, number in self._numbers.items()}
        for number in sorted({*self._starts, *self.reasons} - set(self.images)):
            self._problems.bad(
                self.name, f"annotations of image {ids[number]}", "there is no image of that id"
            )
        known = np.array(sorted(self.categories), np.int64)
        unknown = np.flatnonzero(~np.isin(self._sorted_classes, known))
        for at in unknown:
            self.reasons.setdefault(
                int(owners[order[at]]),
                f"category {self._sorted_classes[at]} is not among those told",
            )

    def _refused(self, reason: str) -> InvalidInput:
        return InvalidInput(
            f"The file '{self.name}' holds no COCO annotations as expected: {reason}.",
            param=self.name,
        )


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e9 and math.isfinite(value)
