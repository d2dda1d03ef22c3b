"""Shards hold what was written, roll over, and their digest depends on rows alone."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from modelry.datasets import forms, shards
from modelry.datasets.reading import ShardRows
from modelry.datasets.shards import ShardWriter, version_digest
from modelry.domain.datasets import Column, ColumnRole, ColumnType, DataDescription, Schema
from modelry.domain.errors import DataDamaged, InvalidInput, NotFound, RowsInvalid
from modelry.testing.datasets import batch_of, rows_of


def picture(shade: int) -> bytes:
    out = io.BytesIO()
    Image.new("L", (3, 2), shade).save(out, "PNG")
    return out.getvalue()


EVERY_TYPE = Schema(
    (
        Column("text", ColumnType.TEXT, is_nullable=True),
        Column("whole", ColumnType.INTEGER),
        Column("real", ColumnType.NUMBER, is_nullable=True),
        Column("flag", ColumnType.BOOLEAN),
        Column("when", ColumnType.TIME),
        Column("image", ColumnType.IMAGE),
        Column("boxes", ColumnType.BOXES, classes=("cat", "dog")),
        Column("tensor", ColumnType.TENSOR, shape=(2, 3), dtype="uint8", is_nullable=True),
        Column("vector", ColumnType.TENSOR, shape=(4,), dtype="float16"),
        Column("mask", ColumnType.TENSOR, shape=(2,), dtype="bool"),
        Column("label", ColumnType.TEXT, ColumnRole.LABEL, classes=("no", "yes")),
    )
)
TENSORS = np.arange(18, dtype="uint8").reshape(3, 2, 3)


def some_rows() -> pa.RecordBatch:
    tensors = pa.FixedSizeListArray.from_arrays(
        pa.array(TENSORS.ravel()), 6, mask=pa.array([False, True, False])
    )
    return batch_of(
        EVERY_TYPE,
        {
            "text": ["ä", None, ""],
            "whole": [1, -(2**63), 2**63 - 1],
            "real": [0.5, None, float("inf")],
            "flag": [True, False, True],
            "when": [datetime(2024, 2, 29, tzinfo=UTC)] * 3,
            "image": [picture(1), picture(2), picture(3)],
            "boxes": [[(1, 0, 0, 2, 1)], [], [(0, 1, 1, 1, 1), (1, 0, 0, 3, 2)]],
            "tensor": tensors,
            "vector": np.arange(12).reshape(3, 4) / 4,
            "mask": [[True, False], [False, False], [True, True]],
            "label": ["no", "yes", "no"],
        },
    )


class Kept:
    """Takes shards as a server would, by a name in place of a digest."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.rows: dict[str, int] = {}

    def keep(self, file: Path, rows: int) -> None:
        name = f"{len(self.files)}"
        self.files[name], self.rows[name] = file.read_bytes(), rows

    def reader(self, schema: Schema, folder: Path) -> ShardRows:
        @contextmanager
        def opened(name: str) -> Iterator[Path]:
            path = folder / "opened.parquet"
            path.write_bytes(self.files[name])
            yield path
            path.unlink()

        described = DataDescription("rows@1", "", schema, {"train": sum(self.rows.values())})
        return ShardRows(described, {"train": list(self.files)}, opened)


def written(schema: Schema, folder: Path, *batches: pa.RecordBatch) -> tuple[Kept, ShardWriter]:
    kept = Kept()
    writer = ShardWriter(schema, folder / "writing.parquet", kept.keep)
    for one in batches:
        writer.write(one)
    writer.close()
    return kept, writer


def digest_of(schema: Schema, folder: Path, *batches: pa.RecordBatch) -> str:
    return version_digest(schema, {"train": written(schema, folder, *batches)[1].digest})


def test_every_type_comes_back_as_it_was_written(tmp_path: Path) -> None:
    rows = some_rows()

    kept, writer = written(EVERY_TYPE, tmp_path, rows.slice(0, 1), rows.slice(1))

    data = kept.reader(EVERY_TYPE, tmp_path)
    assert writer.rows == 3
    assert pa.Table.from_batches(data.batches("train")) == pa.Table.from_batches([rows])
    assert [len(one) for one in data.batches("train", rows=2)] == [2, 1]
    (narrow,) = data.batches("train", ["vector", "text"])
    assert narrow.schema.names == ["vector", "text"]
    vectors = forms.tensor_values(EVERY_TYPE.columns[8], narrow.column(0))
    assert vectors.dtype == np.float16
    assert vectors.tolist() == [[0, 0.25, 0.5, 0.75], [1, 1.25, 1.5, 1.75], [2, 2.25, 2.5, 2.75]]
    assert not list(tmp_path.iterdir())


def test_a_tensor_column_is_an_array_without_a_copy() -> None:
    column = Column("x", ColumnType.TENSOR, shape=(28, 28), dtype="float32")
    values = np.random.default_rng(0).normal(size=(5, 28, 28)).astype("float32")

    array = batch_of(Schema((column,)), {"x": values}).column(0)

    seen = forms.tensor_values(column, array.slice(2))
    assert (seen == values[2:]).all()
    assert not seen.flags.owndata


