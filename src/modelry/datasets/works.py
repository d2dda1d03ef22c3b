"""What is done with rows of versions in a locked-down process: deriving, reading some."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from modelry.datasets.deriving import VersionRows, derived
from modelry.datasets.plans import read_steps
from modelry.datasets.preview import write_rows
from modelry.datasets.reading import ShardRows, narrowed, shard_batches
from modelry.datasets.writing import told_rows, write_version
from modelry.domain.datasets import DataDescription, Schema
from modelry.runtime_api.work import Json, WorkHost

ROWS_OUTPUT = "rows"


class DeriveDataset:
    """Versions become another one.

    Asked with `sources`, each `ref`, `schema` and `splits` (name, shards with `digest` and `rows`),
    whose shards are inputs by their digest, and `steps` (see `datasets.plans`).
    """

    name: ClassVar[str] = "derive-dataset"

    def run(self, host: WorkHost) -> Json:
        """Do it."""
        sources = [_version(one, host) for one in host.request["sources"]]
        total = sum(sum(one.description.rows.values()) for one in sources)
        steps = read_steps(host.request["steps"])
        told = [told_rows(one, host, "reading", total) for one in sources]
        return write_version(derived(told, steps), host)


def _version(wire: Mapping[str, Any], host: WorkHost) -> VersionRows:
    shards = {
        split["name"]: [shard["digest"] for shard in split["shards"]] for split in wire["splits"]
    }
    rows = {
        split["name"]: sum(shard["rows"] for shard in split["shards"]) for split in wire["splits"]
    }
    schema = Schema.from_wire(wire["schema"])
    described = DataDescription(wire["ref"], wire["digest"], schema, rows)
    return VersionRows(ShardRows(described, shards, host.open), list(shards))


class ReadRows:
    """Some rows for people to look at, handed over as JSON under `ROWS_OUTPUT`.

    Asked with `schema`, `columns` (None for all), `parts` (each a shard's `digest`, how many rows
    to `skip` and to `take`) and `max_value_bytes`: a longer value is told by its size alone.
    """

    name: ClassVar[str] = "read-rows"

    def run(self, host: WorkHost) -> Json:
        """Do it."""
        asked = host.request
        schema = narrowed(Schema.from_wire(asked["schema"]), asked["columns"])
        file = host.scratch / "rows.json"
        rows = write_rows(
            schema, self._batches(schema, asked["parts"], host), file, asked["max_value_bytes"]
        )
        host.put(ROWS_OUTPUT, file)
        return {"rows": rows}

    @staticmethod
    def _batches(schema: Schema, parts: Any, host: WorkHost) -> Iterator[pa.RecordBatch]:
        for part in parts:
            with host.open(part["digest"]) as path:
                yield from _some(path, schema, part["skip"], part["take"])


def _some(path: Path, schema: Schema, skip: int, take: int) -> Iterator[pa.RecordBatch]:
    for batch in shard_batches(path, schema, 1024):
        if skip >= len(batch):
            skip -= len(batch)
            continue
        wanted = batch.slice(skip, take)
        skip = 0
        take -= len(wanted)
        yield wanted
        if take <= 0:
            return
