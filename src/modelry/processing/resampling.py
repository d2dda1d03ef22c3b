"""Resizing pictures, and where their pixels went."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from PIL import Image

from modelry.domain.errors import ImageInvalid
from modelry.processing.values import Picture

Filter = Literal["bilinear", "bicubic", "nearest"]
FILTERS: dict[Filter, Image.Resampling] = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
}
MAX_PIXELS = 2**26
"""Of a resized picture: a strip one pixel wide must not become a huge one."""


def shorter_side_size(width: int, height: int, side: int) -> tuple[int, int]:
    """The size with the same proportions whose shorter side is `side`."""
    if width <= height:
        return side, max(1, int(side * height / width))
    return max(1, int(side * width / height)), side


def fitting_size(width: int, height: int, within: tuple[int, int]) -> tuple[int, int]:
    """The largest size with the same proportions that fits `within` (width, height)."""
    ratio = min(within[0] / width, within[1] / height)
    return (
        min(within[0], max(1, round(width * ratio))),
        min(within[1], max(1, round(height * ratio))),
    )


def resample(
    picture: Picture, size: tuple[int, int], interpolation: Filter, *, antialias: bool
) -> Picture:
    """Stretch to `size` (width, height).

    Without antialiasing each new pixel is interpolated between the old ones nearest to it, as
    OpenCV does, however much smaller the picture gets.

    Raises:
        ImageInvalid: the result would be too large.
    """
    image = picture.image
    if image.size == size:
        return picture
    if size[0] * size[1] > MAX_PIXELS:
        raise ImageInvalid(
            f"The image is {image.width} x {image.height} pixels, too elongated: resized to "
            f"{size[0]} x {size[1]} it would have more than {MAX_PIXELS} pixels.",
            param="image",
        )
    ratio_x, ratio_y = size[0] / image.width, size[1] / image.height
    if antialias:
        resized = image.resize(size, FILTERS[interpolation])
    else:
        matrix = (1 / ratio_x, 0.0, 0.0, 0.0, 1 / ratio_y, 0.0)
        resized = image.transform(
            size, Image.Transform.AFFINE, matrix, resample=FILTERS[interpolation]
        )
    return replace(picture, image=resized, geometry=picture.geometry.scaled(ratio_x, ratio_y))
