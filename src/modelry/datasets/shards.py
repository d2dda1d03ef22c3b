"""Shards: Parquet files of some rows of one split, and the digest of a whole version's rows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from modelry.datasets import forms
from modelry.domain.datasets import Column, ColumnType, Schema
from modelry.domain.errors import RowsInvalid

MAX_ROWS = 100_000
MAX_BYTES = 64 * 2**20
MAX_ROW_BYTES = 48 * 2**20
"""How large one row may be; a shard always has room for one."""
GROUP_ROWS = 16_384
GROUP_BYTES = 8 * 2**20
"""How many rows, and bytes of rows, are compressed together; a reader has one such group."""

Keep = Callable[[Path, int], None]
"""Told of each finished shard: its file, which may be gone afterwards, and how many rows."""


class ShardWriter:
    """Writes the rows of one split, a shard after the other.

    Args:
        schema: the columns.
        file: where the shard is written that is being filled; it is removed when it is kept.
        keep: takes each finished shard.
    """

    def __init__(self, schema: Schema, file: Path, keep: Keep) -> None:
        self._schema = schema
        self._kept_schema = forms.kept_schema(schema)
        self._file = file
        self._keep = keep
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = 0
        self._waiting_bytes = 0
        self._shard: _OpenShard | None = None
        self.digest = SplitDigest(schema)
        self.rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows; they have exactly the schema's columns, in the forms of `forms`.

        Raises:
            RowsInvalid: a row is too large for a shard.
        """
        for piece in _pieces(batch, self.rows):
            self.digest.add(piece)
            self.rows += len(piece)
            self._waiting.append(forms.to_kept(self._schema, piece))
            self._waiting_rows += len(piece)
            self._waiting_bytes += piece.nbytes
            if self._waiting_rows >= GROUP_ROWS or self._waiting_bytes >= GROUP_BYTES:
                self._write_group()

    def close(self) -> None:
        """Keep what has not been kept yet."""
        self._write_group()
        self._finish()

    def abort(self) -> None:
        """Close and remove the open shard."""
        if self._shard is not None:
            self._shard.close()
            self._shard = None
        self._file.unlink(missing_ok=True)

    def _write_group(self) -> None:
        if not self._waiting:
            return
        group = pa.Table.from_batches(self._waiting, self._kept_schema)
        size = self._waiting_bytes
        self._waiting, self._waiting_rows, self._waiting_bytes = [], 0, 0
        shard = self._shard
        if shard is not None and (
            shard.rows + group.num_rows > MAX_ROWS or shard.size_bytes + size > MAX_BYTES
        ):
            self._finish()
            shard = None
        if shard is None:
            shard = self._shard = _OpenShard(self._file, self._schema, self._kept_schema)
        shard.write(group)

    def _finish(self) -> None:
        if self._shard is None:
            return
        shard, self._shard = self._shard, None
        shard.close()
        self._keep(self._file, shard.rows)
        self._file.unlink(missing_ok=True)


class _OpenShard:
    def __init__(self, file: Path, schema: Schema, kept_schema: pa.Schema) -> None:
        self._sink = pa.OSFile(str(file), "wb")
        self._writer = pq.ParquetWriter(
            self._sink,
            kept_schema.with_metadata({b"modelry.schema": orjson.dumps(schema.to_wire())}),
            compression="zstd",
            # images and tensors gain nothing by a dictionary, and lose time
            use_dictionary=[
                one.name
                for one in schema.columns
                if one.type not in {ColumnType.IMAGE, ColumnType.TENSOR, ColumnType.BOXES}
            ],
            write_statistics=False,
        )
        self.rows = 0

    @property
    def size_bytes(self) -> int:
        """How long the file is so far."""
        return int(self._sink.tell())

    def write(self, group: pa.Table) -> None:
        """Add a group of rows."""
        self._writer.write_table(group, row_group_size=group.num_rows)
        self.rows += group.num_rows

    def close(self) -> None:
        """Write the file's end."""
        self._writer.close()
        self._sink.close()


