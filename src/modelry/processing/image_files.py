"""Image files as Pillow images, with everything that hostile files try refused."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Literal

import numpy as np
from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from modelry.processing.image_header import ImageFormat, read_header
from modelry.processing.parameters import Unfit
from modelry.processing.values import Geometry, Picture

Colours = Literal["rgb", "bgr", "gray"]
Alpha = Literal["white", "black", "drop"]
TargetSize = Callable[[int, int], tuple[int, int]]

ORIENTATION_TAG = 0x0112
_READERS: dict[ImageFormat, type[ImageFile.ImageFile]] = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FIRST_SIDEWAYS = 5
REDUCING_GAP = 2
"""A JPEG is decoded at no less than this many times the size that it is resized to."""


def decode_image(
    data: bytes, *, colours: Colours, alpha: Alpha, max_pixels: int, target: TargetSize | None
) -> Picture:
    """Decode the first frame of a PNG, JPEG or WebP, turned as its EXIF orientation says.

    Args:
        data: the file.
        colours: channels of the result; `bgr` stays RGB here and is turned when stacked.
        alpha: what shines through transparent pixels, or to ignore transparency.
        max_pixels: the largest width x height that is decoded.
        target: the size that a picture of some width and height is resized to next, if that
            allows decoding a JPEG at a fraction of its size.

    Raises:
        Unfit: not such an image, too many pixels, damaged or cut off.
    """
    header = read_header(data)
    if header.width * header.height > max_pixels:
        raise Unfit(
            f"it has {header.width} x {header.height} pixels; at most {max_pixels} in all are "
            "decoded. Send a smaller image."
        )
    try:
        image = _READERS[header.format](BytesIO(data))
        if image.size != (header.width, header.height):
            raise ValueError  # two headers that disagree
        picture = _decode(image, colours, alpha, target)
    except Exception:  # noqa: BLE001 - Pillow's readers raise whatever a damaged file leads to
        raise Unfit(
            f"its {header.format} data is damaged or cut off; save or send it again."
        ) from None
    return picture


def _decode(
    image: ImageFile.ImageFile, colours: Colours, alpha: Alpha, target: TargetSize | None
) -> Picture:
    width, height = image.size
    turn = _orientation(image) if isinstance(image, JpegImagePlugin.JpegImageFile) else None
    if turn is not None and target is not None:
        _reduce(image, target, is_sideways=turn >= _FIRST_SIDEWAYS)
    image.load()
    if turn is None:  # other formats may keep it behind the pixels
        turn = _orientation(image)
    plain = _in_colours(image, colours, alpha)
    if turn in _TURNS:
        plain = plain.transpose(_TURNS[turn])
        if turn >= _FIRST_SIDEWAYS:
            width, height = height, width
    geometry = Geometry(width, height).scaled(plain.width / width, plain.height / height)
    return Picture(plain, geometry, is_bgr=colours == "bgr")


def _reduce(image: ImageFile.ImageFile, target: TargetSize, *, is_sideways: bool) -> None:
    """Have a JPEG decoded at 1/2, 1/4 or 1/8 of its size where that is enough."""
    width, height = image.size
    if is_sideways:
        target_height, target_width = target(height, width)
    else:
        target_width, target_height = target(width, height)
    image.draft(None, (target_width * REDUCING_GAP, target_height * REDUCING_GAP))


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION_TAG, 1))
    except Exception:  # noqa: BLE001 - a picture is still one when its EXIF data is damaged
        return 1


def _in_colours(image: Image.Image, colours: Colours, alpha: Alpha) -> Image.Image:
    if image.mode.startswith("I"):
        image = _from_16_bits(image)
    if alpha != "drop" and image.has_transparency_data:
        layer = image.convert("RGBA")
        behind = Image.new("RGBA", layer.size, alpha)
        image = Image.alpha_composite(behind, layer)
    return image.convert("L" if colours == "gray" else "RGB")


def _from_16_bits(image: Image.Image) -> Image.Image:
    """Pillow clips 16-bit grey to 255 when converting; this scales it."""
    deep = np.asarray(image).astype(np.uint32)
    return Image.fromarray(((deep * 255 + 32767) // 65535).astype(np.uint8))
