"""The maps of several objects as one picture: a tile for each, with its box."""

from __future__ import annotations

import math
from typing import Any

from PIL import Image, ImageDraw

from modelry.explaining.pictures import MOST_PIXELS, as_png, grey_picture, with_heat

_BOX = (255, 200, 0)
_GAP = 4
_PIXELS_PER_WIDTH = 160
"""Of a tile, for each of which the line of a box is one pixel wider."""


def object_maps(data: bytes, described: dict[str, Any]) -> bytes:
    """A PNG with a tile for each object, in their order, from left to right and down.

    Args:
        data: the image as it was sent.
        described: the attribution of `explain_objects`.
    """
    objects = described["objects"]
    columns = math.ceil(math.sqrt(len(objects)))
    rows = math.ceil(len(objects) / columns)
    grey, scale = grey_picture(data, MOST_PIXELS // columns)
    width, height = grey.size
    sheet = Image.new(
        "RGB", (columns * (width + _GAP) - _GAP, rows * (height + _GAP) - _GAP), "white"
    )
    for at, one in enumerate(objects):
        tile = with_heat(grey, scale, one["grid"], described["grid_box"])
        _draw_box(tile, [edge * scale for edge in one["box"]])
        row, column = divmod(at, columns)
        sheet.paste(tile, (column * (width + _GAP), row * (height + _GAP)))
    return as_png(sheet)


def _draw_box(tile: Image.Image, box: list[float]) -> None:
    left, top, right, bottom = (round(edge) for edge in box)
    right, bottom = max(left, right - 1), max(top, bottom - 1)
    line = 1 + max(tile.size) // _PIXELS_PER_WIDTH
    ImageDraw.Draw(tile).rectangle((left, top, right, bottom), outline=_BOX, width=line)
