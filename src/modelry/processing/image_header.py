"""What an image file is and how large it says to be, read before anything is decoded.

Decoders allocate what the header asks for, so sizes are checked here first. Strict on purpose:
a file that hides its header behind junk is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from modelry.processing.parameters import Unfit

ImageFormat = Literal["PNG", "JPEG", "WebP"]

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN = 0xDA
MAX_SCANS = 200
"""A progressive JPEG is gone through once per scan; usual ones have about ten."""

_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
_OTHERS = (
    (b"GIF8", "a GIF"),
    (b"BM", "a BMP"),
    (b"II*\0", "a TIFF"),
    (b"MM\0*", "a TIFF"),
    (b"%PDF", "a PDF"),
    (b"<svg", "an SVG"),
    (b"<?xml", "an XML file"),
    (b"\0\0\1\0", "an icon"),
    (b"8BPS", "a Photoshop file"),
)


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """Format, and width and height in pixels as stored (before any EXIF orientation)."""

    format: ImageFormat
    width: int
    height: int


def read_header(data: bytes) -> ImageHeader:
    """The header of an image file, by its content.

    Raises:
        Unfit: not a PNG, JPEG or WebP, or cut off before the size stands.
    """
    if data.startswith(_PNG):
        return _read_png(data)
    if data.startswith(_JPEG):
        return _read_jpeg(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _read_webp(data)
    raise Unfit(f"it is {_name(data)}; expected a PNG, JPEG or WebP image.")


def _name(data: bytes) -> str:
    if not data:
        return "empty"
    if data[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1"):
        return "a HEIC image"
    if data[4:12] == b"ftypavif":
        return "an AVIF image"
    known = (name for magic, name in _OTHERS if data.startswith(magic))
    return next(known, "no image of a known format")


def _damaged(format_: ImageFormat) -> Unfit:
    return Unfit(f"its {format_} header is damaged or cut off; save or send it again.")


def _checked(format_: ImageFormat, width: int, height: int) -> ImageHeader:
    if width < 1 or height < 1:
        raise _damaged(format_)
    return ImageHeader(format_, width, height)


def _read_png(data: bytes) -> ImageHeader:
    if len(data) < 33 or data[8:16] != b"\0\0\0\rIHDR":
        raise _damaged("PNG")
    return _checked("PNG", int.from_bytes(data[16:20]), int.from_bytes(data[20:24]))


def _read_jpeg(data: bytes) -> ImageHeader:
    scans = data.count(bytes((0xFF, _START_OF_SCAN)))  # never part of compressed pixels
    if scans > MAX_SCANS:
        raise Unfit(
            f"it is a JPEG of {scans} scans; at most {MAX_SCANS} are decoded. Save it again."
        )
    position = 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            break
        marker = data[position + 1]
        if marker == 0xFF:  # padding
            position += 1
            continue
        if marker in _WITHOUT_LENGTH:
            position += 2
            continue
        length = int.from_bytes(data[position + 2 : position + 4])
        if marker in _START_OF_FRAME and position + 9 <= len(data):
            height = int.from_bytes(data[position + 5 : position + 7])
            width = int.from_bytes(data[position + 7 : position + 9])
            return _checked("JPEG", width, height)
        if marker == _START_OF_SCAN or length < 2:
            break
        position += 2 + length
    raise _damaged("JPEG")


def _read_webp(data: bytes) -> ImageHeader:
    if len(data) < 30:
        raise _damaged("WebP")
    chunk = data[12:16]
    if chunk == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
    elif chunk == b"VP8L" and data[20] == 0x2F:
        bits = int.from_bytes(data[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif chunk == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width = int.from_bytes(data[26:28], "little") & 0x3FFF
        height = int.from_bytes(data[28:30], "little") & 0x3FFF
    else:
        raise _damaged("WebP")
    return _checked("WebP", width, height)
