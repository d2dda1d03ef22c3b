"""A version on a dataset in this process, to be explained by the job as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
from tests.support.explained import Explainer
from tests.support.task_models import ServedVersion

from modelry.datasets.shards import ShardWriter
from modelry.domain.access import Principal
from modelry.domain.catalog import ModelFile, Version
from modelry.domain.datasets import DatasetVersion, Schema, Shard, Split
from modelry.domain.errors import ModelryError, NotFound
from modelry.domain.explanations import DatasetExplanation
from modelry.domain.signature import Signature
from modelry.runtime_api.frames import Kind
from modelry.runtime_api.items import decode_item
from modelry.services.deployments.ports import OpenFile, Replica, ReplicaSpec
from modelry.services.deployments.service import DeploymentsService
from modelry.services.evaluation.engines import EngineLoader
from modelry.services.explanation.handler import ExplainHandler
from modelry.services.inference.authentication import Authenticator, KeySnapshot
from modelry.services.inference.call import Call
from modelry.services.inference.routing import RouteTable
from modelry.services.inference.service import InferenceService
from modelry.studying.work import ExplainRows
from modelry.testing import samples
from modelry.testing.datasets import batch_of
from modelry.testing.replica_pool import FakeReplicaPool
from modelry.testing.samples import NOW
from modelry.testing.work import ThreadWorks

Columns = Mapping[str, Sequence[Any]]


@dataclass
class File:
    """A file of a test; stays where it is."""

    path: Path
    descriptor: int = 0

    def close(self) -> None:
        """Nothing."""


class Datasets:
    """One dataset, `rows@3`, whose shards are files."""

    def __init__(self, folder: Path, schema: Schema, splits: Mapping[str, Columns]) -> None:
        self._folder = folder
        kept = tuple(
            Split(name, tuple(self._shards(name, schema, columns)))
            for name, columns in splits.items()
        )
        self.version = DatasetVersion(
            "default", "rows", 3, "sha256:" + "d" * 64, schema, kept, NOW, "k1"
        )

    def _shards(self, name: str, schema: Schema, columns: Columns) -> list[Shard]:
        kept: list[Shard] = []

        def keep(file: Path, rows: int) -> None:
            place = file.rename(self._folder / f"{name}-{len(kept)}.shard")
            kept.append(Shard(place.name, rows, place.stat().st_size))

        count = len(next(iter(columns.values())))
        for start in range(0, count, 40):  # several shards, so that rows are found in each
            part = {name: values[start : start + 40] for name, values in columns.items()}
            with closing(ShardWriter(schema, self._folder / f"{name}-filling-{start}", keep)) as to:
                to.write(batch_of(schema, part))
        return kept

    def find(self, principal: Principal, ref: str) -> DatasetVersion:
        """See `services.evaluation.ports.Datasets`."""
        del principal
        if ref not in ("rows", "rows@3"):
            raise NotFound(f"Dataset '{ref}' does not exist.")
        return self.version

    def open_shard(self, tenant_id: str, digest: str) -> File:
        """See `services.evaluation.ports.Datasets`."""
        assert tenant_id == "default"
        return File(self._folder / digest)


class Contents:
    """Contents as files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def keep_file(self, tenant_id: str, file: Path) -> Any:
        """See `services.catalog.contents.Contents`."""
        del tenant_id
        self._count += 1
        digest = f"sha256:{self._count:064}"
        self.path(digest).write_bytes(file.read_bytes())
        return samples.BlobRecord(digest, file.stat().st_size, NOW)

    def open(self, tenant_id: str, digest: str, name: str) -> File:
        """See `services.catalog.contents.Contents`."""
        del tenant_id, name
        return File(self.path(digest))

    def path(self, digest: str) -> Path:
        """Where a content is."""
        return self._folder / digest.removeprefix("sha256:")

    def json(self, digest: str) -> Any:
        """A content that is JSON."""
        return orjson.loads(self.path(digest).read_bytes())


