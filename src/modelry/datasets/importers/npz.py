"""NumPy archives: arrays by name, without pickles."""

from __future__ import annotations

import re
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.lib.format as npy

from modelry.datasets.importers.archives import open_archive
from modelry.datasets.importers.arrays import Array, ArraySource, Stored, check_shape, read_blocks
from modelry.datasets.importers.contract import ImportRequest, Source
from modelry.datasets.importers.split_names import in_order, split_of
from modelry.domain.errors import InvalidInput

_MAX_HEADER = 10_000
_MAX_WHOLE_BYTES = 256 * 2**20
"""Arrays with columns first are read whole, so no larger ones are."""

_SPLIT_WORD = re.compile(r"^(?P<column>.+)_(?P<split>[^_]+)$|^(?P<before>[^_]+)_(?P<after>.+)$")


def open_files(request: ImportRequest) -> Source:
    """Arrays called `<column>_<split>` (`x_train`) or `<column>`, one row each per row.

    Raises:
        InvalidInput: no such archive, arrays of Python objects, or arrays that do not go together.
    """
    splits: dict[str, dict[str, Stored]] = {}
    for name, path in request.files.items():
        for key, stored in _arrays(name, path).items():
            column, split = _column_and_split(key)
            if column in splits.setdefault(split, {}):
                raise InvalidInput(
                    f"There are two arrays for '{column}' of split '{split}'.", param=key
                )
            splits[split][column] = stored
    if "" in splits and len(splits) > 1:
        raise InvalidInput(
            f"The array '{next(iter(splits['']))}' names no split, others do; expected names such "
            "as x_train, y_train, x_test, y_test.",
            param="files",
        )
    if not splits:
        raise InvalidInput("There are no arrays in it.", param="files")
    ordered = {split: _features_first(splits[split]) for split in in_order(splits)}
    return ArraySource(request, ordered, _label(request, ordered))


def _features_first(arrays: Mapping[str, Stored]) -> dict[str, Stored]:
    return dict(sorted(arrays.items(), key=lambda item: (item[0] == "y", item[0])))


def _label(request: ImportRequest, splits: Mapping[str, Mapping[str, Stored]]) -> str | None:
    columns = next(iter(splits.values()))
    said: str | None = request.options.label
    if said is not None and said not in columns:
        raise InvalidInput(
            f"There is no array '{said}' for the label; there are {', '.join(columns)}.",
            param="label",
        )
    return said or next((one for one in ("y", "label", "labels") if one in columns), None)


def _column_and_split(key: str) -> tuple[str, str]:
    match = _SPLIT_WORD.match(key)
    if match:
        for column, split in (
            (match["column"], match["split"]),
            (match["after"], match["before"]),
            (match["before"], match["after"]),
        ):
            if column and split and (found := split_of(split)):
                return _lower_single(column), found
    return _lower_single(key), ""


def _lower_single(column: str) -> str:
    return column.lower() if len(column) == 1 else column  # X_train, as scikit-learn's users write


def _arrays(name: str, path: Path) -> dict[str, Stored]:
    arrays = {}
    with open_archive(path, name) as archive:
        for entry in archive.entries:
            if not entry.name.endswith(".npy"):
                raise InvalidInput(
                    f"The archive '{name}' has the entry '{entry.name[:80]}'; expected arrays "
                    "saved by numpy.savez only.",
                    param=name,
                )
            place = f"Array '{entry.name.removesuffix('.npy')}' of '{name}'"
            with archive.open(entry.name) as file:
                shape, is_columns_first, dtype = _header(file, place)
            check_shape(place, shape, dtype)
            if is_columns_first and len(shape) > 1:
                _check_whole(place, shape, dtype)
            arrays[entry.name.removesuffix(".npy")] = Stored(
                place,
                shape,
                dtype,
                _opener(name, path, entry.name, place, is_columns_first=is_columns_first),
            )
    return arrays


def _check_whole(place: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    size = dtype.itemsize
    for side in shape:
        size *= side
    if size > _MAX_WHOLE_BYTES:
        raise InvalidInput(
            f"{place} is stored with columns first (Fortran order) and has {size} bytes; at most "
            f"{_MAX_WHOLE_BYTES} are read so. Save numpy.ascontiguousarray of it.",
            param=place,
        )


def _header(file: IO[bytes], place: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether columns come first, and type, as the array's header says.

    Raises:
        InvalidInput: it is damaged, or tells an array of Python objects.
    """
    try:
        version = npy.read_magic(file)
        if version == (1, 0):
            shape, order, dtype = npy.read_array_header_1_0(file, max_header_size=_MAX_HEADER)
        elif version == (2, 0):
            shape, order, dtype = npy.read_array_header_2_0(file, max_header_size=_MAX_HEADER)
        else:
            raise ValueError
    except (ValueError, TypeError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError):
        raise InvalidInput(
            f"{place} has a damaged or unknown header; save it again with numpy.savez.",
            param=place,
        ) from None
    if dtype.hasobject:
        raise InvalidInput(
            f"{place} is an array of Python objects, which are read by running code. Save it with "
            "a type of numbers or text, such as array.astype('float32').",
            param=place,
        )
    if any(side < 0 for side in shape):
        raise InvalidInput(f"{place} has the shape {shape}; no side may be negative.", param=place)
    return tuple(int(side) for side in shape), bool(order), dtype


def _opener(name: str, path: Path, entry: str, place: str, *, is_columns_first: bool) -> Any:
    def blocks(rows: int) -> Iterator[Array]:
        with open_archive(path, name) as archive, archive.open(entry) as file:
            shape, _, dtype = _header(file, place)
            if is_columns_first and len(shape) > 1:
                whole = _whole(file, place, shape, dtype)
                for start in range(0, shape[0], rows):
                    yield whole[start : start + rows]
            else:
                yield from read_blocks(file, place, shape, dtype, rows)
            if file.read(1):
                raise InvalidInput(
                    f"{place} goes on after the values that its header tells.", param=place
                )

    return blocks


def _whole(file: IO[bytes], place: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    turned = shape[::-1]
    runs = list(read_blocks(file, place, turned, dtype, max(turned[0], 1)))
    return np.concatenate(runs).transpose()
