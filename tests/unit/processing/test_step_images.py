import io
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.support.processing import ANY, graph_of

from modelry.domain.errors import ImageInvalid, InvalidInput, ManifestInvalid, TensorMismatch
from modelry.domain.signature import Datatype
from modelry.processing import graph as graph_module
from modelry.processing.steps.images import center_crop, crop, letterbox, resize
from modelry.processing.values import Geometry, Picture

RNG = np.random.default_rng(3)
BOXES = {"colour": [114] * 3, "interpolation": "bilinear", "antialias": True}


def noise(width, height):
    """Smooth noise: neighbours are alike, as in photos."""
    small = RNG.integers(0, 256, (max(height // 6, 1), max(width // 6, 1), 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def picture_of(width, height, **changed):
    return Picture(Image.new("RGB", (width, height)), Geometry(width, height), **changed)


def png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def image_graph(*steps, shape=(ANY, 3, ANY, ANY), datatype=Datatype.FP32):
    return graph_of(pre=steps, inputs=[("image", datatype, shape)])


def reference_bilinear(pixels, width, height):
    """Interpolation between the four nearest pixels, half-pixel centres, edges repeated."""
    has_height, has_width = pixels.shape[:2]
    out = np.empty((height, width, pixels.shape[2]))
    for row in range(height):
        for column in range(width):
            y = min(max((row + 0.5) * has_height / height - 0.5, 0), has_height - 1)
            x = min(max((column + 0.5) * has_width / width - 0.5, 0), has_width - 1)
            top, left = int(y), int(x)
            low, right = min(top + 1, has_height - 1), min(left + 1, has_width - 1)
            above = pixels[top, left] * (1 - x + left) + pixels[top, right] * (x - left)
            below = pixels[low, left] * (1 - x + left) + pixels[low, right] * (x - left)
            out[row, column] = above * (1 - y + top) + below * (y - top)
    return out


@pytest.mark.parametrize("size", [(7, 11), (23, 9), (60, 45)])
def test_resizing_without_antialiasing_interpolates_nearest_pixels(size):
    image = noise(40, 30)
    got = resize(
        Picture(image, Geometry(40, 30)),
        size=list(size),
        interpolation="bilinear",
        antialias=False,
    )
    expected = reference_bilinear(np.asarray(image).astype(float), *size)
    assert np.abs(np.asarray(got.image) - expected).max() <= 1.01


@pytest.mark.parametrize("name", ["bilinear", "bicubic", "nearest"])
def test_resizing_with_antialiasing_is_pillows(name):
    image = noise(40, 30)
    got = resize(
        Picture(image, Geometry(40, 30)), size=[13, 17], interpolation=name, antialias=True
    )
    expected = image.resize((13, 17), Image.Resampling[name.upper()])
    np.testing.assert_array_equal(np.asarray(got.image), np.asarray(expected))


@settings(deadline=None)
@given(st.integers(1, 900), st.integers(1, 900), st.integers(1, 64))
def test_the_shorter_side_gets_the_length(width, height, side):
    assume(max(width, height) / min(width, height) < 50)
    got = resize(
        picture_of(width, height), size=side, interpolation="nearest", antialias=True
    ).image
    assert min(got.size) == side
    long, short = max(width, height), min(width, height)
    assert max(got.size) == max(int(side * long / short), 1)
    assert (got.width <= got.height) == (width <= height) or got.width == got.height


def test_a_strip_does_not_become_a_huge_image():
    with pytest.raises(ImageInvalid, match="too elongated"):
        resize(picture_of(1, 200_000), size=224, interpolation="bilinear", antialias=True)


@settings(deadline=None)
@given(
    st.tuples(st.integers(1, 400), st.integers(1, 400)),
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.booleans(),
    st.sampled_from(["center", "top_left"]),
)
def test_letterboxes_hold_the_whole_image(has, to, enlarge, align):
    (width, height), (to_width, to_height) = has, to
    got = letterbox(
        picture_of(width, height), size=[to_width, to_height], enlarge=enlarge, align=align, **BOXES
    )
    assert got.image.size == (to_width, to_height)
    place = got.geometry
    left, top = place.shift_x, place.shift_y
    right, bottom = left + width * place.scale_x, top + height * place.scale_y
    assert left >= 0 <= top
    assert right <= to_width + 1e-9
    assert bottom <= to_height + 1e-9
    if align == "top_left":
        assert (left, top) == (0, 0)
    else:
        assert abs(left - (to_width - right)) <= 1 + 1e-9
        assert abs(top - (to_height - bottom)) <= 1 + 1e-9
    if enlarge:
        assert math.isclose(right - left, to_width) or math.isclose(bottom - top, to_height)
    else:
        assert place.scale_x <= 1
    black = (np.asarray(got.image) == 0).all(axis=2).sum()
    assert black == round((right - left) * (bottom - top))


def test_bars_have_the_colour_that_the_model_sees():
    for colours, expected in (("rgb", [10, 20, 30]), ("bgr", [10, 20, 30])):
        graph = image_graph(
            {"decode": colours},
            {"letterbox": {"size": 4, "colour": [10, 20, 30]}},
            shape=(ANY, 4, 4, 3),
        )
        inputs, _ = graph.before([{"image": png(Image.new("RGB", (4, 2), "white"))}])
        assert inputs["image"][0, 0, 0].tolist() == expected
        assert inputs["image"][0, 2, 0].tolist() == [255, 255, 255]
    gray = image_graph(
        {"decode": "gray"}, {"letterbox": 4}, {"layout": "nchw"}, shape=(ANY, 1, 4, 4)
    )
    inputs, _ = gray.before([{"image": png(Image.new("RGB", (4, 2), "white"))}])
    assert inputs["image"][0, 0, :, 0].tolist() == [114, 255, 255, 114]


def marked(width, height, x, y):
    image = Image.new("L", (width, height))
    image.putpixel((x, y), 255)
    return image.convert("RGB")


@settings(deadline=None)
@given(st.data())
def test_where_a_pixel_went_can_be_told(data):
    width, height = data.draw(st.integers(20, 60)), data.draw(st.integers(20, 60))
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    got = Picture(marked(width, height, x, y), Geometry(width, height))
    for step in data.draw(st.lists(st.sampled_from(["resize", "letterbox", "crop"]), max_size=3)):
        if step == "resize":
            size = [got.image.width * 2, got.image.height * 3]
            got = resize(got, size=size, interpolation="nearest", antialias=True)
        elif step == "letterbox":
            size = [got.image.width + 7, got.image.height + 4]
            got = letterbox(got, size=size, enlarge=False, align="center",
                            **{**BOXES, "colour": [0] * 3})  # fmt: skip
        else:
            got = center_crop(got, size=[got.image.width - 3, got.image.height + 5])
    rows, columns = np.nonzero(np.asarray(got.image)[:, :, 0])
    if not len(rows):
        return  # cropped away
    seen = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], float)
    back = got.geometry.to_original(seen)[0]
    assert back[0] >= x - 1e-6
    assert back[1] >= y - 1e-6
    assert back[2] <= x + 1 + 1e-6
    assert back[3] <= y + 1 + 1e-6


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(*[st.floats(0.01, 100)] * 2, *[st.floats(-500, 500)] * 2),
        max_size=4,
    ),
    st.lists(st.floats(-1000, 1000), min_size=4, max_size=4),
)  # fmt: skip
def test_geometry_round_trips(moves, box):
    geometry, moved = Geometry(10, 10), np.array([box])
    for scale_x, scale_y, shift_x, shift_y in moves:
        geometry = geometry.scaled(scale_x, scale_y).shifted(shift_x, shift_y)
        moved = moved * [scale_x, scale_y, scale_x, scale_y] + [shift_x, shift_y] * 2
    np.testing.assert_allclose(geometry.to_original(moved), [box], rtol=1e-6, atol=1e-3)


