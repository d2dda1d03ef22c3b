"""Rows with images, as the files that are sent to versions.

Arrays of 8-bit pixels (from `.npz` or IDX files) become PNG files, which lose nothing: they go the
same way as the images that callers send.
"""

from __future__ import annotations

import io

import pyarrow as pa
from PIL import Image

from modelry.datasets.forms import tensor_values
from modelry.domain.datasets import Column, ColumnType


def image_files(column: Column, cells: pa.Array) -> list[bytes | None]:
    """The image file of each cell; None where it is missing."""
    if column.type is ColumnType.IMAGE:
        files: list[bytes | None] = cells.to_pylist()
        return files
    return [_png(one.reshape(one.shape[:2]) if one.ndim == 3 and one.shape[2] == 1 else one)
            for one in tensor_values(column, cells)]  # fmt: skip


def _png(pixels: object) -> bytes:
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "PNG", compress_level=1)  # type: ignore[arg-type]
    return held.getvalue()
