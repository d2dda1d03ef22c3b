"""What the report finds, and that it finds nothing in rows that are well."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.importing import picture

from modelry.datasets.forms import arrow_schema
from modelry.datasets.validation import Validator
from modelry.datasets.validation.contents import ContentChecks
from modelry.domain.datasets import Column, ColumnRole, ColumnType, Schema

LABEL = Column("label", ColumnType.TEXT, ColumnRole.LABEL, is_nullable=True, classes=("a", "b"))
TABLE = Schema(
    (
        Column("id", ColumnType.INTEGER, ColumnRole.ID),
        Column("size", ColumnType.NUMBER, is_nullable=True),
        Column("name", ColumnType.TEXT, is_nullable=True),
        LABEL,
    )
)


def batch(schema: Schema, columns: dict[str, list[Any]]) -> pa.RecordBatch:
    whole = arrow_schema(schema)
    return pa.RecordBatch.from_arrays(
        [pa.array(columns[one.name], one.type) for one in whole], schema=whole
    )


def table(rows: int, start: int = 0, **changed: list[Any]) -> pa.RecordBatch:
    numbers = range(start, start + rows)
    columns: dict[str, list[Any]] = {
        "id": list(numbers),
        "size": [float(i) for i in numbers],
        "name": [f"row {i}" for i in numbers],
        "label": ["ab"[i % 2] for i in numbers],
    }
    return batch(TABLE, columns | changed)


def found(schema: Schema, *parts: tuple[str, pa.RecordBatch]) -> dict[str, dict[str, Any]]:
    validator = Validator(schema)
    for split, rows in parts:
        validator.add(split, rows)
    report = validator.report()
    counted = sum(report[key] for key in ("errors", "warnings", "infos"))
    assert counted == len(report["findings"])
    return {one["code"]: one for one in report["findings"]}


def rows_of(finding: dict[str, Any]) -> list[tuple[str, int]]:
    return [(one["split"], one["row"]) for one in finding["first"]]


def test_nothing_is_found_in_good_rows() -> None:
    validator = Validator(TABLE)
    validator.add("train", table(50))
    validator.add("train", table(50, 50))
    validator.add("test", table(20, 100))
    assert validator.report() == {
        "rows": {"train": 100, "test": 20},
        "errors": 0,
        "warnings": 0,
        "infos": 0,
        "findings": [],
    }


def test_missing_odd_and_blank_values() -> None:
    rows = table(
        8,
        10,
        size=[1.0, None, float("nan"), float("-inf"), 2.0, 3.0, 4.0, 5.0],
        name=["x", "", "  ", None, "K\N{REPLACEMENT CHARACTER}ln", "y", "z", "q"],
        label=["a", "b", None, "a", "b", "a", "b", "a"],
    )
    validator = Validator(TABLE)
    validator.add("train", table(10))
    validator.add("train", rows)
    findings = validator.report()["findings"]
    told = {(one["code"], one.get("column")): one for one in findings}
    assert rows_of(told["missing", "size"]) == [("train", 12)]
    assert told["missing", "label"]["severity"] == "error"
    assert rows_of(told["not-finite", "size"]) == [("train", 13), ("train", 14)]
    assert rows_of(told["empty-text", "name"]) == [("train", 12), ("train", 13)]
    assert rows_of(told["replacement-character", "name"]) == [("train", 15)]
    assert [one["severity"] for one in findings] == sorted(
        (one["severity"] for one in findings), key=["error", "warning", "info"].index
    )


def test_a_constant_column() -> None:
    findings = found(TABLE, ("", table(6, size=[1.0] * 6)), ("", table(6, 6, size=[1.0] * 6)))
    assert findings["constant"]["column"] == "size"
    assert findings["constant"]["count"] == 12


def test_duplicates_contradictions_and_leakage() -> None:
    train = table(10)
    again = table(3, size=[4.0, 5.0, 90.0], name=["row 4", "row 5", "new"], label=["a", "a", "b"],
                  id=[20, 21, 22])  # fmt: skip
    test = table(3, 7, id=[31, 32, 33], label=["a", "b", "a"])
    findings = found(TABLE, ("train", train), ("train", again), ("test", test))
    assert rows_of(findings["duplicate-rows"]) == [("train", 11)], "row 5 has another label"
    assert rows_of(findings["contradicting-labels"]) == [("train", 6), ("train", 12)]
    assert rows_of(findings["leakage"]) == [("test", 1), ("test", 2), ("test", 3)]
    assert findings["leakage"]["severity"] == "error"
    assert "same features as rows of 'train': 3" in findings["leakage"]["message"]


def test_ids_that_stand_twice() -> None:
    findings = found(TABLE, ("", table(4, id=[1, 2, 1, 1])))
    assert rows_of(findings["duplicate-id"]) == [("", 3), ("", 4)]


def test_classes() -> None:
    findings = found(TABLE, ("", table(8, label=["a"] * 8)))
    assert "'a': there is nothing to tell apart" in findings["one-class"]["message"]
    findings = found(
        TABLE,
        ("train", table(8, label=["a"] * 7 + [None])),
        ("test", table(8, 8)),
    )
    assert findings["untrained-class"]["severity"] == "error"
    findings = found(TABLE, ("", table(64, label=["b"] * 3 + ["a"] * 61)))
    assert "'a' has 61 rows, 'b' has 3" in findings["imbalance"]["message"]
    assert findings["few-rows"]["count"] == 1
    findings = found(TABLE, ("", table(3, label=["a", "c", "b"])))
    assert rows_of(findings["unknown-class"]) == [("", 2)]


def test_content_beyond_memory_is_estimated() -> None:
    rng = np.random.default_rng(1)
    checks = ContentChecks(TABLE, limit=4000)
    values = rng.integers(0, 20_000, 40_000)
    row = 1
    for start in range(0, 40_000, 5000):
        part = values[start : start + 5000].tolist()
        rows = table(5000, size=[float(one) for one in part], name=["x"] * 5000, label=["a"] * 5000,
                     id=list(range(start, start + 5000)))  # fmt: skip
        checks.add("", row, rows)
        row += 5000
    (finding,) = (one for one in checks.findings() if one.code == "duplicate-rows")
    truth = 40_000 - len(np.unique(values))
    assert finding.is_estimated
    assert abs(finding.count - truth) < 0.1 * truth
    place = finding.first[0].row - 1
    assert values[place] in values[:place]


DETECTION = Schema(
    (
        Column("image", ColumnType.IMAGE),
        Column("boxes", ColumnType.BOXES, ColumnRole.LABEL, classes=("car", "bus")),
    )
)


def box(label: int, x: float, y: float, width: float, height: float) -> dict[str, float]:
    return {"label": label, "x": x, "y": y, "width": width, "height": height}


def test_boxes() -> None:
    good = [box(0, 0, 0, 8, 6), box(1, 1, 1, 3, 3)]
    bad = [
        [box(0, 4, 0, 8, 3)],
        [box(0, -2, 0, 4, 3)],
        [box(0, 1, 1, 0, 3)],
        [box(2, 1, 1, 3, 3)],
        [*good, good[0]],
        [],
        [box(0, 1, 1, 1, 3)],
        [box(0, float("nan"), 1, 3, 3)],
    ]
    images = [picture(i) for i in range(1 + len(bad))]
    findings = found(DETECTION, ("", batch(DETECTION, {"image": images, "boxes": [good, *bad]})))
    assert rows_of(findings["box-outside"]) == [("", 2), ("", 3), ("", 9)]
    assert rows_of(findings["box-without-area"]) == [("", 4)]
    assert rows_of(findings["unknown-class"]) == [("", 5)]
    assert rows_of(findings["duplicate-box"]) == [("", 6)]
    assert rows_of(findings["no-box"]) == [("", 7)]
    assert rows_of(findings["box-small"]) == [("", 8)]


def test_good_boxes() -> None:
    boxes = [[box(i % 2, 0, 0, 8, 6)] for i in range(4)]
    rows = batch(DETECTION, {"image": [picture(i) for i in range(4)], "boxes": boxes})
    assert found(DETECTION, ("", rows)) == {}


PAIRS = Schema(
    (
        Column("source", ColumnType.TEXT, ColumnRole.SOURCE),
        Column("target", ColumnType.TEXT, ColumnRole.TARGET),
    )
)


def test_pairs_of_texts() -> None:
    rows = batch(
        PAIRS,
        {
            "source": ["one", "two", "Save", "a long text of many more words than the other one"],
            "target": ["eins", "zwei", "Save", "kurz"],
        },
    )
    findings = found(PAIRS, ("", rows))
    assert rows_of(findings["same-texts"]) == [("", 3)]
    assert rows_of(findings["uneven-texts"]) == [("", 4)]


def test_tensors() -> None:
    schema = Schema((Column("x", ColumnType.TENSOR, shape=(2,), dtype="float32"),))
    rows = batch(schema, {"x": [[1, 2], [float("nan"), 0], [3, 4], [1, 2]]})
    findings = found(schema, ("", rows))
    assert rows_of(findings["not-finite"]) == [("", 2)]
    assert rows_of(findings["duplicate-rows"]) == [("", 4)]


@settings(max_examples=20)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from("ab")), min_size=1, max_size=30),
    st.integers(1, 30),
)
def test_duplicates_are_those_that_a_plain_count_finds(
    rows: list[tuple[int, str]], cut: int
) -> None:
    whole = table(
        len(rows),
        size=[float(size) for size, _ in rows],
        name=["x"] * len(rows),
        label=[label for _, label in rows],
    )
    findings = found(TABLE, ("", whole[:cut]), ("", whole[cut:]))
    assert findings.get("duplicate-rows", {"count": 0})["count"] == len(rows) - len(set(rows))
    labels = {size: {label for other, label in rows if other == size} for size, _ in rows}
    contradicting = sum(len(labels[size]) > 1 for size, _ in rows)
    assert findings.get("contradicting-labels", {"count": 0})["count"] == contradicting


@pytest.mark.parametrize("schema", [TABLE, DETECTION, PAIRS])
def test_no_rows_at_all(schema: Schema) -> None:
    validator = Validator(schema)
    empty = {one.name: [] for one in schema.columns}
    validator.add("train", batch(schema, empty))
    assert validator.report()["errors"] == 0
