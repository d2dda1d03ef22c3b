"""Images as callers have them, as bytes."""

from __future__ import annotations

import io
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

from modelry.client.errors import ImageInvalid


class PillowImage(Protocol):
    """A PIL image, or anything that is saved like one."""

    def save(self, fp: Any, format: str | None = None, **params: Any) -> None:  # noqa: A002 - Pillow's
        """Write it in a format."""
        ...


ImageInput = str | PathLike[str] | bytes | bytearray | memoryview | PillowImage

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
)


def image_bytes(image: ImageInput) -> bytes:
    """The bytes of an image: of a file, as they are, or a PIL image as PNG.

    Raises:
        ImageInvalid: the file cannot be read, or it is none of these.
    """
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str | PathLike):
        try:
            return Path(image).read_bytes()
        except OSError as error:
            raise ImageInvalid(
                f"The image file '{image}' cannot be read: {error.strerror}.", param="image"
            ) from None
    if hasattr(image, "save"):
        buffer = io.BytesIO()
        image.save(buffer, format="PNG", compress_level=1)  # a smaller one takes longer
        return buffer.getvalue()
    raise ImageInvalid(
        f"An image is given as path, bytes or PIL image, not as {type(image).__name__}.",
        param="image",
    )


def media_type(raw: bytes) -> str:
    """What kind of image the first bytes tell; the server looks for itself."""
    if raw[:4] == b"RIFF" and raw[8:12] == b"WEBP":
        return "image/webp"
    return next(
        (kind for magic, kind in _MAGIC if raw.startswith(magic)), "application/octet-stream"
    )
