"""Images with boxes: COCO and YOLO."""

from __future__ import annotations

import gzip
import io
import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.importing import columns_of, opened, picture, zipped

from modelry.datasets.importers import json_stream
from modelry.domain.datasets import ColumnRole, ColumnType
from modelry.domain.errors import InvalidInput, RowsInvalid

IMAGES = {f"images/{i}.png": picture(i, 20, 10) for i in range(4)}
CATEGORIES = [{"id": 7, "name": "car"}, {"id": 3, "name": "bus"}]


def coco(**changed: Any) -> dict[str, Any]:
    told: dict[str, Any] = {
        "info": {"year": 2024},
        "images": [{"id": i, "file_name": f"{i}.png", "width": 20, "height": 10} for i in range(4)],
        "annotations": [
            annotation(1, [1, 2, 3, 4]),
            annotation(0, [0, 0, 20, 10], category_id=3),
            annotation(1, [15.5, 5, 5, 5], category_id=3),
        ],
        "categories": CATEGORIES,
    }
    return told | changed


def annotation(image: Any, bbox: Any, **more: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": image, "bbox": bbox, "category_id": 7, "iscrowd": 0, **more}


def read(tmp_path: Path, told: dict[str, Any], split: str = "", **options: Any) -> Any:
    files = {"instances.json": json.dumps(told).encode(), "images.zip": zipped(IMAGES)}
    source = opened(tmp_path, files, **options)
    return source, columns_of(source, split)


def test_coco(tmp_path: Path) -> None:
    source, rows = read(tmp_path, coco())
    image, boxes, file = source.schema.columns
    assert (image.type, boxes.type, file.role) == (
        ColumnType.IMAGE, ColumnType.BOXES, ColumnRole.ID,
    )  # fmt: skip
    assert boxes.classes == ("bus", "car"), "in the order of their ids"
    assert rows["file"] == ["0.png", "1.png", "2.png", "3.png"]
    assert rows["image"] == list(IMAGES.values())
    assert rows["boxes"][1] == [
        {"label": 1, "x": 1, "y": 2, "width": 3, "height": 4},
        {"label": 0, "x": 15.5, "y": 5, "width": 4.5, "height": 5},  # half a pixel is rounding
    ]
    assert rows["boxes"][2] == []


def test_lists_of_coco_come_in_any_order(tmp_path: Path) -> None:
    _, rows = read(tmp_path, coco())
    told = coco()
    turned = {key: told[key] for key in ("annotations", "categories", "info", "images")}
    assert read(tmp_path, turned)[1] == rows


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (
            {"annotations": [annotation(2, [18, 5, 9, 3])]},
            "2.png: box 1 [18, 5, 9, 3] lies outside",
        ),
        ({"annotations": [annotation(2, [-3, 5, 9, 3])]}, "lies outside"),
        ({"annotations": [annotation(2, [1, 1, 0, 3])]}, "has no width or height"),
        ({"annotations": [annotation(2, [1, 1, -1, 3])]}, "has no width or height"),
        ({"annotations": [annotation(2, [1, 1, 3])]}, "no bbox of 4 numbers"),
        ({"annotations": [annotation(2, [1, 1, "3", 3])]}, "no bbox of 4 numbers"),
        ({"annotations": [annotation(2, [1, 1, 1e300, 3])]}, "no bbox of 4 numbers"),
        ({"annotations": [annotation(2, None)]}, "no bbox of 4 numbers"),
        ({"annotations": [annotation(2, [1, 1, 2, 2], category_id=9)]}, "category 9 is not among"),
        ({"annotations": [annotation(99, [1, 1, 2, 2])]}, "no image of that id"),
        ({"images": [{"id": 0, "file_name": "9.png"}]}, "image 9.png: it is not in the zips"),
        (
            {"images": [{"id": 0, "file_name": "0.png", "width": 40, "height": 20}]},
            "has 20 x 10 pixels, the annotations are made for 40 x 20",
        ),
    ],
)
def test_bad_rows_of_coco_are_named(tmp_path: Path, changed: dict[str, Any], expected: str) -> None:
    told = coco(**changed)
    if "images" in changed:
        told["annotations"] = [annotation(0, [1, 1, 2, 2])]
        told["images"] = [*changed["images"], {"id": 5, "file_name": "3.png"}]
    with pytest.raises(RowsInvalid) as caught:
        read(tmp_path, told)
    assert expected in caught.value.message
    source, rows = read(tmp_path, told, on_bad_rows="skip")
    assert source.problems.count == 1
    assert "3.png" in rows["file"]


