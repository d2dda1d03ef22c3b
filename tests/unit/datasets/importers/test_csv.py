"""CSV: what is read, and what is refused where."""

from __future__ import annotations

import csv
import gzip
import io
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.importing import columns_of, opened

from modelry.datasets.importers import csv_files
from modelry.domain.datasets import ColumnRole, ColumnType
from modelry.domain.errors import InvalidInput, RowsInvalid

TABLE = b"""id,age,height,member,since,city,label
1,34,1.72,true,2024-01-31,Aachen,yes
2,,1.8,false,2024-02-01T10:00:00Z,"Berlin, Mitte",no
3,61,NA,TRUE,2024-02-01 10:00:00+02:00,,yes
"""


def read(tmp_path: Path, data: bytes, name: str = "rows.csv", **options: Any) -> Any:
    source = opened(tmp_path, {name: data}, "csv", **options)
    return source, columns_of(source)


def test_types_and_roles_are_found_over_all_rows(tmp_path: Path) -> None:
    source, rows = read(tmp_path, TABLE)
    told = {one.name: (one.type, one.role, one.is_nullable) for one in source.schema.columns}
    assert told == {
        "id": (ColumnType.INTEGER, ColumnRole.ID, False),
        "age": (ColumnType.INTEGER, ColumnRole.FEATURE, True),
        "height": (ColumnType.NUMBER, ColumnRole.FEATURE, True),
        "member": (ColumnType.BOOLEAN, ColumnRole.FEATURE, False),
        "since": (ColumnType.TIME, ColumnRole.FEATURE, False),
        "city": (ColumnType.TEXT, ColumnRole.FEATURE, True),
        "label": (ColumnType.TEXT, ColumnRole.LABEL, False),
    }
    assert source.schema.columns[-1].classes == ("no", "yes")
    assert rows["age"] == [34, None, 61]
    assert rows["height"] == [1.72, 1.8, None]
    assert rows["city"] == ["Aachen", "Berlin, Mitte", None]
    assert rows["since"][1:] == [
        datetime(2024, 2, 1, 10, tzinfo=UTC),
        datetime(2024, 2, 1, 8, tzinfo=UTC),
    ]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "2", "-3"], ColumnType.INTEGER),
        (["1", "+2"], ColumnType.INTEGER),
        (["1", "2.5"], ColumnType.NUMBER),
        (["1e3", "nan", "-inf"], ColumnType.NUMBER),
        (["007", "8"], ColumnType.TEXT),  # codes lose their zeros as numbers
        (["12345678901234567890", "1"], ColumnType.TEXT),  # and their digits
        (["9007199254740993", "0.5"], ColumnType.TEXT),
        (["0x10", "1"], ColumnType.TEXT),
        (["1", "true"], ColumnType.TEXT),
        (["true", "1"], ColumnType.TEXT),
        (["2024-01-31", "soon"], ColumnType.TEXT),
        (["2024-13-45", "2024-01-01"], ColumnType.TEXT),
        (["NA", "NA"], ColumnType.TEXT),
        (["1", "NA"], ColumnType.INTEGER),
    ],
)
@pytest.mark.parametrize("is_reversed", [False, True])
def test_a_column_is_of_the_narrowest_type_that_loses_nothing(
    tmp_path: Path, cells: list[str], kind: ColumnType, is_reversed: bool
) -> None:
    ordered = cells[::-1] if is_reversed else cells
    source, _ = read(tmp_path, "\n".join(["a,b", *(f"{one},x" for one in ordered)]).encode())
    assert source.schema.columns[0].type is kind


def test_a_type_that_ends_late_is_told(tmp_path: Path) -> None:
    data = "a,b\n" + "".join(f"{i},x\n" for i in range(500)) + "none,x\n"
    source, _ = read(tmp_path, data.encode())
    assert source.schema.columns[0].type is ColumnType.TEXT
    (note,) = source.problems.to_wire()["notes"]
    assert "first 500 values are integers, then comes 'none'" in note


def test_blocks_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_files, "BLOCK_BYTES", 1000)
    data = "a,b\n" + "".join(f'{i},"x\ny{i}"\n' for i in range(2000))
    source, rows = read(tmp_path, data.encode())
    assert rows["a"] == list(range(2000))
    assert rows["b"][1999] == "x\ny1999"
    bad = data.replace('\n700,"x\ny700"', "\n700").replace("\n1500,", "\n1500.5.5,")
    source, rows = read(tmp_path, bad.encode(), on_bad_rows="skip", types={"a": "integer"})
    assert len(rows["a"]) == 1998
    assert [one.place for one in source.problems.first] == ["row 702", "row 1502"]


