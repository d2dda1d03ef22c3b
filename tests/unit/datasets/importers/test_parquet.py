"""Parquet."""

from __future__ import annotations

import io
import json
import tempfile
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.importing import columns_of, opened, picture

from modelry.domain.datasets import ColumnRole, ColumnType
from modelry.domain.errors import InvalidInput, RowsInvalid


def parquet(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def read(tmp_path: Path, columns: dict[str, Any], **options: Any) -> Any:
    data = parquet(pa.table(columns))
    source = opened(tmp_path, {"rows.parquet": data}, **options)
    return source, columns_of(source)


def test_types(tmp_path: Path) -> None:
    source, rows = read(
        tmp_path,
        {
            "small": pa.array([1, None], pa.uint8()),
            "half": pa.array([0.5, 2.0], pa.float32()),
            "price": pa.array([Decimal("1.25"), Decimal("3.50")]),
            "big": pa.array(["x", "y"], pa.large_string()),
            "coded": pa.array(["a", "b"]).dictionary_encode(),
            "day": pa.array([date(2024, 1, 31), None]),
            "time": pa.array([0, 1_000_000], pa.timestamp("ns")),
            "zoned": pa.array([0, 3600], pa.timestamp("s", "Europe/Berlin")),
            "vector": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32())),
            "grid": pa.array([[[1, 2, 3]], None], pa.list_(pa.list_(pa.int16()))),
            "pair": pa.array([{"de": "ja", "en": {"gb": "yes"}}, None]),
            "nothing": pa.nulls(2),
        },
    )
    told = {one.name: (one.type.value, one.is_nullable) for one in source.schema.columns}
    assert told == {
        "small": ("integer", True),
        "half": ("number", False),
        "price": ("number", False),
        "big": ("text", False),
        "coded": ("text", False),
        "day": ("time", True),
        "time": ("time", False),
        "zoned": ("time", False),
        "vector": ("tensor", False),
        "grid": ("tensor", True),
        "pair.de": ("text", True),
        "pair.en.gb": ("text", True),
        "nothing": ("text", True),
    }
    assert rows["price"] == [1.25, 3.5]
    assert rows["day"][0] == datetime(2024, 1, 31, tzinfo=UTC)
    assert rows["zoned"][1] == datetime(1970, 1, 1, 1, tzinfo=UTC)
    assert rows["grid"] == [[1, 2, 3], None]
    assert source.schema.find("grid").shape == (1, 3)
    assert source.schema.find("vector").dtype == "float32"


def test_images_and_named_classes_as_hubs_have_them(tmp_path: Path) -> None:
    info = {"info": {"features": {"digit": {"names": ["zero", "one"], "_type": "ClassLabel"}}}}
    image = pa.array([{"bytes": picture(i), "path": f"{i}.png"} for i in range(3)])
    table = pa.table({"image": image, "digit": pa.array([1, 0, -1])})
    table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    source = opened(tmp_path, {"train-00000-of-00001.parquet": parquet(table)})
    assert source.splits == ("train",)
    image_column, label = source.schema.columns
    assert image_column.type is ColumnType.IMAGE
    assert (label.role, label.classes) == (ColumnRole.LABEL, ("zero", "one"))
    rows = columns_of(source, "train")
    assert rows["digit"] == ["one", "zero", None]
    assert rows["image"] == [picture(i) for i in range(3)]


def test_bad_rows_are_named(tmp_path: Path) -> None:
    columns = {
        "image": [picture(1), b"no image", picture(2), None],
        "vector": [[1, 2], [1, 2], [1, 2, 3], [3, 4]],
        "count": pa.array([1, 2, 3, 2**64 - 1], pa.uint64()),
    }
    with pytest.raises(RowsInvalid) as caught:
        read(tmp_path, columns)
    for expected in (
        "row 2: column 'image': it is no image of a known format",
        "row 3: column 'vector': its lists are not of the shape [2]",
        "row 4: column 'count': 18446744073709551615 cannot be kept exactly",
    ):
        assert expected in caught.value.message
    source, rows = read(tmp_path, columns, on_bad_rows="skip")
    assert rows["count"] == [1]
    assert source.problems.count == 3


def test_labels_and_roles(tmp_path: Path) -> None:
    source, rows = read(tmp_path, {"x": [1.5, 2.5], "y": [True, False]})
    assert source.schema.columns[1].classes == ("false", "true")
    assert rows["y"] == ["true", "false"]
    source, rows = read(tmp_path, {"x": [1, 2], "kind": [7, 3]}, label="kind", types={"x": "text"})
    assert source.schema.columns[1].classes == ("3", "7")
    assert rows["x"] == ["1", "2"]


@pytest.mark.parametrize(
    ("columns", "options", "expected"),
    [
        ({"a": [{"b": [{"c": 1}]}]}, {}, "leave_out=[a.b]"),
        ({"a": [["x"]]}, {}, "which cannot be kept"),
        ({"a": [1]}, {"types": {"a": "time"}}, "cannot be time"),
        ({"a": [1]}, {"leave_out": ["a"]}, "All columns"),
        ({"a": [1]}, {"leave_out": ["b"]}, "no column 'b' to leave out"),
        ({"a": pa.array([], pa.int64())}, {}, "no row that can be used"),
        ({"a": [1], "a.b": [1], " ": [2]}, {}, "Column 3"),
    ],
)
def test_files_that_cannot_be_used(
    tmp_path: Path, columns: dict[str, Any], options: dict[str, Any], expected: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(tmp_path, columns, **options)
    assert expected in caught.value.message


def test_files_that_differ(tmp_path: Path) -> None:
    files = {
        "train.parquet": parquet(pa.table({"a": [1]})),
        "test.parquet": parquet(pa.table({"a": ["x"]})),
    }
    with pytest.raises(InvalidInput, match="differ in the column 'a'"):
        opened(tmp_path, files)


def test_columns_that_cannot_be_kept_may_be_left_out(tmp_path: Path) -> None:
    _, rows = read(tmp_path, {"a": [1], "words": [["x"]]}, leave_out=["words"])
    assert rows == {"a": [1]}


WHOLE = parquet(
    pa.table({"a": list(range(200)), "b": [f"text {i % 7}" for i in range(200)]}), row_group_size=50
)


@settings(max_examples=40)
@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_any_byte_turned_is_read_or_refused(place: int, turn: int) -> None:
    data = bytearray(WHOLE)
    data[place] ^= turn
    with tempfile.TemporaryDirectory() as folder, suppress(InvalidInput):
        columns_of(opened(Path(folder), {"a": bytes(data)}, "parquet", on_bad_rows="skip"))


def test_any_cut_is_refused(tmp_path: Path) -> None:
    for end in range(0, len(WHOLE), 97):
        with pytest.raises(InvalidInput):
            opened(tmp_path, {"a": WHOLE[:end]}, "parquet")
