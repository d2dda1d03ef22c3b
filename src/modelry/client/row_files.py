"""What a user names to import, as files that can be sent."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modelry.client.errors import InvalidInput

FIRST_DATE = (1980, 1, 1, 0, 0, 0)
"""The date of every entry: the same files make the same archive, which is then sent once."""
PACKED = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".gz", ".zip"})
"""Endings of files that compressing makes no smaller."""
MAX_ENTRIES = 2_000_000


@contextmanager
def sendable(paths: Sequence[str | Path]) -> Iterator[list[Path]]:
    """The files to send; each folder becomes a zip beside them, gone when the context ends.

    Raises:
        InvalidInput: a path is not there, or a folder is empty.
    """
    places = [Path(one) for one in paths]
    if not places:
        raise InvalidInput("There is no file to import.", param="path")
    for place in places:
        if not place.exists():
            raise InvalidInput(f"'{place}' is not there.", param="path")
    with tempfile.TemporaryDirectory(prefix="modelry-") as scratch:
        files = [
            _zipped(one, Path(scratch) / f"{at}") if one.is_dir() else one
            for at, one in enumerate(places)
        ]
        names = [one.name for one in files]
        twice = sorted({one for one in names if names.count(one) > 1})
        if twice:
            raise InvalidInput(
                f"Two of the files are called '{twice[0]}'; rename one, so that they can be told "
                "apart.",
                param="path",
            )
        yield files


def _zipped(folder: Path, into: Path) -> Path:
    """A zip of all files of `folder`, in the order of their names; hidden ones are left out."""
    into.mkdir()
    target = into / f"{folder.resolve().name or 'files'}.zip"
    found = sorted(_files_of(folder))
    if not found:
        raise InvalidInput(f"Folder '{folder}' has no files.", param="path")
    if len(found) > MAX_ENTRIES:
        raise InvalidInput(
            f"Folder '{folder}' has {len(found):,} files; at most {MAX_ENTRIES:,} can be sent in "
            "one. Import parts of it, and append them.",
            param="path",
        )
    with zipfile.ZipFile(target, "w", allowZip64=True) as archive:
        for name in found:
            entry = zipfile.ZipInfo(name, FIRST_DATE)
            is_packed = Path(name).suffix.lower() in PACKED
            entry.compress_type = zipfile.ZIP_STORED if is_packed else zipfile.ZIP_DEFLATED
            with (folder / name).open("rb") as source, archive.open(entry, "w") as out:
                while chunk := source.read(2**20):
                    out.write(chunk)
    return target


def _files_of(folder: Path) -> Iterator[str]:
    for one in folder.rglob("*"):
        relative = one.relative_to(folder)
        if one.is_file() and not any(part.startswith(".") for part in relative.parts):
            yield relative.as_posix()


@contextmanager
def arrays_file(arrays: dict[str, Any]) -> Iterator[Path]:
    """A NumPy archive of arrays, gone when the context ends.

    Raises:
        InvalidInput: an array holds objects, or has no rows.
    """
    import numpy as np

    made: dict[str, Any] = {name: np.asarray(value) for name, value in arrays.items()}
    for name, array in made.items():
        if array.dtype.hasobject:
            raise InvalidInput(
                f"'{name}' is an array of objects; give one of numbers or texts.", param=name
            )
        if array.ndim == 0 or len(array) == 0:
            raise InvalidInput(f"'{name}' has no rows.", param=name)
    with tempfile.TemporaryDirectory(prefix="modelry-") as scratch:
        path = Path(scratch) / "arrays.npz"
        np.savez(path, **made)
        yield path


def name_of(path: str | Path) -> str:
    """A dataset's name made of a file's: `Digits (2).csv.gz` is `digits-2`."""
    import re

    stem = Path(path).resolve().name.lower()
    for ending in (".gz", ".zip", ".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".npz", ".tmx"):
        stem = stem.removesuffix(ending)
    name = re.sub(r"[^a-z0-9._-]+", "-", stem).strip("._-")[:64].strip("._-")
    if not name:
        raise InvalidInput(f"No name can be made of '{path}'; give one.", param="name")
    return name