def test_crops_cut_what_they_say():
    image = noise(20, 10)
    got = crop(Picture(image, Geometry(20, 10)), box=[3, 2, 5, 4])
    np.testing.assert_array_equal(np.asarray(got.image), np.asarray(image)[2:6, 3:8])
    with pytest.raises(ImageInvalid, match="at least 8 x 12"):
        crop(Picture(image, Geometry(20, 10)), box=[3, 2, 5, 10])
    middle = center_crop(Picture(image, Geometry(20, 10)), size=[4, 4])
    np.testing.assert_array_equal(np.asarray(middle.image), np.asarray(image)[3:7, 8:12])
    wide = np.asarray(center_crop(Picture(image, Geometry(20, 10)), size=[22, 12]).image)
    np.testing.assert_array_equal(wide[1:11, 1:21], np.asarray(image))
    assert wide[0].max() == wide[:, 0].max() == 0


def test_a_crop_beyond_the_image_is_found_before_anything_runs():
    for box in ([0, 0, 9, 8], [0, 4, 8, 5], [0, 0, 0, 3]):
        with pytest.raises(ManifestInvalid):
            image_graph("decode", {"resize": [8, 8]}, {"crop": box})


def test_a_classifiers_pixels_are_those_of_the_formula():
    """As EfficientNet-lite was trained: shorter side 256, the middle 224, (x - 127) / 128."""
    steps = ["decode", {"resize": 256}, {"center_crop": 224},
             {"normalize": {"mean": 127, "std": 128}}, {"layout": "nchw"}]  # fmt: skip
    images = [noise(300, 400), noise(640, 300)]
    inputs, context = image_graph(*steps, shape=(ANY, 3, 224, 224)).before(
        [{"image": png(image)} for image in images]
    )
    assert inputs["image"].flags.c_contiguous
    assert inputs["image"].dtype == np.float32
    assert context.input_size == (224, 224)
    for image, got in zip(images, inputs["image"], strict=True):
        short = 256 / min(image.size)
        resized = image.resize(
            (int(image.width * short), int(image.height * short)), Image.Resampling.BILINEAR
        )
        left, top = (resized.width - 224) // 2, (resized.height - 224) // 2
        pixels = np.asarray(resized).astype(float)[top : top + 224, left : left + 224]
        np.testing.assert_allclose(got, ((pixels - 127) / 128).transpose(2, 0, 1), atol=1e-6)


