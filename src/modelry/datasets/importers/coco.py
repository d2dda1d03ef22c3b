"""COCO: annotations in JSON, images in zips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np

from modelry.datasets.importers.box_rows import Archives, BoxRow, BoxSource, is_zip
from modelry.datasets.importers.classes import given_or_found
from modelry.datasets.importers.coco_annotations import Annotations
from modelry.datasets.importers.contract import ImportRequest, Source
from modelry.datasets.importers.images import is_clutter, is_image_name
from modelry.datasets.importers.split_names import assign, split_of
from modelry.datasets.importers.streams import open_stream
from modelry.domain.errors import InvalidInput

Places = Mapping[str, Sequence[tuple[str, str]]]


def open_files(request: ImportRequest) -> Source:
    """Images with boxes; a file of annotations per split, beside the zips or in one of them.

    Raises:
        InvalidInput: files cannot be read, or do not go together.
    """
    with Archives(request.files) as archives:
        names = [name for name, path in request.files.items() if not is_zip(path)]
        inner = {
            f"{archive}/{entry.name}": (archive, entry.name)
            for archive in archives
            for entry in archives[archive].entries
            if entry.name.lower().endswith(".json") and not is_clutter(entry.name.split("/"))
        }
        if not names and not inner:
            raise InvalidInput(
                "There is no JSON with annotations, beside the zips or in them.", param="files"
            )
        by_split = assign([*names, *inner], request.options.splits)
        for split, files in by_split.items():
            if len(files) > 1:
                where = f"split '{split}'" if split else "one split"
                raise InvalidInput(
                    f"There are several files of annotations for {where}: {', '.join(files[:5])}. "
                    "Give one for each, or splits={split: [files]}.",
                    param="files",
                )
        read: dict[str, Annotations] = {}
        for split, (file,) in by_split.items():
            request.problems.begin(f"annotations {split}")
            if file in inner:
                archive, entry = inner[file]
                with archives[archive].open(entry) as stream:
                    read[split] = Annotations(stream, file, request.problems)
            else:
                with open_stream(request.files[file], file) as stream:
                    read[split] = Annotations(stream, file, request.problems)
        places = _places(archives)
    classes, numbers = _classes(read, request)
    splits = {split: _Rows(split, told, numbers, places) for split, told in read.items()}
    return BoxSource(request, classes, splits)


def _places(archives: Archives) -> Places:
    """Where images lie, by the last part of their names."""
    places: dict[str, list[tuple[str, str]]] = {}
    for archive in archives:
        for entry in archives[archive].entries:
            parts = entry.name.split("/")
            if is_image_name(parts[-1]) and not is_clutter(parts):
                places.setdefault(parts[-1], []).append((archive, entry.name))
    return places


def _classes(
    read: Mapping[str, Annotations], request: ImportRequest
) -> tuple[tuple[str, ...], dict[int, int]]:
    """Names of the classes in the order of their ids, and their numbers by id."""
    names: dict[int, str] = {}
    for split, told in read.items():
        for number, name in told.categories.items():
            if names.setdefault(number, name) != name:
                raise InvalidInput(
                    f"Category {number} is '{name[:80]}' in split '{split}' and "
                    f"'{names[number][:80]}' in another; all must name the same.",
                    param="files",
                )
    if len(set(names.values())) != len(names):
        raise InvalidInput("Two categories with different ids have the same name.", param="files")
    given = request.options.classes
    ordered = (
        given_or_found(names.values(), given)
        if given
        else tuple(names[number] for number in sorted(names))
    )
    return ordered, {number: ordered.index(name) for number, name in names.items()}


class _Rows:
    """The rows of a split, made one by one."""

    def __init__(
        self, split: str, annotations: Annotations, numbers: Mapping[int, int], places: Places
    ) -> None:
        self._split = split
        self._annotations = annotations
        self._numbers = numbers
        self._places = places

    def __len__(self) -> int:
        return len(self._annotations.images)

    def __iter__(self) -> Iterator[BoxRow]:
        told = self._annotations
        for number, image in told.images.items():
            classes, boxes = told.of(number)
            place = self._place(image.name)
            reason = told.reasons.get(number, "") or ("" if place else self._missing(image.name))
            archive, entry = place or ("", "")
            yield BoxRow(
                told.name,
                f"image {image.name}",
                image.name,
                archive,
                entry,
                np.array([self._numbers.get(int(one), -1) for one in classes], np.int32),
                boxes,
                said=image.said,
                reason=reason,
            )

    def _place(self, name: str) -> tuple[str, str] | None:
        """The only entry that is called so, in any folder, or in one of this split's."""
        found = self._candidates(name)
        if len(found) > 1:
            found = [one for one in found if split_of(one[1]) == self._split]
        return found[0] if len(found) == 1 else None

    def _candidates(self, name: str) -> list[tuple[str, str]]:
        plain = PurePosixPath(name)
        same = self._places.get(plain.name, ())
        exact = [one for one in same if one[1] == name]
        return exact or [one for one in same if one[1].endswith("/" + name)]

    def _missing(self, name: str) -> str:
        count = len(self._candidates(name))
        return f"{count} files in the zips are called so" if count else "it is not in the zips"