class Store:
    """Explanations in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, DatasetExplanation] = {}

    def add(self, explanation: DatasetExplanation) -> None:
        """See `ExplanationStore.add`."""
        self.kept.setdefault(explanation.explanation_id, explanation)

    def find(self, tenant_id: str, explanation_id: str) -> DatasetExplanation | None:
        """See `ExplanationStore.find`."""
        assert tenant_id == "default"
        return self.kept.get(explanation_id)

    def of_version(self, tenant_id: str, model: str, number: int) -> list[DatasetExplanation]:
        """See `ExplanationStore.of_version`."""
        assert tenant_id == "default"
        return [one for one in self.kept.values() if one.version_ref == f"{model}@{number}"]


class NoKeys:
    """No keys."""

    def digest(self, token: str) -> bytes:
        """See `Authenticator`."""
        return token.encode()

    def snapshot(self) -> KeySnapshot:
        """See `Authenticator`."""
        return KeySnapshot({}, {}, {})


class EnginePool(FakeReplicaPool):
    """Replicas that answer by the engine of the model file that they are started with.

    Args:
        task: of the version.
        more: of its manifest.
        columns: that it takes.
    """

    def __init__(self, task: str, more: Mapping[str, Any], columns: Sequence[str]) -> None:
        super().__init__()
        self._task = task
        self._more = more
        self._columns = columns
        self.niceness: list[int] = []
        self.calls = 0
        self.explained = 0
        self.on_explain: Any = None

    async def start(self, spec: ReplicaSpec, files: Mapping[str, OpenFile]) -> Replica:
        """See `ReplicaPool.start`."""
        paths = {role: file.path for role, file in files.items()}  # type: ignore[attr-defined] # our own
        version = ServedVersion(self._task, paths, **self._more)
        explainer = Explainer(version, self._columns)
        self.niceness.append(spec.load.niceness)
        self.answer = lambda call: self._answered(call, version, explainer)
        return await super().start(spec, files)

    def _answered(
        self, call: Call, version: ServedVersion, explainer: Explainer
    ) -> tuple[bytes, bytes] | None:
        asked = orjson.loads(call.header)
        items = [decode_item(one, call.body) for one in asked["items"]]
        try:
            if call.kind == Kind.EXPLAIN:
                self.explained += 1
                if self.on_explain is not None:
                    self.on_explain(self.explained)
                wish = asked["wish"] | {"background": tuple(asked["wish"]["background"])}
                found = explainer(items[0], **wish)
                return orjson.dumps({"explanation": found.told, "usage": found.usage}), b""
            self.calls += 1
            answer = version.predict(items, asked["options"])
        except ModelryError as error:
            for replica in self.started:
                if call in replica.link.calls:
                    replica.link._release(call)
            call.fail(error)
            return None
        return orjson.dumps({"items": answer.items, "usage": answer.usage}), b""


class Kit:
    """The handler of `explain` jobs on a data plane with engines in this process.

    Args:
        folder: an empty one.
        loop: runs in another thread.
        version: its task, files by role, and what else its manifest has.
        dataset: its schema and splits.
        columns: that the version takes.
    """

    def __init__(
        self,
        folder: Path,
        loop: asyncio.AbstractEventLoop,
        version: tuple[str, Mapping[str, Path], Mapping[str, Any]],
        dataset: tuple[Schema, Mapping[str, Columns]],
        columns: Sequence[str] = (),
    ) -> None:
        task, files, more = version
        self.store = Store()
        self.contents = Contents(folder)
        self.datasets = Datasets(folder, *dataset)
        self.pool = EnginePool(task, more, columns)
        kept = []
        for role, path in files.items():
            found = self.contents.keep_file("default", path)
            kept.append(ModelFile(role, f"{role}.onnx", found.digest, found.size_bytes))
        pre = [
            {"step": "columns", "columns": [{"name": name} for name in columns]}
        ] if columns else []  # fmt: skip
        self.version = replace(
            samples.version("filter"),
            task=task,
            signature=Signature((), (), batched=False),
            files=tuple(kept),
            manifest={"pre": pre, "post": ServedVersion(task, files, **more).steps.post},
        )
        self.let_go: list[str] = []
        inference = InferenceService(Authenticator(NoKeys()), RouteTable())  # type: ignore[arg-type] # no keys are asked for
        self.deployments = DeploymentsService(None, self, self.pool, inference)  # type: ignore[arg-type] # nothing is kept
        self.handler = ExplainHandler(
            store=self.store,  # type: ignore[arg-type] # as far as it is needed
            versions=self,
            datasets=self.datasets,
            contents=self.contents,  # type: ignore[arg-type] # likewise
            engines=EngineLoader(self.deployments, inference, lambda: loop),
            works=ThreadWorks(ExplainRows()),
            let_go=lambda _tenant_id, digest: self.let_go.append(digest),
            niceness=7,
            clock=lambda: NOW,
        )

    def resolve(self, principal: Principal, reference: str) -> Version:
        """See `services.evaluation.ports.Versions`."""
        del principal
        if reference not in ("filter", self.version.ref):
            raise NotFound(f"Model '{reference}' does not exist.")
        return self.version

    def get_version(self, principal: Principal, name: str, number: int) -> Version:
        """See `services.evaluation.ports.Versions`."""
        return self.resolve(principal, f"{name}@{number}")

    def open_files(self, version: Version) -> dict[str, File]:
        """See `services.deployments.ports.VersionSource`."""
        return {one.role: File(self.contents.path(one.digest)) for one in version.files}