def test_shards_roll_over_by_rows_and_by_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = Schema((Column("n", ColumnType.INTEGER),))
    monkeypatch.setattr(shards, "GROUP_ROWS", 10)
    monkeypatch.setattr(shards, "MAX_ROWS", 25)
    rows = batch_of(schema, {"n": list(range(64))})

    kept, _ = written(schema, tmp_path, rows)

    assert max(kept.rows.values()) <= 25
    assert sum(kept.rows.values()) == 64
    data = kept.reader(schema, tmp_path)
    parts = [pa.Table.from_batches(data.part("train", at)) for at in range(data.parts("train"))]
    assert [len(one) for one in parts] == list(kept.rows.values())
    assert pa.concat_tables(parts) == pa.Table.from_batches(data.batches("train"))
    read = pa.Table.from_batches(kept.reader(schema, tmp_path).batches("train"))
    assert read["n"].to_pylist() == list(range(64))

    blob = Schema((Column("image", ColumnType.IMAGE),))
    monkeypatch.setattr(shards, "GROUP_BYTES", 2_000)
    monkeypatch.setattr(shards, "MAX_BYTES", 5_000)
    noise = [np.random.default_rng(i).bytes(900) for i in range(12)]
    kept, _ = written(blob, tmp_path, batch_of(blob, {"image": noise}))
    assert len(kept.files) > 2
    assert max(len(one) for one in kept.files.values()) <= 7_000  # with the file's own end


def test_a_row_that_is_too_large_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schema = Schema((Column("image", ColumnType.IMAGE),))
    monkeypatch.setattr(shards, "GROUP_BYTES", 50)
    monkeypatch.setattr(shards, "MAX_ROW_BYTES", 100)
    writer = ShardWriter(schema, tmp_path / "shard", Kept().keep)

    with pytest.raises(RowsInvalid, match="Row 2 has"):
        writer.write(batch_of(schema, {"image": [b"a", b"b" * 200]}))
    writer.abort()

    assert not list(tmp_path.iterdir())


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.text(max_size=4)), max_size=12),
    st.lists(st.integers(0, 12), max_size=4),
)
def test_the_digest_depends_on_rows_alone(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str | None], cuts: list[int]
) -> None:
    schema = Schema((Column("t", ColumnType.TEXT, is_nullable=True),))
    folder = tmp_path_factory.mktemp("digest")
    rows = batch_of(schema, {"t": texts})
    ends = sorted({0, len(rows), *(min(one, len(rows)) for one in cuts)})
    pieces = [rows.slice(a, b - a) for a, b in pairwise(ends)]

    assert digest_of(schema, folder, *pieces) == digest_of(schema, folder, rows)
    other = batch_of(schema, {"t": [*texts, ""]})
    assert digest_of(schema, folder, other) != digest_of(schema, folder, rows)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["ab", "c"], ["a", "bc"]),
        (["", None], [None, ""]),
        (["x", "y"], ["y", "x"]),
    ],
)
def test_other_rows_have_another_digest(tmp_path: Path, one: list[Any], other: list[Any]) -> None:
    schema = Schema((Column("t", ColumnType.TEXT, is_nullable=True),))

    digests = {digest_of(schema, tmp_path, batch_of(schema, {"t": it})) for it in (one, other)}

    assert len(digests) == 2


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    kept, _ = written(EVERY_TYPE, tmp_path, some_rows())
    data = kept.reader(EVERY_TYPE, tmp_path)

    with pytest.raises(NotFound, match=r"rows@1 has no split 'test'; it has train"):
        data.batches("test")
    with pytest.raises(NotFound, match="no column 'colour'; there are text, whole"):
        data.batches("train", ["colour"])
    kept.files["0"] = kept.files["0"][:-9]
    with pytest.raises(DataDamaged, match="Import the dataset again"):
        list(data.batches("train"))


@pytest.mark.parametrize(
    ("column", "values", "says"),
    [
        (Column("n", ColumnType.INTEGER), pa.array(["a"]), "is string and must be int64"),
        (Column("n", ColumnType.INTEGER), pa.array([1, None]), "1 missing values"),
        (Column("t", ColumnType.TENSOR, shape=(2,), dtype="complex64"), pa.array([1]), "complex64"),
        (Column("t", ColumnType.TENSOR, shape=(0,), dtype="int8"), pa.array([1]), "shape"),
    ],
)
def test_batches_that_do_not_fit_are_refused(column: Column, values: Any, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        forms.fitted(Schema((column,)), pa.RecordBatch.from_arrays([values], names=[column.name]))


def test_rows_in_memory_are_training_data() -> None:
    schema = Schema((Column("n", ColumnType.INTEGER), Column("s", ColumnType.TEXT)))
    columns: Mapping[str, Any] = {"n": [1, 2, 3], "s": ["a", "b", "c"]}
    data = rows_of(schema, {"train": columns, "test": {"n": [], "s": []}})

    assert data.description.rows == {"train": 3, "test": 0}
    assert [one.to_pydict() for one in data.batches("train", ["s"], rows=2)] == [
        {"s": ["a", "b"]},
        {"s": ["c"]},
    ]
    with pytest.raises(NotFound):
        data.batches("validation")