def test_bad_rows_are_refused_by_their_numbers(tmp_path: Path) -> None:
    data = b'a,b\n1,2\n3\n\n"x\ny",5\n6,7,8\n9,\xff\n10,11\n'
    with pytest.raises(RowsInvalid) as caught:
        read(tmp_path, data)
    message = caught.value.message
    assert "3 rows cannot be used" in message
    assert "row 3: it has 1 cells, the header 2" in message
    assert "row 6: it has 3 cells" in message
    assert "row 7: a cell in it holds bytes that are no UTF-8" in message
    source, rows = read(tmp_path, data, on_bad_rows="skip")
    assert rows == {"a": ["1", "x\ny", "10"], "b": [2, 5, 11]}
    assert source.problems.to_wire()["skipped_rows"] == 3
    assert source.problems.to_wire()["notes"] == ["rows.csv: 1 empty rows were left out."]


def test_reading_ends_when_enough_rows_are_bad(tmp_path: Path) -> None:
    data = "a,b\n" + "1\n" * 100_000
    with pytest.raises(RowsInvalid, match="20 or more rows cannot be used"):
        read(tmp_path, data.encode())


def test_values_that_are_not_of_a_given_type_are_bad_rows(tmp_path: Path) -> None:
    with pytest.raises(RowsInvalid, match="row 4: 'old' in column 'age' is no integer"):
        read(tmp_path, b"age\n1\n2\nold\n", types={"age": "integer"})
    _, rows = read(tmp_path, b"age\n1\n007\n", types={"age": "integer"})
    assert rows["age"] == [1, 7]


@pytest.mark.parametrize(
    "data", [b'a,b\n1,2\n3,"4\n5,6\n', b'a,b\n1,2\n3,4\n"', b'a\n1\n"2\n3', b'a,b\n1,2,"3\n4,5\n']
)
def test_a_quote_that_is_never_closed_swallows_nothing(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(RowsInvalid, match="never closed"):
        read(tmp_path, data)


def test_a_row_that_is_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_files, "BLOCK_BYTES", 2**20)
    with pytest.raises(InvalidInput, match="longer than 1 MiB"):
        read(tmp_path, b"a,b\n1," + b"x" * 2**22 + b"\n2,3\n")


