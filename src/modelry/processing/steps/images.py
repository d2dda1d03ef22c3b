"""From image files to pictures of the size that the model wants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from PIL import Image

from modelry.domain.errors import ImageInvalid, InvalidInput
from modelry.domain.signature import DYNAMIC
from modelry.processing.image_files import Alpha, Colours, TargetSize, decode_image
from modelry.processing.kinds import Building, StepKind
from modelry.processing.parameters import (
    Parameter,
    Unfit,
    choice,
    flag,
    integer,
    list_of,
    one_or_list,
    show,
    size,
)
from modelry.processing.resampling import Filter, fitting_size, resample, shorter_side_size
from modelry.processing.values import Form, Item, Picture, Stage

MAX_SIDE = 8192
IMAGE_FIELD = "image"


def decode(
    item: Item, *, colours: Colours, max_pixels: int, alpha: Alpha, target: TargetSize | None
) -> Picture:
    """Decodes a PNG, JPEG or WebP file, recognised by its content.

    The EXIF orientation is applied; of animations the first frame is taken; 16-bit grey is
    scaled to 8 bits; transparent pixels show `alpha` (`drop` ignores transparency). More than
    `max_pixels` are refused before anything is decoded. A JPEG that an antialiased `resize`
    or `letterbox` makes much smaller next is decoded at a fraction of its size.
    """
    data = item.get(IMAGE_FIELD)
    if not isinstance(data, bytes | bytearray | memoryview):
        raise InvalidInput(
            f"'{IMAGE_FIELD}' is {show(data)}; expected the bytes of an image file.",
            param=IMAGE_FIELD,
        )
    try:
        return decode_image(
            bytes(data), colours=colours, alpha=alpha, max_pixels=max_pixels, target=target
        )
    except Unfit as reason:
        raise ImageInvalid(f"The image cannot be used: {reason}", param=IMAGE_FIELD) from None


def resize(
    picture: Picture, *, size: int | list[int], interpolation: Filter, antialias: bool
) -> Picture:
    """Resizes to [width, height], or so that the shorter side gets a length.

    Without `antialias` each pixel is interpolated between its nearest ones, as OpenCV does.
    """
    return resample(
        picture, _resized(*picture.image.size, size=size), interpolation, antialias=antialias
    )


def letterbox(
    picture: Picture,
    *,
    size: list[int],
    colour: list[int],
    interpolation: Filter,
    antialias: bool,
    enlarge: bool,
    align: str,
) -> Picture:
    """Fits the whole image into [width, height], with bars of a colour around it."""
    fitted = resample(
        picture,
        _fitted(*picture.image.size, size=size, enlarge=enlarge),
        interpolation,
        antialias=antialias,
    )
    width, height = size
    left, top = 0, 0
    if align == "center":
        left, top = (width - fitted.image.width) // 2, (height - fitted.image.height) // 2
    is_gray = fitted.image.mode == "L"
    ground = colour[::-1] if picture.is_bgr else colour
    sheet = Image.new(fitted.image.mode, (width, height), ground[0] if is_gray else tuple(ground))
    sheet.paste(fitted.image, (left, top))
    return replace(fitted, image=sheet, geometry=fitted.geometry.shifted(left, top))


def center_crop(picture: Picture, *, size: list[int]) -> Picture:
    """Cuts [width, height] out of the middle; what lies outside of the image is black."""
    width, height = size
    left = round((picture.image.width - width) / 2)
    top = round((picture.image.height - height) / 2)
    return _cut(picture, left, top, width, height)


def crop(picture: Picture, *, box: list[int]) -> Picture:
    """Cuts a box [left, top, width, height] out; it must lie within the image."""
    left, top, width, height = box
    has_width, has_height = picture.image.size
    if left + width > has_width or top + height > has_height:
        raise ImageInvalid(
            f"The image is {has_width} x {has_height} pixels here; this model cuts out "
            f"{width} x {height} at {left}, {top}, so it must be at least {left + width} x "
            f"{top + height}.",
            param=IMAGE_FIELD,
        )
    return _cut(picture, left, top, width, height)


def _cut(picture: Picture, left: int, top: int, width: int, height: int) -> Picture:
    cut = picture.image.crop((left, top, left + width, top + height))
    return replace(picture, image=cut, geometry=picture.geometry.shifted(-left, -top))


def _resized(width: int, height: int, *, size: int | list[int]) -> tuple[int, int]:
    if isinstance(size, int):
        return shorter_side_size(width, height, size)
    return size[0], size[1]


def _fitted(width: int, height: int, *, size: list[int], enlarge: bool) -> tuple[int, int]:
    if not enlarge and width <= size[0] and height <= size[1]:
        return width, height
    return fitting_size(width, height, (size[0], size[1]))


def _prepare_decode(parameters: dict[str, Any], building: Building) -> dict[str, Any]:
    """Ask the next step what size it makes, for decoding no more than that needs."""
    target: TargetSize | None = None
    following = building.following[0] if building.following else {}
    if following.get("antialias") is True and following.get("interpolation") != "nearest":
        if following["step"] == "resize":
            target = partial(_resized, size=following["size"])
        elif following["step"] == "letterbox":
            sides = _pair(following["size"])
            target = partial(_fitted, size=sides, enlarge=following["enlarge"])
    return {**parameters, "target": target}


def _pair(value: int | list[int]) -> list[int]:
    return [value, value] if isinstance(value, int) else value


def _prepare_sides(parameters: dict[str, Any], building: Building) -> dict[str, Any]:
    del building
    return {**parameters, "size": _pair(parameters["size"])}


def _prepare_letterbox(parameters: dict[str, Any], building: Building) -> dict[str, Any]:
    colour = parameters["colour"]
    if isinstance(colour, list) and len(colour) != 3:
        raise Unfit(f"'colour' has {len(colour)} values; expected 1 or 3.")
    three = colour if isinstance(colour, list) else [colour] * 3
    return {**_prepare_sides(parameters, building), "colour": three}


def _trace_decode(form: Form, bound: Mapping[str, Any]) -> Form:
    channels = 1 if bound["colours"] == "gray" else 3
    return replace(form, sizes=(DYNAMIC, DYNAMIC, channels))


def _trace_size(form: Form, bound: Mapping[str, Any]) -> Form:
    channels = form.sizes[2] if form.sizes else DYNAMIC
    if isinstance(bound["size"], int):
        return replace(form, sizes=(DYNAMIC, DYNAMIC, channels))
    width, height = bound["size"]
    return replace(form, sizes=(height, width, channels))


def _trace_crop(form: Form, bound: Mapping[str, Any]) -> Form:
    left, top, width, height = bound["box"]
    has_height, has_width, channels = form.sizes or (DYNAMIC,) * 3
    for has, needs in ((has_width, left + width), (has_height, top + height)):
        if has != DYNAMIC and needs > has:
            raise Unfit(
                f"the box {bound['box']} reaches beyond the image of {has_width} x {has_height} "
                "pixels that comes before it."
            )
    if width < 1 or height < 1:
        raise Unfit("'box' is empty; expected [left, top, width, height].")
    return replace(form, sizes=(height, width, channels))


_INTERPOLATION = Parameter(
    "interpolation", choice("bilinear", "bicubic", "nearest"), default="bilinear"
)
_ANTIALIAS = Parameter("antialias", flag(), default=True)

STEPS = (
    StepKind(
        name="decode",
        side="pre",
        run=decode,
        takes=(Stage.ITEMS,),
        gives=Stage.PICTURE,
        parameters=(
            Parameter(
                "colours",
                choice("rgb", "bgr", "gray"),
                default="rgb",
                about="channels, in the order that the model sees",
            ),
            Parameter(
                "max_pixels",
                integer(1, 150_000_000),
                default=50_000_000,
                about="largest width x height that is decoded",
            ),
            Parameter(
                "alpha",
                choice("white", "black", "drop"),
                default="white",
                about="what shines through transparent pixels",
            ),
        ),
        shorthand="colours",
        prepare=_prepare_decode,
        trace=_trace_decode,
        reads=(IMAGE_FIELD,),
        each=True,
    ),
    StepKind(
        name="resize",
        side="pre",
        run=resize,
        takes=(Stage.PICTURE,),
        parameters=(
            Parameter("size", size(MAX_SIDE, "the length of the shorter side")),
            _INTERPOLATION,
            _ANTIALIAS,
        ),
        shorthand="size",
        trace=_trace_size,
        each=True,
    ),
    StepKind(
        name="letterbox",
        side="pre",
        run=letterbox,
        takes=(Stage.PICTURE,),
        parameters=(
            Parameter("size", size(MAX_SIDE, "the side of a square")),
            Parameter(
                "colour",
                one_or_list(integer(0, 255), 3),
                default=114,
                about="of the bars; red, green, blue, or in the order of `decode`",
            ),
            _INTERPOLATION,
            _ANTIALIAS,
            Parameter("enlarge", flag(), default=True, about="whether small images grow"),
            Parameter(
                "align",
                choice("center", "top_left"),
                default="center",
                about="where the bars are: around, or right and below",
            ),
        ),
        shorthand="size",
        prepare=_prepare_letterbox,
        trace=_trace_size,
        each=True,
    ),
    StepKind(
        name="center_crop",
        side="pre",
        run=center_crop,
        takes=(Stage.PICTURE,),
        parameters=(Parameter("size", size(MAX_SIDE, "the side of a square")),),
        shorthand="size",
        prepare=_prepare_sides,
        trace=_trace_size,
        each=True,
    ),
    StepKind(
        name="crop",
        side="pre",
        run=crop,
        takes=(Stage.PICTURE,),
        parameters=(
            Parameter("box", list_of(integer(0, MAX_SIDE), 4, 4), about="left, top, width, height"),
        ),
        shorthand="box",
        trace=_trace_crop,
        each=True,
    ),
)