def test_channels_are_normalised_in_the_order_that_the_model_sees():
    pixel = Image.new("RGB", (1, 1), (10, 20, 30))
    each = {"normalize": {"mean": [1, 2, 3], "std": [2, 4, 5]}}
    for colours, values in (("rgb", (10, 20, 30)), ("bgr", (30, 20, 10))):
        expected = [(v - m) / s for v, m, s in zip(values, (1, 2, 3), (2, 4, 5), strict=True)]
        for steps in ([each, {"layout": "nchw"}], [{"layout": "nchw"}, each]):
            inputs, _ = image_graph({"decode": colours}, *steps).before([{"image": png(pixel)}])
            np.testing.assert_allclose(inputs["image"].ravel(), expected, rtol=1e-6)


def test_scaling_and_offset():
    graph = image_graph("decode", {"scale": {"factor": "2/255", "offset": -1}}, shape=(ANY,) * 4)
    inputs, _ = graph.before([{"image": png(Image.new("RGB", (1, 1), (0, 255, 51)))}])
    np.testing.assert_allclose(inputs["image"].ravel(), [-1, 1, -0.6], atol=1e-6)


@pytest.mark.parametrize(
    ("order", "shape"),
    [("nhw", (ANY, 2, 3)), ("nchw", (ANY, 1, 2, 3)), ("nhwc", (ANY, 2, 3, 1)), (None, (ANY, 2, 3))],
)
def test_gray_images_fit_models_with_and_without_a_channel(order, shape):
    steps = [{"decode": "gray"}, {"resize": [3, 2]}, *([{"layout": order}] if order else [])]
    inputs, context = image_graph(*steps, shape=shape, datatype=Datatype.UINT8).before(
        [{"image": png(noise(3, 2))}]
    )
    assert inputs["image"].shape == (1, *shape[1:])
    assert inputs["image"].dtype == np.uint8
    assert context.input_size == (2, 3)


def test_layouts_can_be_turned_back():
    image = noise(5, 4)
    steps = ["decode", {"layout": "nchw"}, {"layout": "nhwc"}]
    inputs, _ = image_graph(*steps, shape=(ANY, ANY, ANY, 3)).before([{"image": png(image)}])
    np.testing.assert_array_equal(inputs["image"][0], np.asarray(image))


def test_images_of_different_sizes_are_not_stacked():
    graph = image_graph("decode", {"layout": "nchw"})
    items = [{"image": png(noise(4, 4))}, {"image": png(noise(4, 4))}, {"image": png(noise(5, 4))}]
    assert graph.before(items[:2])[0]["image"].shape == (2, 3, 4, 4)
    with pytest.raises(InvalidInput, match=r"Item 3 of 3.*5 x 4 .*separate requests"):
        graph.before(items)


def test_sizes_that_only_the_item_decides_are_checked_when_it_comes():
    graph = image_graph("decode", {"resize": 8}, {"layout": "nchw"}, shape=(ANY, 3, 8, 8))
    assert graph.before([{"image": png(noise(9, 9))}])[0]["image"].shape == (1, 3, 8, 8)
    with pytest.raises(TensorMismatch, match="8, 16"):
        graph.before([{"image": png(noise(18, 9))}])


def test_the_pixels_of_a_call_are_bounded(monkeypatch):
    monkeypatch.setattr(graph_module, "MAX_CALL_PIXELS", 100)
    graph = image_graph("decode", {"layout": "nchw"})
    item = {"image": png(noise(8, 8))}
    graph.before([item])
    with pytest.raises(InvalidInput, match="Item 2 of 3: with it the call has more than 100"):
        graph.before([item] * 3)


def test_the_bad_image_of_several_is_named():
    graph = image_graph("decode", {"layout": "nchw"})
    with pytest.raises(ImageInvalid, match="Item 2 of 2: The image cannot be used: it is empty"):
        graph.before([{"image": png(noise(8, 8))}, {"image": b""}])