def test_boxes_may_be_cut_at_the_edge(tmp_path: Path) -> None:
    told = coco(annotations=[annotation(2, [15, -5, 9, 9]), annotation(2, [30, 30, 5, 5])])
    source, rows = read(tmp_path, told, boxes_outside="clip")
    assert rows["boxes"][2] == [{"label": 1, "x": 15, "y": 0, "width": 5, "height": 4}]
    assert "2.png: 1 boxes lie outside" in source.problems.to_wire()["notes"][0]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "no JSON"),
        (b"[]", "should come '{'"),
        (b'{"images": [', "no JSON"),
        (b'{"images": [{}]}', "image 1 has no file_name"),
        (json.dumps(coco(categories=[])).encode(), "no categories"),
        (json.dumps(coco(categories=[*CATEGORIES, {"id": 7, "name": "x"}])).encode(), "no id of"),
        (
            json.dumps(coco(categories=[*CATEGORIES, {"id": 8, "name": "car"}])).encode(),
            "no name of",
        ),
        (json.dumps(coco(images=[])).encode(), "no list 'images'"),
        (json.dumps(coco(images=[{"id": 1, "file_name": "a"}] * 2)).encode(), "have the id"),
        (json.dumps(coco(images=[{"id": None, "file_name": "a"}])).encode(), "no id of an image"),
        (json.dumps(coco())[:-1].encode() + b', "x": NaN}', "no NaN"),
        (b'{"a": ' + b"[" * 100_000, "not too deep"),
        (b"\xff\xfe{", "should come"),
    ],
)
def test_files_that_are_no_coco(tmp_path: Path, data: bytes, expected: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        opened(tmp_path, {"a.json": data, "b.zip": zipped(IMAGES)}, "coco")
    assert expected in caught.value.message
    assert not isinstance(caught.value, RowsInvalid)


def test_splits_of_coco(tmp_path: Path) -> None:
    one = {
        "images": [{"id": 5, "file_name": "0.png"}],
        "annotations": [annotation(5, [1, 1, 2, 2])],
    }
    images = {"train2017/0.png": picture(1), "val2017/0.png": picture(2)}
    files = {
        "instances_train2017.json.gz": gzip.compress(json.dumps(coco(**one)).encode()),
        "instances_val2017.json": json.dumps(coco(**one)).encode(),
        "images.zip": zipped(images),
    }
    source = opened(tmp_path, files, "coco")
    assert source.splits == ("train", "validation")
    assert columns_of(source, "validation")["image"] == [picture(2)]
    inside = {
        "set/_annotations.coco.json": json.dumps(coco(**one)).encode(), "set/0.png": picture(3),
    }  # fmt: skip
    assert columns_of(opened(tmp_path, {"a.zip": zipped(inside)}))["image"] == [picture(3)]


YAML = b"path: .\ntrain: images/train\nnames:\n  0: car\n  1: bus\n"
YOLO = {
    "data.yaml": YAML,
    "images/train/a.png": picture(1, 20, 10),
    "images/train/b.png": picture(2, 20, 10),
    "labels/train/a.txt": b"0 0.5 0.5 0.2 0.4\n1 0.05 0.1 0.1 0.2\n\n",
    "images/val/c.png": picture(3, 20, 10),
    "labels/val/c.txt": b"1 0.5 0.5 1 1\n",
}


def yolo(tmp_path: Path, entries: dict[str, bytes], split: str = "train", **options: Any) -> Any:
    source = opened(tmp_path, {"set.zip": zipped(entries)}, **options)
    return source, columns_of(source, split)


def test_yolo(tmp_path: Path) -> None:
    source, rows = yolo(tmp_path, YOLO)
    assert source.splits == ("train", "validation")
    assert source.schema.columns[1].classes == ("car", "bus")
    assert rows["file"] == ["images/train/a.png", "images/train/b.png"]
    got = [[one[key] for key in ("label", "x", "y", "width", "height")] for one in rows["boxes"][0]]
    assert np.allclose(got, [[0, 8, 3, 4, 4], [1, 0, 0, 2, 2]], atol=1e-5)
    assert rows["boxes"][1] == [], "an image without a text shows background"


def test_yolo_with_splits_above(tmp_path: Path) -> None:
    entries = {
        "data.yaml": b"names: [car, bus]",
        "train/images/a.png": picture(1),
        "train/labels/a.txt": b"0 0.5 0.5 0.2 0.4",
        "test/images/images/b.png": picture(2),
        "test/images/labels/b.txt": b"1 0.5 0.5 0.2 0.4",
    }
    source, rows = yolo(tmp_path, entries, "test")
    assert source.splits == ("train", "test")
    assert rows["boxes"][0][0]["label"] == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"2 0.5 0.5 0.2 0.4", "line 1 has class 2; there are 2"),
        (b"0 0.5 0.5 0.2 0.4\n-1 0.5 0.5 0.2 0.4", "line 2 has class -1"),
        (b"0 0.5 0.5 0.2", "line 1 has 4 values"),
        (b"0 0.1 0.1 0.2 0.2 0.3 0.3", "polygons are not read"),
        (b"0 0.5 x 0.2 0.4", "no number"),
        (b"0 nan 0.5 0.2 0.4", "not in parts"),
        (b"0 8 3 4 4", "not in parts"),
        (b"0 0.9 0.5 0.6 0.4", "lies outside"),
        (b"0 0.5 0.5 0 0.4", "no width or height"),
        (b"\xff\xfe\x00", "values"),
    ],
)
def test_bad_rows_of_yolo_are_named(tmp_path: Path, text: bytes, expected: str) -> None:
    entries = YOLO | {"labels/train/a.txt": text}
    with pytest.raises(RowsInvalid) as caught:
        yolo(tmp_path, entries)
    assert expected in caught.value.message
    assert "entry images/train/a.png" in caught.value.message
    _, rows = yolo(tmp_path, entries, on_bad_rows="skip")
    assert rows["file"] == ["images/train/b.png"]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"data.yaml": b"nc: 2"}, "does not tell the names"),
        ({"data.yaml": b"names: [a, a]"}, "different names"),
        ({"data.yaml": b"names: {1: a, 2: b}"}, "numbered from 0"),
        ({"data.yaml": b"x: &a [1]\nnames: *a"}, "references"),
        ({"data.yaml": b"names: !!python/object/apply:os.system [ls]"}, "does not tell"),
        ({"data.yaml": b"{" * 3000}, "does not tell"),
        ({"labels/train/z.txt": b""}, "tells boxes of an image that is not there"),
        ({"images/d.png": picture()}, "Some images lie in folders of splits"),
    ],
)
def test_sets_that_are_no_yolo(tmp_path: Path, changed: dict[str, bytes], expected: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        yolo(tmp_path, YOLO | changed)
    assert expected in caught.value.message


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9**20)
    | st.text(max_size=5)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@settings(max_examples=30)
