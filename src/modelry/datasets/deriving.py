"""A version made of others: they are appended, then each step works on what the one before gave."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import pyarrow as pa

from modelry.datasets import reshaping, streams
from modelry.datasets.plans import (
    ClassesStep,
    DistinctStep,
    DropStep,
    FilterStep,
    JoinStep,
    KeepSplitsStep,
    RenameStep,
    RolesStep,
    SampleStep,
    SplitStep,
    Step,
    TypesStep,
)
from modelry.datasets.writing import RowStream
from modelry.domain.datasets import DataDescription, Schema


class VersionData(Protocol):
    """Reads rows of a version; `ShardRows` does."""

    @property
    def description(self) -> DataDescription:
        """What they are."""
        ...

    def batches(
        self, split: str, columns: Sequence[str] | None = None, rows: int = 1024
    ) -> Iterator[pa.RecordBatch]:
        """All rows of a split in order."""
        ...


class VersionRows:
    """The rows of a version as a stream.

    Args:
        data: reads them.
        splits: the names of those that are wanted, in order.
        batch_rows: how many rows are read together.
    """

    def __init__(self, data: VersionData, splits: Sequence[str], batch_rows: int = 8192) -> None:
        self._data = data
        self._batch_rows = batch_rows
        self.schema: Schema = data.description.schema
        self.splits = splits

    @property
    def description(self) -> DataDescription:
        """What the version is."""
        return self._data.description

    def rows(self) -> Iterator[tuple[str, pa.RecordBatch]]:
        """All rows, a split after the other."""
        for name in self.splits:
            for batch in self._data.batches(name, rows=self._batch_rows):
                yield name, batch


def derived(sources: Sequence[RowStream], steps: Sequence[Step]) -> RowStream:
    """What the steps make of the sources' rows.

    Raises:
        InvalidInput: a step does not suit what it gets; says why.
    """
    stream = sources[0] if len(sources) == 1 else streams.Appended(sources)
    for step in steps:
        stream = _after(stream, step)
    return stream


def _after(stream: RowStream, step: Step) -> RowStream:  # noqa: PLR0911 - one for each step
    match step:
        case FilterStep(filter=expression):
            return streams.Filtered(stream, expression)
        case JoinStep(join=names, to=to):
            return streams.Joined(stream, names, to)
        case SplitStep(split=plan, of=of):
            return streams.SharedOut(stream, plan, of)
        case KeepSplitsStep(splits=names):
            return streams.OnlySplits(stream, names)
        case SampleStep(sample=fraction, seed=seed):
            return streams.Sampled(stream, fraction, seed)
        case DistinctStep():
            return streams.Distinct(stream)
        case RenameStep(rename=names):
            return reshaping.renamed(stream, names)
        case TypesStep(types=types):
            return reshaping.retyped(stream, types)
        case RolesStep(roles=roles):
            return reshaping.with_roles(stream, roles)
        case ClassesStep(classes=classes):
            return reshaping.with_classes(stream, classes)
        case DropStep(drop=names):
            return reshaping.without(stream, names)
