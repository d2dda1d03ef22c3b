"""Rows in memory that stand for a dataset version, for tests of recipes and evaluations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from modelry.datasets import forms
from modelry.datasets.deriving import VersionRows
from modelry.datasets.reading import missing_split, narrowed
from modelry.datasets.writing import write_version
from modelry.domain.access import Principal
from modelry.domain.datasets import Column, ColumnType, DataDescription, DatasetVersion, Schema
from modelry.domain.errors import NotFound
from modelry.runtime_api.work import InputFile, WorkHost
from modelry.services.datasets.making import MakingClient, made_version
from modelry.services.datasets.ports import NewVersion
from modelry.services.datasets.service import DatasetsService
from modelry.testing.jobs import FakeJobRun
from modelry.testing.work import ThreadWorks

Columns = Mapping[str, Any]
"""Values by column: lists, numpy arrays (rows x shape for tensors), or Arrow arrays."""


class MemoryRows:
    """Implements `training.contract.TrainingData` over record batches in memory."""

    def __init__(
        self, description: DataDescription, splits: Mapping[str, Sequence[pa.RecordBatch]]
    ) -> None:
        self.description = description
        self._splits = splits

    def batches(
        self, split: str, columns: Sequence[str] | None = None, rows: int = 1024
    ) -> Iterator[pa.RecordBatch]:
        """See `TrainingData.batches`."""
        return self._read(self._parts(split), columns, rows)

    def parts(self, split: str) -> int:
        """See `TrainingData.parts`."""
        return len(self._parts(split))

    def part(
        self, split: str, number: int, columns: Sequence[str] | None = None, rows: int = 1024
    ) -> Iterator[pa.RecordBatch]:
        """See `TrainingData.part`."""
        return self._read([self._parts(split)[number]], columns, rows)

    def _parts(self, split: str) -> Sequence[pa.RecordBatch]:
        found = self._splits.get(split)
        if found is None:
            raise missing_split(self.description, split)
        return found

    def _read(
        self, parts: Sequence[pa.RecordBatch], columns: Sequence[str] | None, rows: int
    ) -> Iterator[pa.RecordBatch]:
        schema = narrowed(self.description.schema, columns)
        names = [one.name for one in schema.columns]
        return (
            part.select(names).slice(start, rows)
            for part in parts
            for start in range(0, len(part), rows)
        )


def rows_of(
    schema: Schema, splits: Mapping[str, Columns], ref: str = "rows@1", *, part_rows: int = 2**31
) -> MemoryRows:
    """Rows as `TrainingData`.

    Args:
        schema: their columns.
        splits: each split's values by column. Boxes are lists of `(label, x, y, width, height)`
            or of dicts with these keys.
        ref: what the version is called.
        part_rows: how many rows a part has at most, as a shard would.

    Raises:
        InvalidInput: values do not fit the schema.
    """
    made = {name: batch_of(schema, columns) for name, columns in splits.items()}
    description = DataDescription(
        ref=ref,
        digest="sha256:" + "0" * 64,
        schema=schema,
        rows={name: len(batch) for name, batch in made.items()},
    )
    parts = {
        name: [batch.slice(at, part_rows) for at in range(0, max(1, len(batch)), part_rows)]
        for name, batch in made.items()
    }
    return MemoryRows(description, parts)


def batch_of(schema: Schema, columns: Columns) -> pa.RecordBatch:
    """A batch of rows from values by column; see `rows_of`."""
    arrays = [_array(one, columns[one.name]) for one in schema.columns]
    names = [one.name for one in schema.columns]
    return forms.fitted(schema, pa.RecordBatch.from_arrays(arrays, names=names))


def _array(column: Column, values: Any) -> pa.Array:
    if isinstance(values, pa.Array):
        return values
    if column.type is ColumnType.TENSOR:
        return forms.tensor_array(column, np.asarray(values, dtype=column.dtype))
    if column.type is ColumnType.BOXES:
        values = [None if one is None else [_box(box) for box in one] for one in values]
    return pa.array(values, forms.arrow_type(column))


def _box(box: Any) -> Any:
    if isinstance(box, Mapping):
        return box
    return dict(zip(("label", "x", "y", "width", "height"), box, strict=True))


def keep_rows(
    datasets: DatasetsService,
    principal: Principal,
    name: str,
    schema: Schema,
    splits: Mapping[str, Columns],
) -> DatasetVersion:
    """Keep rows as a version, in real shards, as an import does.

    Args:
        datasets: where.
        principal: in whose name.
        name: the dataset's.
        schema: the columns.
        splits: each split's values by column; see `rows_of`.
    """
    rows = rows_of(schema, splits)

    class Written:
        name: ClassVar[str] = "write"

        def run(self, host: WorkHost) -> Mapping[str, Any]:
            return write_version(VersionRows(rows, list(splits)), host)

    run = FakeJobRun(principal=principal)
    client = MakingClient(run, _no_input, datasets.contents)
    works = ThreadWorks(Written())
    made_schema, made_splits, told = made_version(("write", {}), run, works, client)
    version = NewVersion(
        tenant_id=principal.tenant_id,
        dataset_name=name,
        digest=told["digest"],
        schema=made_schema,
        splits=made_splits,
        created_at=datasets.clock(),
        created_by=principal.key_id,
        statistics=told["statistics"],
        report=told["report"],
        origin={"made": "by a test"},
    )
    return datasets.store.add(version)[0]


def _no_input(name: str) -> InputFile:
    raise NotFound(f"There is no input '{name}'.")
