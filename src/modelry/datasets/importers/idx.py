"""IDX files: MNIST's format, big-endian arrays behind a header of sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from modelry.datasets.importers.arrays import Array, ArraySource, Stored, check_shape, read_blocks
from modelry.datasets.importers.contract import ImportRequest, Source
from modelry.datasets.importers.split_names import assign
from modelry.datasets.importers.streams import open_stream
from modelry.domain.errors import InvalidInput

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_DIMENSIONS = 8


def open_files(request: ImportRequest) -> Source:
    """Pairs of images (2 dimensions or more) and labels (1), one pair a split.

    Raises:
        InvalidInput: no IDX, or more or less than its header tells, or no pairs.
    """
    by_split = assign(list(request.files), request.options.splits)
    splits = {
        split: _pair(split, [_stored(name, request.files[name]) for name in names])
        for split, names in by_split.items()
    }
    label = "label" if any("label" in arrays for arrays in splits.values()) else None
    return ArraySource(request, splits, label)


def _pair(split: str, arrays: Sequence[Stored]) -> Mapping[str, Stored]:
    labels = [one for one in arrays if len(one.shape) == 1]
    images = [one for one in arrays if len(one.shape) > 1]
    if len(images) != 1 or len(labels) > 1:
        told = ", ".join(f"{one.place} {list(one.shape)}" for one in arrays)
        where = f"Split '{split}'" if split else "The import"
        raise InvalidInput(
            f"{where} has {told}; expected one file with images (two dimensions or more) and at "
            "most one with labels (one dimension). Words in the files' names say their split "
            "(train, t10k), or give splits={split: [files]}.",
            param="files",
        )
    return {"image": images[0]} | ({"label": labels[0]} if labels else {})


def _stored(name: str, path: Path) -> Stored:
    place = f"File '{name}'"
    with open_stream(path, name) as file:
        magic = file.read(4)
        if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES:
            raise InvalidInput(
                f"{place} is no IDX file: it begins with {magic.hex() or 'nothing'}; expected "
                "0000, a type and the number of dimensions.",
                param=name,
            )
        count = magic[3]
        sizes = file.read(4 * count)
        if not 1 <= count <= _MAX_DIMENSIONS or len(sizes) < 4 * count:
            raise InvalidInput(
                f"{place} is cut off, or tells {count} dimensions; expected 1 to "
                f"{_MAX_DIMENSIONS}.",
                param=name,
            )
    shape = tuple(int.from_bytes(sizes[4 * i : 4 * i + 4]) for i in range(count))
    dtype = np.dtype(_TYPES[magic[2]])
    check_shape(place, shape, dtype)

    def blocks(rows: int) -> Iterator[Array]:
        with open_stream(path, name) as file:
            file.read(4 + 4 * count)
            yield from read_blocks(file, place, shape, dtype, rows)
            if file.read(1):
                raise InvalidInput(
                    f"{place} goes on after the {shape[0]} rows that its header tells; its header "
                    "is wrong, or something was appended. Save or send it again.",
                    param=name,
                )

    return Stored(place, shape, dtype, blocks)
