"""Rows in, a dataset version's content out: shards, statistics, the report, the digest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from modelry.datasets import forms
from modelry.datasets.shards import ShardWriter, version_digest
from modelry.datasets.statistics import SplitStatistics
from modelry.datasets.validation import Validator
from modelry.domain.datasets import Schema
from modelry.domain.errors import Cancelled, InvalidInput
from modelry.runtime_api.work import WorkHost

SHARD_OUTPUT = "shard"
"""What a shard is called when it is handed over."""

Json = dict[str, Any]


class RowStream(Protocol):
    """Rows of several splits on their way; read from the start as often as is asked for."""

    @property
    def schema(self) -> Schema:
        """Their columns."""
        ...

    @property
    def splits(self) -> Sequence[str]:
        """The names of their splits, in order."""
        ...

    def rows(self) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Each batch with its split; batches of one split are in order."""
        ...


def write_version(stream: RowStream, host: WorkHost) -> Json:
    """Write all rows of `stream`, handing each shard over as it is full.

    Returns:
        `schema`, `splits` (each with its `shards`: digest, rows, size_bytes), `digest`,
        `statistics` by split and column, `report`.

    Raises:
        InvalidInput: a split has no rows.
        Cancelled: the work was stopped.
    """
    writer = _VersionWriter(stream.schema, stream.splits, host)
    validator = Validator(stream.schema)
    for split, batch in stream.rows():
        if host.stop.is_set():
            raise Cancelled("The work was stopped.")
        fitted = forms.fitted(stream.schema, batch)
        writer.add(split, fitted)
        validator.add(split, fitted)
    return writer.finish() | {"report": validator.report()}


class _VersionWriter:
    def __init__(self, schema: Schema, splits: Sequence[str], host: WorkHost) -> None:
        self._schema = schema
        self._host = host
        self._kept: dict[str, list[Json]] = {name: [] for name in splits}
        self._writers = {
            name: ShardWriter(schema, host.scratch / f"shard-{at}", self._keeper(name))
            for at, name in enumerate(splits)
        }
        self._statistics = {name: SplitStatistics(schema) for name in splits}

    def add(self, split: str, batch: pa.RecordBatch) -> None:
        """Write rows of a split."""
        self._writers[split].write(batch)
        self._statistics[split].add(batch)

    def finish(self) -> Json:
        """Hand over what is left; the version's content."""
        for name, writer in self._writers.items():
            if writer.rows == 0:
                raise InvalidInput(_no_rows(name, list(self._writers)), param="split")
        for writer in self._writers.values():
            writer.close()
        return {
            "schema": self._schema.to_wire(),
            "splits": [{"name": name, "shards": kept} for name, kept in self._kept.items()],
            "digest": version_digest(
                self._schema, {name: one.digest for name, one in self._writers.items()}
            ),
            "statistics": {name: one.told() for name, one in self._statistics.items()},
        }

    def _keeper(self, split: str) -> Callable[[Path, int], None]:
        def keep(file: Path, rows: int) -> None:
            told = self._host.put(SHARD_OUTPUT, file, {"split": split, "rows": rows})
            shard = {"digest": told["digest"], "rows": rows, "size_bytes": told["size_bytes"]}
            self._kept[split].append(shard)

        return keep


def _no_rows(name: str, names: list[str]) -> str:
    if len(names) == 1:
        return "There are no rows."
    others = ", ".join(one for one in names if one != name)
    return f"The split '{name}' has no rows. Give it some, or keep the splits {others} alone."


def told_rows(stream: RowStream, host: WorkHost, phase: str, total: int | None) -> RowStream:
    """`stream`, telling how many rows went by."""
    return _Told(stream, host, phase, total)


class _Told:
    def __init__(self, stream: RowStream, host: WorkHost, phase: str, total: int | None) -> None:
        self._stream = stream
        self._host = host
        self._phase = phase
        self._total = total
        self._passes = 0
        self.schema = stream.schema
        self.splits = stream.splits

    def rows(self) -> Iterator[tuple[str, pa.RecordBatch]]:
        """The same rows."""
        self._passes += 1
        phase = self._phase if self._passes == 1 else f"{self._phase}, pass {self._passes}"
        done = 0
        for split, batch in self._stream.rows():
            if self._host.stop.is_set():
                raise Cancelled("The work was stopped.")
            done += len(batch)
            self._host.progress(done, self._total, "rows", phase)
            yield split, batch
