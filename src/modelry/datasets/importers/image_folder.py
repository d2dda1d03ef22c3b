"""A folder of images per class, in a zip, with folders per split above them or not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from modelry.datasets.importers.archives import Entry, open_archive
from modelry.datasets.importers.batches import RowBatches
from modelry.datasets.importers.classes import given_or_found
from modelry.datasets.importers.contract import ImportRequest, Source
from modelry.datasets.importers.images import MAX_IMAGE_BYTES, is_clutter, is_image_name, look_at
from modelry.datasets.importers.split_names import in_order, split_of
from modelry.domain.datasets import Column, ColumnRole, ColumnType, Schema
from modelry.domain.errors import InvalidInput
from modelry.processing.parameters import Unfit


@dataclass(frozen=True, slots=True)
class _Picture:
    archive: str
    entry: str
    label: str


def open_files(request: ImportRequest) -> Source:
    """Images in zips, labelled by the folder that they lie in.

    Raises:
        InvalidInput: no zip, no folders, or images that lie in none.
    """
    found: dict[str, list[_Picture]] = {}
    for name, path in request.files.items():
        with open_archive(path, name) as archive:
            _collect(name, archive.entries, request, found)
    if not found:
        raise InvalidInput(
            "There is no image in it; expected PNG, JPEG or WebP files in one folder per class, "
            "such as cat/1.png and dog/2.png, or train/cat/1.png and test/cat/2.png.",
            param="files",
        )
    if "" in found and len(found) > 1:
        example = found[""][0]
        raise InvalidInput(
            f"Some images lie in folders of splits, '{example.entry}' of '{example.archive}' does "
            "not; expected all of them in train/, validation/ or test/, or none.",
            param="files",
        )
    return ImageFolder(request, {split: found[split] for split in in_order(found)})


def _collect(
    archive: str,
    entries: Sequence[Entry],
    request: ImportRequest,
    found: dict[str, list[_Picture]],
) -> None:
    split_of_archive = next(
        (split for split, names in request.options.splits.items() if archive in names), None
    )
    paths: list[tuple[str, ...]] = []
    for entry in entries:
        parts = tuple(entry.name.split("/"))
        if is_clutter(parts):
            continue
        if not is_image_name(parts[-1]) and len(parts) == 1:
            request.problems.note(
                f"{archive}/{entry.name}",
                f"{archive}: '{entry.name[:200]}' is no image; it was left out.",
            )
            continue
        paths.append(parts)
    top = _common_folders(paths)
    for parts in paths:
        folders = parts[top:-1]
        split = split_of_archive
        if split is None and len(folders) >= 2 and split_of(folders[0]) is not None:
            split, folders = split_of(folders[0]), folders[1:]
        if len(folders) != 1:
            raise InvalidInput(
                f"'{'/'.join(parts)[:200]}' of '{archive}' lies in "
                f"{'no folder' if not folders else '/'.join(folders)[:200]}; expected one folder "
                "that names its class, below one for its split or not.",
                param="files",
            )
        picture = _Picture(archive, "/".join(parts), folders[0])
        found.setdefault(split or "", []).append(picture)


def _common_folders(paths: Sequence[tuple[str, ...]]) -> int:
    """How many folders on top hold everything and are neither a split's nor the only class's."""
    top = 0
    while paths and all(len(one) > top + 2 for one in paths):
        names = {one[top] for one in paths}
        if len(names) > 1 or split_of(next(iter(names))) is not None:
            break
        top += 1
    return top


class ImageFolder:
    """Implements `Source`; images come in an order that mixes the classes, always the same."""

    def __init__(self, request: ImportRequest, found: Mapping[str, list[_Picture]]) -> None:
        self.problems = request.problems
        self._files: Mapping[str, Path] = request.files
        self._watch = request.watch
        self._found = found
        labels = {one.label for pictures in found.values() for one in pictures}
        self.schema = Schema(
            (
                Column("image", ColumnType.IMAGE),
                Column(
                    "label",
                    ColumnType.TEXT,
                    ColumnRole.LABEL,
                    classes=given_or_found(labels, request.options.classes),
                ),
                Column("file", ColumnType.TEXT, ColumnRole.ID),
            )
        )

    @property
    def splits(self) -> Sequence[str]:
        """See `Source.splits`."""
        return tuple(self._found)

    def rows(self, split: str) -> Iterator[pa.RecordBatch]:
        """See `Source.rows`."""
        self.problems.begin(split)
        batches = RowBatches(self.schema, self.problems)
        pictures = self._found[split]
        done = 0
        for name, path in self._files.items():
            mine = sorted((one for one in pictures if one.archive == name), key=_mixing)
            with open_archive(path, name) as archive:
                for one in mine:
                    done += 1
                    try:
                        data = archive.read(one.entry, MAX_IMAGE_BYTES)
                        look_at(data)
                    except (Unfit, InvalidInput) as reason:
                        self.problems.bad(name, f"entry {one.entry}", str(reason))
                        continue
                    yield from batches.add((data, one.label, one.entry), len(data))
                    self._watch("reading", done, len(pictures))
        yield from batches.rest()
        self.problems.settle()


def _mixing(picture: _Picture) -> bytes:
    return hashlib.blake2b(picture.entry.encode("utf-8", "surrogatepass"), digest_size=8).digest()
