"""Files to import, and what came of them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from modelry.datasets.importers import open_source
from modelry.datasets.importers.contract import Source


def written(folder: Path, files: Mapping[str, bytes]) -> dict[str, Path]:
    """The files in a folder, by name; on disk they have other names, as an import's files do."""
    paths = {}
    for place, (name, data) in enumerate(files.items()):
        paths[name] = folder / f"upload-{place}"
        paths[name].write_bytes(data)
    return paths


def opened(
    folder: Path, files: Mapping[str, bytes], format_: str | None = None, **options: Any
) -> Source:
    return open_source(format_, written(folder, files), options)


def columns_of(source: Source, split: str = "") -> dict[str, list[Any]]:
    """All values of a split by column, checked against the source's schema."""
    from modelry.datasets.forms import arrow_schema

    expected = arrow_schema(source.schema)
    columns: dict[str, list[Any]] = {one.name: [] for one in source.schema.columns}
    for batch in source.rows(split):
        assert batch.schema == expected
        batch.validate(full=True)
        for field, column in zip(expected, batch.columns, strict=True):
            assert field.nullable or column.null_count == 0
            columns[field.name] += column.to_pylist()
    return columns


def zipped(entries: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def picture(seed: int = 0, width: int = 8, height: int = 6, kind: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def idx(array: Any) -> bytes:
    kinds = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}
    plain = np.asarray(array)
    head = bytes((0, 0, kinds[plain.dtype.str[1:]], plain.ndim))
    sizes = b"".join(side.to_bytes(4) for side in plain.shape)
    return head + sizes + plain.astype(plain.dtype.newbyteorder(">")).tobytes()
