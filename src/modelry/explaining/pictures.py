"""Explanations as pictures."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from modelry.processing.graph import MAX_CALL_PIXELS
from modelry.processing.image_files import decode_image
from modelry.runtime_api.tensors import Array

MOST_PIXELS = 1024
"""Of the longer side of a picture; larger images are drawn smaller."""
_FOR = np.array([214, 39, 40], np.float64)
_AGAINST = np.array([31, 119, 180], np.float64)
_STRENGTH = 0.65


def heat_map(data: bytes, described: dict[str, Any]) -> bytes:
    """A PNG of an image, grey, with what spoke for the target in red and against it in blue.

    Args:
        data: the image as it was sent.
        described: as `ImageParts.described` gives it.
    """
    picture = decode_image(
        data, colours="gray", alpha="white", max_pixels=MAX_CALL_PIXELS, target=None
    )
    image = picture.image
    scale = min(1.0, MOST_PIXELS / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    grey = np.asarray(image.resize(size), np.float64)[:, :, None].repeat(3, axis=2)
    heat = _heat(described, size, scale)
    share = _STRENGTH * np.abs(heat)[:, :, None]
    colour = np.where(heat[:, :, None] > 0, _FOR, _AGAINST)
    drawn = grey * (1 - share) + colour * share
    written = io.BytesIO()
    Image.fromarray(drawn.round().astype(np.uint8)).save(written, "PNG")
    return written.getvalue()


def _heat(described: dict[str, Any], size: tuple[int, int], scale: float) -> Array:
    """-1..1 per pixel of the picture, 0 where the model does not look."""
    grid = np.array(described["grid"], np.float32)
    grid /= max(1e-12, float(np.abs(grid).max()))
    left, top, right, bottom = (round(one * scale) for one in described["seen"])
    seen = (max(1, right - left), max(1, bottom - top))
    smooth = np.asarray(Image.fromarray(grid).resize(seen, Image.Resampling.BILINEAR))
    heat = np.zeros((size[1], size[0]))
    target = heat[top : top + seen[1], left : left + seen[0]]
    target[:] = smooth[: target.shape[0], : target.shape[1]]
    return heat
