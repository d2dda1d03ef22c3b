import io
import struct
import time
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from modelry.domain.errors import ImageInvalid, InvalidInput
from modelry.processing.image_header import read_header
from modelry.processing.parameters import Unfit
from modelry.processing.steps.images import decode

FORMATS = ("PNG", "JPEG", "WebP")


def photo(width=31, height=17, mode="RGB"):
    """Smooth, and different in each corner and channel."""
    y, x = np.mgrid[:height, :width]
    channels = [x * 255 // max(width - 1, 1), y * 255 // max(height - 1, 1), (x + y) * 3 % 256]
    image = Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))
    return image.convert(mode)


def saved(image, format_="PNG", **options):
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def decoded(data, **changed):
    usual = {"colours": "rgb", "max_pixels": 10**6, "alpha": "white", "target": None}
    return decode({"image": data}, **{**usual, **changed})


def refused(data, **changed):
    with pytest.raises(ImageInvalid) as caught:
        decoded(data, **changed)
    assert caught.value.param == "image"
    assert len(caught.value.message) < 300
    return caught.value.message


@pytest.mark.parametrize("format_", FORMATS)
def test_pixels_are_those_of_the_file(format_):
    data = saved(photo(), format_, **({"lossless": True} if format_ == "WebP" else {}))
    picture = decoded(data)
    expected = Image.open(io.BytesIO(data)).convert("RGB")
    np.testing.assert_array_equal(np.asarray(picture.image), np.asarray(expected))
    assert (picture.geometry.width, picture.geometry.height) == (31, 17)
    assert (picture.geometry.scale_x, picture.geometry.shift_x) == (1, 0)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_bytes_will_do(kind):
    assert decoded(kind(saved(photo()))).image.size == (31, 17)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(format_, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(photo(64, 32), format_, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    picture = decoded(data)
    np.testing.assert_array_equal(np.asarray(picture.image), np.asarray(expected))
    assert (picture.geometry.width, picture.geometry.height) == expected.size
    reduced = decoded(saved(photo(640, 320), format_, exif=exif), target=lambda w, h: (w, h))
    assert reduced.image.size == ((640, 320) if orientation < 5 else (320, 640))


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_an_unknown_orientation_is_none(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert decoded(saved(photo(), exif=exif)).image.size == (31, 17)


@pytest.mark.filterwarnings("ignore")  # Pillow warns of what the test is about
def test_damaged_exif_data_does_not_matter():
    for exif in (b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0" + b"\xff" * 40):
        assert decoded(saved(photo(), "JPEG", exif=exif)).image.size == (31, 17)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_mode_becomes_rgb_or_gray(mode):
    data = saved(photo(mode=mode))
    assert decoded(data).image.mode == "RGB"
    gray = decoded(data, colours="gray").image
    assert gray.mode == "L"
    expected = Image.open(io.BytesIO(data)).convert("RGB").convert("L")
    np.testing.assert_allclose(np.asarray(gray), np.asarray(expected), atol=1)


def test_cmyk_is_converted():
    assert decoded(saved(photo(mode="CMYK"), "JPEG")).image.mode == "RGB"


def test_sixteen_bit_grey_is_scaled():
    deep = np.array([[0, 257 * 100, 65535]], np.uint16)
    image = decoded(saved(Image.fromarray(deep)), colours="gray").image
    assert np.asarray(image).tolist() == [[0, 100, 255]]


def test_transparency_shows_what_is_declared():
    image = Image.new("RGBA", (3, 1), (200, 0, 0, 255))
    image.putpixel((1, 0), (0, 200, 0, 0))
    image.putpixel((2, 0), (0, 0, 200, 51))
    data = saved(image)
    rows = {alpha: np.asarray(decoded(data, alpha=alpha).image)[0] for alpha in
            ("white", "black", "drop")}  # fmt: skip
    assert rows["white"].tolist() == [[200, 0, 0], [255, 255, 255], [204, 204, 244]]
    assert rows["black"].tolist() == [[200, 0, 0], [0, 0, 0], [0, 0, 40]]
    assert rows["drop"].tolist() == [[200, 0, 0], [0, 200, 0], [0, 0, 200]]


def test_a_transparent_palette_is_transparency():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    assert np.asarray(decoded(saved(image, transparency=1)).image).tolist() == [
        [[10, 20, 30], [255, 255, 255]]
    ]


@pytest.mark.parametrize("format_", ["PNG", "WebP"])
def test_of_animations_the_first_frame_is_taken(format_):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    data = saved(frames[0], format_, save_all=True, append_images=frames[1:])
    assert decoded(data).image.getpixel((1, 1))[2] < 10


def test_large_jpegs_are_decoded_at_a_fraction_of_their_size():
    data = saved(photo(800, 600), "JPEG", quality=95)
    picture = decoded(data, max_pixels=10**7, target=lambda width, height: (width // 9, 66))
    assert picture.image.size == (200, 150)
    assert (picture.geometry.width, picture.geometry.height) == (800, 600)
    assert picture.geometry.scale_x == picture.geometry.scale_y == 0.25
    expected = Image.open(io.BytesIO(data)).resize((200, 150), Image.Resampling.BOX)
    difference = np.abs(np.asarray(picture.image).astype(int) - np.asarray(expected))
    assert difference.mean() < 2


def png_header(width, height):
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0"))


def webp_header(width, height):
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + canvas + bytes(8)


def jpeg_header(*sizes):
    frames = [
        b"\xff\xc0\0\x11\x08" + struct.pack(">HH", height, width) + b"\3\1\x22\0\2\x11\1\3\x11\1"
        for width, height in sizes
    ]
    return (
        b"\xff\xd8\xff\xe0\0\x02" + b"".join(frames) + b"\xff\xda\0\x0c\3\1\0\2\x11\3\x11\0\x3f\0"
    )


@pytest.mark.parametrize(
    "data",
    [
        png_header(60_000, 60_000),
        png_header(2**31 - 1, 1),
        webp_header(16_000_000, 200),
        jpeg_header((65_535, 65_535)),
    ],
)
def test_bombs_are_refused_by_their_header(data):
    start = time.monotonic()
    assert "at most 1000000 in all" in refused(data)
    assert time.monotonic() - start < 0.5


def test_a_jpeg_cannot_be_gone_through_without_end():
    data = saved(photo(), "JPEG", progressive=True)
    assert decoded(data).image.size == (31, 17)
    scan = data[data.rindex(b"\xff\xda") : -2]
    assert "309 scans" in refused(data[:-2] + scan * 299 + data[-2:])


def test_a_second_header_cannot_smuggle_pixels_in():
    bomb = jpeg_header((8, 8), (65_500, 65_500))
    assert read_header(bomb).width == 8
    assert "damaged" in refused(bomb)


def test_compressed_text_in_a_png_cannot_fill_the_memory():
    data = saved(photo())
    text = b"a\0\0" + zlib.compress(bytes(2**26))
    chunk = b"zTXt" + text
    bomb = struct.pack(">I", len(text)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    assert "damaged" in refused(data[:33] + bomb + data[33:])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"GIF89a" + bytes(40), "a GIF"),
        (saved(photo(), "BMP"), "a BMP"),
        (saved(photo(), "TIFF"), "a TIFF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG"),
        (b"\0\0\0\x20ftypheic" + bytes(40), "HEIC"),
        (b"%PDF-1.7", "a PDF"),
        (b"hello", "no image of a known format"),
        (b"\x89PNG\r\n\x1a\n", "PNG header is damaged"),
        (b"\xff\xd8\xff", "JPEG header is damaged"),
        (b"\xff\xd8\xff" + bytes(10**6), "JPEG header is damaged"),
        (b"RIFF\0\0\0\0WEBPVP9 " + bytes(30), "WebP header is damaged"),
        (png_header(0, 5), "PNG header is damaged"),
        (png_header(5, 5), "PNG data is damaged"),
        (webp_header(5, 5), "WebP data is damaged"),
    ],
)
def test_files_that_are_no_images_are_told_apart(data, words):
    assert words in refused(data)


@pytest.mark.parametrize("value", [None, "abc", 5, [1], {"a": 1}])
def test_values_that_are_no_bytes_are_refused(value):
    with pytest.raises(InvalidInput, match="bytes of an image file"):
        decoded(value)


@settings(deadline=None)
@given(st.sampled_from(FORMATS), st.floats(0, 1, exclude_max=True))
def test_cut_off_images_are_refused_unless_only_their_end_mark_is_gone(format_, share):
    data = _FILES[format_]
    whole = np.asarray(decoded(data).image)
    try:
        picture = decoded(data[: int(len(data) * share)])
    except ImageInvalid:
        return
    np.testing.assert_array_equal(np.asarray(picture.image), whole)
    assert share > 0.8


@settings(deadline=None)
@given(
    st.sampled_from(FORMATS),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6),
)
@pytest.mark.filterwarnings("ignore")  # Pillow warns of some damage
def test_damaged_images_are_decoded_or_refused(format_, changes):
    data = bytearray(_FILES[format_])
    for place, value in changes:
        data[int(place * (len(data) - 1))] = value
    try:
        picture = decoded(bytes(data))
    except ImageInvalid:
        return
    assert picture.image.width * picture.image.height <= 10**6


HEADS = [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"RIFF....WEBPVP8X"]


@settings(deadline=None)
@given(st.binary(max_size=60), st.sampled_from(HEADS))
def test_any_bytes_have_a_header_or_none(tail, head):
    try:
        header = read_header(head + tail)
    except Unfit:
        return
    assert header.width >= 1
    assert header.height >= 1


@settings(deadline=None)
@given(st.sampled_from(FORMATS), st.integers(1, 300), st.integers(1, 300), st.booleans())
def test_headers_say_what_pillow_finds(format_, width, height, lossless):
    options = {"lossless": lossless} if format_ == "WebP" else {}
    data = saved(Image.new("RGB", (width, height)), format_, **options)
    header = read_header(data)
    assert (header.format, header.width, header.height) == (format_, width, height)


_FILES = {format_: saved(photo(), format_) for format_ in FORMATS}
