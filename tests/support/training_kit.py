"""What a job that trains stands on, in memory: for unit tests of its handler."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from modelry.adapters.blobs.file_store import FileBlobStore
from modelry.datasets.shards import ShardWriter, version_digest
from modelry.domain.access import DEFAULT_TENANT_ID, Permission
from modelry.domain.datasets import (
    Column,
    ColumnRole,
    ColumnType,
    DatasetVersion,
    Schema,
    Shard,
    Split,
)
from modelry.domain.errors import NotFound
from modelry.runtime_api.work import WorkLimits
from modelry.services.catalog.service import CatalogService
from modelry.services.training.handler import TrainHandler
from modelry.tasks.rules import InstalledTasks
from modelry.testing.catalog_fakes import FakeFetcher, FakeStarters
from modelry.testing.datasets import batch_of
from modelry.testing.encryption import memory_encryption
from modelry.testing.jobs import FakeJobRun
from modelry.testing.memory_database import MemoryDatabase
from modelry.testing.samples import add_tenants, principal
from modelry.testing.work import ThreadWorks
from modelry.training.work import TrainWork

LINE = Schema(
    (
        Column("a", ColumnType.NUMBER),
        Column("b", ColumnType.NUMBER),
        Column("y", ColumnType.NUMBER, ColumnRole.LABEL),
    )
)


def line_rows(count: int = 64, seed: int = 0) -> dict[str, Any]:
    """Rows of y = 2 a - b + 1 and a little noise."""
    draw = np.random.default_rng(seed)
    a, b = draw.normal(size=count), draw.normal(size=count)
    return {"a": a, "b": b, "y": 2 * a - b + 1 + draw.normal(size=count) / 100}


class KeptDatasets:
    """Implements `services.training.ports.Datasets` on real shards in a blob store."""

    def __init__(self, contents: Any, folder: Path) -> None:
        self._contents = contents
        self._folder = folder
        self.versions: dict[str, DatasetVersion] = {}

    def add(
        self, name: str, schema: Schema, splits: Mapping[str, Mapping[str, Any]]
    ) -> DatasetVersion:
        made, digests = [], {}
        for split, columns in splits.items():
            shards: list[Shard] = []

            def keep(file: Path, rows: int, shards: list[Shard] = shards) -> None:
                kept = self._contents.keep_file(DEFAULT_TENANT_ID, file)
                shards.append(Shard(kept.digest, rows, kept.size_bytes))

            writer = ShardWriter(schema, self._folder / "shard", keep)
            writer.write(batch_of(schema, columns))
            writer.close()
            made.append(Split(split, tuple(shards)))
            digests[split] = writer.digest
        version = DatasetVersion(
            DEFAULT_TENANT_ID,
            name,
            1,
            version_digest(schema, digests),
            schema,
            tuple(made),
            datetime.now(UTC),
            "k1",
        )
        self.versions[version.ref] = self.versions[name] = version
        return version

    def find(self, who, ref):
        who.require(Permission.DATASETS_READ)
        if ref not in self.versions:
            raise NotFound(f"Dataset '{ref}' does not exist.", param="dataset")
        return self.versions[ref]

    def open_shard(self, tenant_id, digest):
        return self._contents.open(tenant_id, digest, "shard")


class TrainingKit:
    """A handler, and a catalogue, datasets and lineages for it."""

    def __init__(self, folder: Path) -> None:
        self.database = MemoryDatabase()
        add_tenants(self.database)
        self.blobs = FileBlobStore(folder / "blobs", memory_encryption())
        self.catalog = CatalogService(
            store=self.database.catalog,
            blobs=self.blobs,
            rules=InstalledTasks(),
            fetcher=FakeFetcher(),
            starters=FakeStarters(),
            scratch=folder / "scratch",
        )
        self.datasets = KeptDatasets(self.catalog.contents, folder)
        self.works: Any = ThreadWorks(TrainWork())
        self.handler = TrainHandler(
            self.datasets, self.catalog, self.database.lineages, self, WorkLimits(threads=2)
        )
        self.orders: list[Any] = []

    def run(self, order, client, stop):
        """Runs work through `works`, which tests may replace."""
        self.orders.append(order)
        return self.works.run(order, client, stop)

    def check(self, **order):
        given = {"recipe": "steady", "dataset": "line", "model": "fitted", **order}
        return self.handler.check(principal(), given)

    def job(self, **order) -> FakeJobRun:
        return FakeJobRun(self.check(**order))

    def content(self, digest: str) -> bytes:
        with closing(self.catalog.contents.open(DEFAULT_TENANT_ID, digest, "content")) as opened:
            return opened.path.read_bytes()
