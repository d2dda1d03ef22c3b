"""JSON lines."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.importing import columns_of, opened

from modelry.datasets.importers import json_lines
from modelry.domain.datasets import ColumnRole, ColumnType
from modelry.domain.errors import InvalidInput, RowsInvalid


def lines(*rows: Any) -> bytes:
    return "".join(
        (one if isinstance(one, str) else json.dumps(one)) + "\n" for one in rows
    ).encode()


def read(tmp_path: Path, *rows: Any, **options: Any) -> Any:
    source = opened(tmp_path, {"rows.jsonl": lines(*rows)}, **options)
    return source, columns_of(source)


def test_values_keep_their_types(tmp_path: Path) -> None:
    source, rows = read(
        tmp_path,
        {"text": "a", "n": 1, "x": 1, "ok": True, "v": [[1, 2], [3, 4]], "who": {"name": "Ü"}},
        {"text": None, "n": 2, "x": 0.5, "ok": False, "v": [[1, 2], [3, 4.5]]},
        {"text": "c", "n": -3, "x": 2, "ok": True, "v": [[0, 0], [0, 0]], "who": {"name": "b"}},
    )
    told = {one.name: (one.type, one.is_nullable) for one in source.schema.columns}
    assert told == {
        "text": (ColumnType.TEXT, True),
        "n": (ColumnType.INTEGER, False),
        "x": (ColumnType.NUMBER, False),
        "ok": (ColumnType.BOOLEAN, False),
        "v": (ColumnType.TENSOR, False),
        "who.name": (ColumnType.TEXT, True),
    }
    assert rows["v"][1] == [1, 2, 3, 4.5]
    assert rows["who.name"] == ["Ü", None, "b"]


def test_pairs_of_texts_and_labels(tmp_path: Path) -> None:
    source, _ = read(tmp_path, {"translation": {"en": "yes", "de": "ja"}},
                     source="translation.en", target="translation.de")  # fmt: skip
    assert [one.role for one in source.schema.columns] == [ColumnRole.SOURCE, ColumnRole.TARGET]
    source, rows = read(tmp_path, {"text": "x", "label": 3}, {"text": "y", "label": 1})
    assert source.schema.columns[1].classes == ("1", "3")
    assert rows["label"] == ["3", "1"]


def test_bad_lines_are_named(tmp_path: Path) -> None:
    rows = (
        {"a": 1, "b": "x"},
        "",
        "{",
        [1],
        {"a": "old", "b": "y"},
        {"a": 2**63, "b": "y"},
        '{"a": NaN, "b": "z"}',
        {"a": 2, "b": ["z"]},
        {"a": 3, "b": "w"},
    )
    with pytest.raises(RowsInvalid) as caught:
        read(tmp_path, *rows)
    for expected in (
        "line 3: it is no JSON",
        "line 4: it is a list; expected an object",
        "line 5: 'a' is 'old', in the rows before it is integer",
        "line 6: '9223372036854775808' is no integer",
        "line 7: it is no JSON (NaN is none either)",
        "line 8: 'z' stands in a list of numbers",
    ):
        assert expected in caught.value.message
    source, good = read(tmp_path, *rows, on_bad_rows="skip")
    assert good == {"a": [1, 3], "b": ["x", "w"]}
    assert source.problems.count == 6


def test_types_that_are_given(tmp_path: Path) -> None:
    _, rows = read(
        tmp_path,
        {"a": 1, "t": "2024-02-01T10:00:00+02:00", "n": "7"},
        {"a": "x", "t": "2024-02-01", "n": 8},
        types={"a": "text", "t": "time", "n": "integer"},
    )
    assert rows["a"] == ["1", "x"]
    assert rows["t"][0].isoformat() == "2024-02-01T08:00:00+00:00"
    assert rows["n"] == [7, 8]
    with pytest.raises(RowsInvalid, match="line 2: 'x' is no integer, in 'a'"):
        read(tmp_path, {"a": 1}, {"a": "x"}, types={"a": "integer"})


def test_large_whole_numbers_lose_no_digits(tmp_path: Path) -> None:
    for rows in (({"a": 2**53 + 1}, {"a": 0.5}), ({"a": 0.5}, {"a": 2**53 + 1})):
        with pytest.raises(RowsInvalid, match="line 2"):
            read(tmp_path, *rows)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "no row that can be used"),
        (b"[{}]", "holds a JSON list"),
        (b'{"": 1}\n', "is called ''"),
        (b'{"a": [1, 2]}\n{"a": [1]}\n', "not of the shape"),
        (b'{"a.b": 1, "a": {"b": 2}}\n', "it has 'a.b' twice"),
        (b'{"a": ' * 2000 + b"1" + b"}" * 2000, "no JSON"),
        (b'{"a": ' * 12 + b"1" + b"}" * 12, "deep in each other"),
        ('{"a": 1}'.encode("utf-16"), "no JSON"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, data: bytes, expected: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        opened(tmp_path, {"rows.jsonl": data}, "jsonl")
    assert expected in caught.value.message


def test_a_line_that_is_too_long_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_lines, "MAX_LINE_BYTES", 100)
    with pytest.raises(InvalidInput, match="Line 2 of"):
        read(tmp_path, {"a": 1}, {"a": "x" * 200})


def test_columns_are_left_out(tmp_path: Path) -> None:
    _, rows = read(tmp_path, {"a": 1, "b": [[]]}, leave_out=["b"])
    assert rows == {"a": [1]}


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
ROWS = st.fixed_dictionaries(
    {},
    optional={
        "text": st.none() | TEXT,
        "whole": st.none() | st.integers(-(2**63), 2**63 - 1),
        "number": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "flag": st.booleans(),
        "inner": st.fixed_dictionaries({"text": TEXT}),
        "vector": st.lists(st.integers(-9, 9), min_size=2, max_size=2),
    },
)


@settings(max_examples=25)
@given(st.lists(ROWS, min_size=1, max_size=12))
def test_what_was_written_is_read(rows: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        if not any(row for row in rows):
            return
        _, got = read(Path(folder), *rows)
    for name, values in got.items():
        outer, _, inner = name.partition(".")
        expected = [(row.get(outer) or {}).get(inner) if inner else row.get(name) for row in rows]
        assert values == expected


@settings(max_examples=30)
@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
), st.recursive(st.integers() | TEXT, lambda inner: st.dictionaries(TEXT, inner, max_size=3)),
    st.binary(max_size=20))  # fmt: skip
def test_anything_is_read_or_refused(first: Any, second: Any, third: bytes) -> None:
    data = lines({"a": first}, {"a": second}, second) + third
    with tempfile.TemporaryDirectory() as folder, suppress(InvalidInput):
        columns_of(opened(Path(folder), {"x": data}, "jsonl", on_bad_rows="skip"))