@pytest.mark.parametrize(
    ("data", "options", "expected"),
    [
        (b"", {}, "is empty"),
        (b"a,a\n1,2\n", {}, "Columns 1 and 2 of 'rows.csv' are both called 'a'"),
        (b"a,\n1,2\n", {}, "Column 2 of 'rows.csv'"),
        (b"a,b\n", {}, "no row that can be used"),
        (b"5.1,3.5,0\n4.9,3.0,1\n", {}, "is no header"),
        (b"a\0b\n", {}, "bytes of 0"),
        (b"a,b\n1,2\n", {"encoding": "zlib"}, "no text encoding 'zlib'"),
        (b"a,b\n1,2\n", {"encoding": "idna"}, "no text encoding 'idna'"),
        (b"a,b\n1,2\n", {"encoding": "nope"}, "no text encoding 'nope'"),
        (b"a,b\n1,\xff\n", {"encoding": "ascii"}, "no text in the encoding ascii"),
        (b"a,b\n1,2\n", {"label": "c"}, "no column 'c'; there are a, b"),
        (b"a,b\n1,2\n", {"types": {"c": "text"}}, "no column 'c'"),
        (b"a,b\n1,2\n", {"label": "a", "id": "a"}, "named for two roles"),
        (b"a,b\n1,2\n", {"colour": 1}, "The option 'colour' of an import of csv is wrong"),
        (b"a,b\n1,x\n", {"label": "b", "labels": "numbers"}, "expected numbers"),
        (b"a,b\n1,x\n", {"label": "b", "classes": ["y"]}, "the class 'x', which is not among"),
        (b"a,b\n1,x\n", {"weight": "b"}, "the weight of rows"),
        (b"a,b\n1,2\n", {"header": ["x"]}, "has 2 cells; the header that was given has 1"),
        (b"\xff\xfe\x00", {}, "is"),
    ],
)
def test_refusals_say_what_is_the_matter(
    tmp_path: Path, data: bytes, options: dict[str, Any], expected: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(tmp_path, data, **options)
    assert expected in caught.value.message
    assert str(tmp_path) not in caught.value.message


def test_headers_may_be_missing_or_given(tmp_path: Path) -> None:
    _, rows = read(tmp_path, b"5.1,0\n4.9,1\n", header=False)
    assert rows == {"column_1": [5.1, 4.9], "column_2": [0, 1]}
    source, _ = read(tmp_path, b"5.1,0\n4.9,1\n", header=["width", "label"])
    assert source.schema.columns[1].classes == ("0", "1")
    with pytest.raises(RowsInvalid, match="row 2: "):
        read(tmp_path, b"5.1,0\n4.9\n", header=False)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    data = "größe;ort\n1;Köln\n2;Zürich\n".encode(encoding)
    options = {"encoding": encoding} if encoding == "cp1252" else {}
    _, rows = read(tmp_path, data, **options)
    assert rows == {"größe": [1, 2], "ort": ["Köln", "Zürich"]}


def test_a_wrong_encoding_is_told_at_the_header(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="encoding=cp1252"):
        read(tmp_path, "größe,b\n1,2\n".encode("cp1252"))


def test_packed_files_and_delimiters(tmp_path: Path) -> None:
    _, rows = read(tmp_path, gzip.compress(b"a\tb\n1\t2\n"), "rows.tsv.gz")
    assert rows == {"a": [1], "b": [2]}
    with pytest.raises(InvalidInput, match="damaged or cut off"):
        read(tmp_path, gzip.compress(b"a,b\n" + b"1,2\n" * 1000)[:-12], "rows.csv.gz")


def test_a_packed_file_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelry.datasets.importers.streams.FREE_BYTES", 2**16)
    with pytest.raises(InvalidInput, match="more than 200 times its size"):
        read(tmp_path, gzip.compress(b"a,b\n" + b"1,2\n" * 2**20), "rows.csv.gz")


def test_labels_of_numbers(tmp_path: Path) -> None:
    few = ("a,y\n" + "".join(f"{i},{i % 12}\n" for i in range(60))).encode()
    source, rows = read(tmp_path, few)
    assert source.schema.columns[1].classes == tuple(str(i) for i in range(12))
    assert rows["y"][:12] == [str(i) for i in range(12)]
    source, rows = read(tmp_path, few, labels="numbers")
    assert source.schema.columns[1].type is ColumnType.INTEGER
    many = ("a,y\n" + "".join(f"{i},{i}\n" for i in range(60))).encode()
    source, _ = read(tmp_path, many)
    assert source.schema.columns[1].classes == ()
    source, rows = read(tmp_path, b"a,y\n1,true\n2,False\n")
    assert source.schema.columns[1].classes == ("false", "true")
    assert rows["y"] == ["true", "false"]


def test_roles_that_were_only_guessed_are_given_up(tmp_path: Path) -> None:
    source, _ = read(tmp_path, b"source,target,sample_weight\n1,x,heavy\n")
    assert {one.role for one in source.schema.columns} == {ColumnRole.FEATURE}
    source, _ = read(tmp_path, b"source,target,sample_weight\nhi,hallo,2\n")
    assert [one.role for one in source.schema.columns] == [
        ColumnRole.SOURCE,
        ColumnRole.TARGET,
        ColumnRole.WEIGHT,
    ]
    with pytest.raises(InvalidInput, match="expected texts"):
        read(tmp_path, b"source,target\n1,x\n", source="source", target="target")


def test_splits_come_from_names_or_as_given(tmp_path: Path) -> None:
    files = {"my-train.csv": b"a,b\n1,2\n", "my-test.csv": b"b,a\n3,4\n"}
    source = opened(tmp_path, files)
    assert source.splits == ("train", "test")
    assert columns_of(source, "test") == {"a": [4], "b": [3]}
    given_ = {"x.csv": b"a\n1\n", "y.csv": b"a\n2\n", "z.csv": b"a\n3\n"}
    source = opened(tmp_path, given_, splits={"test": ["z.csv"], "train": ["x.csv", "y.csv"]})
    assert columns_of(source, "train") == {"a": [1, 2]}
    with pytest.raises(InvalidInput, match=r"'x\.csv' does not"):
        opened(tmp_path, {"train.csv": b"a\n1\n", "x.csv": b"a\n1\n"})
    with pytest.raises(InvalidInput, match="only one of them has 'a'"):
        opened(tmp_path, {"train.csv": b"a,b\n1,2\n", "test.csv": b"c,b\n1,2\n"})


CELLS = st.text(
    st.characters(exclude_characters="\0\r\ufeff", exclude_categories=("Cs",)), max_size=12
)


@settings(max_examples=40)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=20))
def test_what_was_written_as_text_is_read_as_it_was(rows: list[tuple[str, str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([("first", "second"), *rows])
    with tempfile.TemporaryDirectory() as folder:
        _, read_rows = read(
            Path(folder), text.getvalue().encode(), types={"first": "text", "second": "text"}
        )
    assert list(zip(read_rows["first"], read_rows["second"], strict=True)) == rows


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
            st.one_of(st.none(), st.floats(allow_nan=False)),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_numbers_are_read_as_they_were(rows: list[tuple[int | None, float | None]]) -> None:
    data = "x,a,b\n" + "".join(
        f"x,{'' if a is None else a},{'' if b is None else repr(b)}\n" for a, b in rows
    )
    with tempfile.TemporaryDirectory() as folder:
        _, got = read(Path(folder), data.encode(), types={"a": "integer", "b": "number"})
    assert list(zip(got["a"], got["b"], strict=True)) == rows


@settings(max_examples=40)
@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, suppress(InvalidInput):
        read(Path(folder), b"a,b\n" + data, on_bad_rows="skip")
