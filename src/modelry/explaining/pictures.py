"""Explanations as pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from modelry.processing.graph import MAX_CALL_PIXELS
from modelry.processing.image_files import decode_image
from modelry.runtime_api.tensors import Array

MOST_PIXELS = 1024
"""Of the longer side of a picture; larger images are drawn smaller."""
_FOR = (214, 39, 40)
_AGAINST = (31, 119, 180)
_STRENGTH = 0.65


def heat_map(data: bytes, described: dict[str, Any]) -> bytes:
    """A PNG of an image, grey, with what spoke for the target in red and against it in blue.

    Args:
        data: the image as it was sent.
        described: as `ImageParts.described` gives it.
    """
    grey, scale = grey_picture(data, MOST_PIXELS)
    return as_png(with_heat(grey, scale, described["grid"], described["grid_box"]))


def grey_picture(data: bytes, most_pixels: int) -> tuple[Image.Image, float]:
    """An image in grey, of at most so many pixels along its longer side.

    Returns:
        The picture, and how many of its pixels one of the image is.
    """

    def shrunk(width: int, height: int) -> tuple[int, int]:
        scale = min(1.0, most_pixels / max(width, height))
        return max(1, round(width * scale)), max(1, round(height * scale))

    picture = decode_image(
        data, colours="gray", alpha="white", max_pixels=MAX_CALL_PIXELS, target=shrunk
    )
    width, height = picture.geometry.width, picture.geometry.height
    return picture.image.resize(shrunk(width, height)), min(1.0, most_pixels / max(width, height))


def with_heat(
    grey: Image.Image, scale: float, grid: Sequence[Sequence[float]], box: Sequence[float]
) -> Image.Image:
    """A grey picture with a map over it.

    Args:
        grey: the picture.
        scale: of its pixels to those of the image as it was sent.
        grid: the weights.
        box: that they lie on, in pixels of the image as it was sent, also over its border.
    """
    heat = _STRENGTH * _heat(grid, [edge * scale for edge in box], grey.size)
    red, blue = np.maximum(heat, 0), np.maximum(-heat, 0)
    under = np.asarray(grey, np.float32) * (1 - red - blue)
    drawn = np.empty((*heat.shape, 3), np.uint8)
    for at, (spoke_for, against) in enumerate(zip(_FOR, _AGAINST, strict=True)):
        drawn[:, :, at] = (under + spoke_for * red + against * blue).round()
    return Image.fromarray(drawn)


def as_png(picture: Image.Image) -> bytes:
    """The picture as a PNG file."""
    written = io.BytesIO()
    picture.save(written, "PNG", compress_level=1)  # photos: 8 % larger, in a fifth of the time
    return written.getvalue()


def _heat(weights: Sequence[Sequence[float]], box: Sequence[float], size: tuple[int, int]) -> Array:
    """-1..1 per pixel of the picture, 0 where the model does not look."""
    grid = np.array(weights, np.float32)
    grid /= max(1e-12, float(np.abs(grid).max()))
    left, top, right, bottom = (round(one) for one in box)
    all_of_it = (max(1, right - left), max(1, bottom - top))
    smooth = np.asarray(Image.fromarray(grid).resize(all_of_it, Image.Resampling.BILINEAR))
    smooth = smooth[max(0, -top) :, max(0, -left) :]
    heat = np.zeros((size[1], size[0]), np.float32)
    target = heat[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
    rows, columns = (min(pair) for pair in zip(target.shape, smooth.shape, strict=True))
    target[:rows, :columns] = smooth[:rows, :columns]
    return heat
