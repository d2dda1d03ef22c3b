"""Rows of a dataset version, shard by shard: what recipes and evaluations read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from modelry.datasets import forms
from modelry.domain.datasets import DataDescription, Schema
from modelry.domain.errors import DataDamaged, NotFound

Open = Callable[[str], AbstractContextManager[Path]]
"""Opens a shard by its digest; `WorkHost.open` is one."""


class ShardRows:
    """Implements `training.contract.TrainingData` over shards.

    Args:
        description: what the rows are.
        shards: the digests of each split's shards, in order.
        open: gives a shard's file as long as its context lasts.
    """

    def __init__(
        self,
        description: DataDescription,
        shards: Mapping[str, Sequence[str]],
        open: Open,  # noqa: A002 - what it does
    ) -> None:
        self.description = description
        self._shards = shards
        self._open = open

    def batches(
        self, split: str, columns: Sequence[str] | None = None, rows: int = 1024
    ) -> Iterator[pa.RecordBatch]:
        """All rows of a split in order, at most `rows` at a time; one shard is open at a time.

        A batch ends where its shard ends, so it may have fewer rows. Columns come in the forms of
        `datasets.forms`, in the order asked for.

        Args:
            split: its name.
            columns: the only ones to read; None for all.
            rows: how many in a batch at most.

        Raises:
            NotFound: there is no such split or column.
            DataDamaged: a shard is not what was written.
        """
        digests = self._digests(split)
        schema = narrowed(self.description.schema, columns)
        return self._read(digests, schema, rows)

    def parts(self, split: str) -> int:
        """How many shards a split has.

        Raises:
            NotFound: there is no such split.
        """
        return len(self._digests(split))

    def part(
        self, split: str, number: int, columns: Sequence[str] | None = None, rows: int = 1024
    ) -> Iterator[pa.RecordBatch]:
        """The rows of one shard, by its number from 0; otherwise as `batches`."""
        digest = self._digests(split)[number]
        return self._read([digest], narrowed(self.description.schema, columns), rows)

    def _digests(self, split: str) -> Sequence[str]:
        digests = self._shards.get(split)
        if digests is None:
            raise missing_split(self.description, split)
        return digests

    def _read(self, digests: Sequence[str], schema: Schema, rows: int) -> Iterator[pa.RecordBatch]:
        for digest in digests:
            with self._open(digest) as path:
                yield from shard_batches(path, schema, rows)


def shard_batches(path: Path, schema: Schema, rows: int) -> Iterator[pa.RecordBatch]:
    """The rows of one shard's file, of the columns of `schema`.

    Raises:
        DataDamaged: it is no shard with these columns.
    """
    names = [one.name for one in schema.columns]
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(rows, columns=names, use_threads=False):
                yield forms.from_kept(schema, batch.select(names))
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError, KeyError) as error:
        raise DataDamaged(
            f"A shard cannot be read with the columns {', '.join(names)[:200]}: "
            f"{str(error)[:200]}. Import the dataset again."
        ) from error


def narrowed(schema: Schema, columns: Sequence[str] | None) -> Schema:
    """`schema` with these columns alone, in this order.

    Raises:
        NotFound: there is no such column.
    """
    if columns is None:
        return schema
    found = []
    for name in columns:
        column = schema.find(name)
        if column is None:
            known = ", ".join(one.name for one in schema.columns)
            raise NotFound(
                f"There is no column '{name[:80]}'; there are {known[:500]}.", param="columns"
            )
        found.append(column)
    return Schema(tuple(found))


def missing_split(description: DataDescription, split: str) -> NotFound:
    """The error for a split that is not there; says which ones are."""
    known = ", ".join(description.rows) or "none"
    return NotFound(
        f"{description.ref} has no split '{split[:80]}'; it has {known[:500]}.", param="split"
    )
