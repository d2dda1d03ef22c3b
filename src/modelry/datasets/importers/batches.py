"""Rows as batches, bounded in rows and bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from modelry.datasets.forms import arrow_schema
from modelry.datasets.importers.problems import Problems
from modelry.domain.datasets import Schema

BATCH_ROWS = 4096
BATCH_BYTES = 16 * 2**20


class RowBatches:
    """Collects rows until a batch is full.

    Args:
        schema: the columns.
        problems: when rows were refused, no batch is made any more.
    """

    def __init__(self, schema: Schema, problems: Problems) -> None:
        self._schema = arrow_schema(schema)
        self._problems = problems
        self._columns: list[list[Any]] = [[] for _ in self._schema]
        self._bytes = 0

    def add(self, values: Sequence[Any], size_bytes: int) -> Iterator[pa.RecordBatch]:
        """Take a row of about `size_bytes`; gives a batch when that made one full."""
        for column, value in zip(self._columns, values, strict=True):
            column.append(value)
        self._bytes += size_bytes
        if len(self._columns[0]) >= BATCH_ROWS or self._bytes >= BATCH_BYTES:
            yield from self.rest()

    def rest(self) -> Iterator[pa.RecordBatch]:
        """The batch of the rows that are left."""
        columns, self._columns = self._columns, [[] for _ in self._schema]
        self._bytes = 0
        if columns[0] and not self._problems.is_refused:
            arrays = [
                pa.array(column, field.type)
                for column, field in zip(columns, self._schema, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=self._schema)