@given(st.dictionaries(st.text(max_size=4), VALUES, max_size=5), st.sampled_from([None, 2]))
def test_members_are_those_that_json_reads(told: dict[str, Any], indent: int | None) -> None:
    expected = [
        (key, one)
        for key, value in told.items()
        for one in (value if isinstance(value, list) else [value])
    ]
    data = json.dumps(told, indent=indent).encode()
    for chunk in (2, 2**18):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(json_stream, "_CHUNK", chunk)
            assert list(json_stream.members(io.BytesIO(data), "a.json")) == expected


def test_no_element_may_be_larger_than_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "MAX_ELEMENT", 1000)
    monkeypatch.setattr(json_stream, "_CHUNK", 100)
    many = json.dumps({"a": ["x" * 500] * 20}).encode()
    assert len(list(json_stream.members(io.BytesIO(many), "a.json"))) == 20
    with pytest.raises(InvalidInput, match="more than 1000 characters"):
        list(json_stream.members(io.BytesIO(json.dumps({"a": ["x" * 5000]}).encode()), "a.json"))


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_any_byte_turned_is_read_or_refused(place: int, turn: int) -> None:
    data = bytearray(json.dumps(coco()).encode())
    data[place % len(data)] ^= turn
    files = {"a.json": bytes(data), "b.zip": zipped(IMAGES)}
    with tempfile.TemporaryDirectory() as folder, suppress(InvalidInput):
        source = opened(Path(folder), files, "coco", on_bad_rows="skip")
        for split in source.splits:
            columns_of(source, split)


@settings(max_examples=20)
@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_text_is_read_or_refused(text: bytes, names: bytes) -> None:
    entries = YOLO | {"labels/train/a.txt": text, "data.yaml": b"names: " + names}
    with tempfile.TemporaryDirectory() as folder:
        for changed in ({**entries, "data.yaml": YAML}, entries):
            with suppress(InvalidInput):
                yolo(Path(folder), changed, on_bad_rows="skip")
