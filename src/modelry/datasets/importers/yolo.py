"""YOLO: a zip of images in `images/`, a text for each in `labels/`, classes in `data.yaml`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import yaml

from modelry.datasets.importers.archives import refusal
from modelry.datasets.importers.box_rows import Archives, BoxRow, BoxSource
from modelry.datasets.importers.contract import ImportRequest, Source
from modelry.datasets.importers.images import is_clutter, is_image_name
from modelry.datasets.importers.options import MAX_CLASSES
from modelry.datasets.importers.split_names import in_order, split_of
from modelry.domain.errors import InvalidInput
from modelry.processing.parameters import Unfit

MAX_YAML_BYTES = 2**18
MAX_BRACKETS = 100
"""Reading YAML takes time with the square of how deep brackets lie in each other."""

MAX_TEXT_BYTES = 4 * 2**20
_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")


def open_files(request: ImportRequest) -> Source:
    """Images with boxes; splits are folders, above or below `images/` and `labels/`.

    Raises:
        InvalidInput: files cannot be read, or do not go together.
    """
    if request.options.splits:
        raise InvalidInput(
            "Splits of YOLO sets are the folders in their zip; leave the option out.",
            param="splits",
        )
    images: dict[str, list[tuple[str, str]]] = {}
    with Archives(request.files) as archives:
        classes = tuple(request.options.classes) or _class_names(archives)
        for archive in archives:
            _collect(archive, archives, images)
    if not images:
        raise InvalidInput("There is no image in a folder 'images/'.", param="files")
    if "" in images and len(images) > 1:
        raise InvalidInput(
            f"Some images lie in folders of splits, '{images[''][0][1][:200]}' does not.",
            param="files",
        )
    splits = {split: _Rows(images[split], len(classes), request) for split in in_order(images)}
    return BoxSource(request, classes, splits)


def _collect(
    archive: str,
    archives: Archives,
    images: dict[str, list[tuple[str, str]]],
) -> None:
    texts = set()
    used = set()
    for entry in archives[archive].entries:
        parts = entry.name.split("/")
        if is_clutter(parts):
            continue
        if "labels" in parts and parts[-1].endswith(".txt"):
            texts.add(entry.name)
        elif "images" in parts[:-1] and is_image_name(parts[-1]):
            split = split_of("/".join(parts[:-1])) or ""
            images.setdefault(split, []).append((archive, entry.name))
            used.add(_text_of(entry.name))
    for left in sorted(texts - used)[:1]:
        raise InvalidInput(
            f"'{left[:200]}' of '{archive}' tells boxes of an image that is not there; "
            f"{len(texts - used)} such files are too many. Add the images, or leave the files out.",
            param=archive,
        )


def _text_of(image: str) -> str:
    """The labels' file of an image: the last folder `images` is `labels`."""
    parts = image.split("/")
    at = len(parts) - 1 - parts[::-1].index("images")
    parts[at] = "labels"
    return "/".join(parts)[: -len(parts[-1])] + parts[-1].rpartition(".")[0] + ".txt"


def _class_names(archives: Archives) -> tuple[str, ...]:
    for archive in archives:
        for entry in archives[archive].entries:
            if entry.name.split("/")[-1].lower() in _NAMES:
                return _names_in(archives[archive].read(entry.name, MAX_YAML_BYTES), archive)
    raise InvalidInput(
        "There is no data.yaml with the names of the classes; add one, or give them as classes.",
        param="classes",
    )


class _PlainLoader(yaml.SafeLoader):
    """Without references: a few lines of them can stand for endless lists."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("references (*name) are not read")
        return super().compose_node(parent, index)


def _names_in(data: bytes, archive: str) -> tuple[str, ...]:
    try:
        if data.count(b"{") + data.count(b"[") > MAX_BRACKETS:
            raise ValueError("it has too many brackets")
        told = yaml.load(data, _PlainLoader)  # noqa: S506 - a safe loader, made stricter
        names = told["names"]
        if isinstance(names, dict):
            if sorted(names) != list(range(len(names))):
                raise ValueError("its names are not numbered from 0 on")
            names = [names[number] for number in range(len(names))]
        classes = tuple(str(one) for one in names if isinstance(one, str | int))
        if (
            not 1 <= len(classes) <= MAX_CLASSES
            or len(classes) != len(names)
            or len(set(classes)) != len(classes)
            or not all(1 <= len(one) <= 200 for one in classes)
        ):
            raise ValueError("its names are no list of different names")
    except (yaml.YAMLError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise refusal(
            archive,
            f"its data.yaml does not tell the names of the classes ({str(error)[:100]})",
        ) from None
    return classes


class _Rows:
    """The rows of a split, made one by one."""

    def __init__(
        self, images: Sequence[tuple[str, str]], classes: int, request: ImportRequest
    ) -> None:
        self._images = images
        self._classes = classes
        self._files: Mapping[str, Any] = request.files

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[BoxRow]:
        with Archives(self._files) as archives:
            for archive, entry in self._images:
                labels: list[int] = []
                boxes: list[list[float]] = []
                reason = ""
                text = _text_of(entry)
                if text in archives[archive]:
                    try:
                        data = archives[archive].read(text, MAX_TEXT_BYTES)
                        labels, boxes = _read_boxes(data, self._classes)
                    except (Unfit, InvalidInput) as error:
                        reason = f"{text.rpartition('/')[2]}: {error}"
                yield BoxRow(
                    archive,
                    f"entry {entry}",
                    entry,
                    archive,
                    entry,
                    np.array(labels, np.int32),
                    np.array(boxes, np.float64).reshape(-1, 4),
                    is_relative=True,
                    reason=reason,
                )


def _read_boxes(data: bytes, classes: int) -> tuple[list[int], list[list[float]]]:
    """Class numbers, and boxes as x, y, width, height in parts of the image."""
    labels, boxes = [], []
    for place, line in enumerate(data.splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 5:
            raise Unfit(
                f"line {place} has {len(words)} values; expected a class and a box: number, "
                "centre x, centre y, width, height (polygons are not read)"
            )
        try:
            label = int(words[0])
            x, y, width, height = (float(word) for word in words[1:])
        except ValueError:
            raise Unfit(f"line {place} has a value that is no number") from None
        if not 0 <= label < classes:
            raise Unfit(f"line {place} has class {label}; there are {classes}, from 0 on")
        if not all(math.isfinite(one) and abs(one) <= 2 for one in (x, y, width, height)):
            raise Unfit(f"line {place} has a box that is not in parts (0 to 1) of its image")
        labels.append(label)
        boxes.append([x - width / 2, y - height / 2, width, height])
    return labels, boxes
