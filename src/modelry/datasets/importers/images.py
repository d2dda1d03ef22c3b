"""Image files among others, and whether one can be decoded to its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from modelry.processing.image_files import decode_image
from modelry.processing.parameters import Unfit

MAX_IMAGE_BYTES = 32 * 2**20
MAX_PIXELS = 100_000_000
_READ = frozenset((".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp"))
_NOT_READ = frozenset((".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic"))
_CLUTTER = frozenset({"thumbs.db", "desktop.ini", "__macosx"})


@dataclass(frozen=True, slots=True)
class Size:
    """Width and height in pixels, turned as the EXIF orientation says."""

    width: int
    height: int


def is_clutter(parts: Sequence[str]) -> bool:
    """Whether a path is what systems leave in folders, such as `__MACOSX/` and `.DS_Store`."""
    return any(part.startswith(".") or part.lower() in _CLUTTER for part in parts)


def is_image_name(name: str) -> bool:
    """Whether a file's name is that of an image, also of formats that cannot be read."""
    return PurePosixPath(name.lower()).suffix in _READ | _NOT_READ


def look_at(data: bytes) -> Size:
    """Decode an image to its end, at a fraction of its size where its format allows.

    Raises:
        Unfit: not a PNG, JPEG or WebP image, damaged, or too large.
    """
    if len(data) > MAX_IMAGE_BYTES:
        raise Unfit(f"it has {len(data)} bytes; at most {MAX_IMAGE_BYTES} are read.")
    picture = decode_image(
        data, colours="rgb", alpha="drop", max_pixels=MAX_PIXELS, target=lambda _w, _h: (1, 1)
    )
    return Size(round(picture.geometry.width), round(picture.geometry.height))