def _pieces(batch: pa.RecordBatch, row: int) -> Iterator[pa.RecordBatch]:
    """`batch` in slices that are no larger than a group; a large row is alone in its slice."""
    todo = [batch]
    while todo:
        piece = todo.pop()
        if len(piece) == 0:
            continue
        if len(piece) <= GROUP_ROWS and piece.nbytes <= GROUP_BYTES:
            row += len(piece)
            yield piece
        elif len(piece) == 1:
            if piece.nbytes > MAX_ROW_BYTES:
                raise RowsInvalid(
                    f"Row {row + 1} has {piece.nbytes:,} bytes; a row may have {MAX_ROW_BYTES:,}. "
                    "Leave it out, or make its images or texts smaller."
                )
            row += 1
            yield piece
        else:
            half = len(piece) // 2
            todo += [piece.slice(half), piece.slice(0, half)]


class SplitDigest:
    """The digest of rows in their order, whatever batches they come in and however they are kept.

    Of every column, which values are missing, how long the others are (where that differs) and
    their bytes go into a SHA-256 each: streams that know no batches.
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._values = [hashlib.sha256() for _ in schema.columns]
        self._lengths = [hashlib.sha256() for _ in schema.columns]
        self._nulls = [hashlib.sha256() for _ in schema.columns]
        self._rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Take rows in."""
        self._rows += len(batch)
        for at, column in enumerate(self._schema.columns):
            array = batch.column(at)
            if column.is_nullable:
                valid = array.is_valid().to_numpy(zero_copy_only=False)
                self._nulls[at].update(valid.astype(np.uint8).tobytes())
            lengths, values = _content(column, array)
            self._lengths[at].update(lengths)
            self._values[at].update(values)

    def hexdigest(self) -> str:
        """The digest of all rows so far."""
        whole = hashlib.sha256(str(self._rows).encode())
        for one in (*self._nulls, *self._lengths, *self._values):
            whole.update(one.digest())
        return whole.hexdigest()


def _content(column: Column, array: pa.Array) -> tuple[bytes, Any]:
    """The lengths of a column's values, if they differ, and their bytes one after the other."""
    match column.type:
        case ColumnType.TEXT | ColumnType.IMAGE:
            present = array.drop_null()
            lengths = pc.binary_length(present).cast(pa.int64()).to_numpy(zero_copy_only=False)
            return lengths.tobytes(), _joined(present)
        case ColumnType.BOXES:
            present = array.drop_null()
            lengths = pc.list_value_length(present).cast(pa.int64())
            fields = forms.box_values(present)
            return lengths.to_numpy(zero_copy_only=False).tobytes(), fields.tobytes()
        case ColumnType.TENSOR:
            return b"", array.drop_null().flatten().to_numpy(zero_copy_only=False).tobytes()
        case ColumnType.BOOLEAN:
            return b"", array.drop_null().to_numpy(zero_copy_only=False).astype("u1").tobytes()
        case ColumnType.TIME:
            return b"", array.drop_null().cast(pa.int64()).to_numpy().astype("<i8").tobytes()
        case _:
            return b"", array.drop_null().to_numpy(zero_copy_only=False).tobytes()


def _joined(array: pa.Array) -> Any:
    """The bytes of all values of a text or binary array, one after the other."""
    if len(array) == 0:
        return b""
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, dtype=np.int32)[array.offset : array.offset + len(array) + 1]
    return b"" if data is None else memoryview(data)[int(ends[0]) : int(ends[-1])]


def version_digest(schema: Schema, splits: Mapping[str, SplitDigest]) -> str:
    """`sha256:<hex>` of a version: its schema, and each split's name and rows, in order."""
    told = {
        "schema": schema.to_wire(),
        "splits": [[name, one.hexdigest()] for name, one in splits.items()],
    }
    return "sha256:" + hashlib.sha256(orjson.dumps(told)).hexdigest()
