"""Versions, evaluations and deployments in memory, for what follows a training."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.onnx_models import identity

from modelry.adapters.blobs.file_store import FileBlobStore
from modelry.domain.access import DEFAULT_TENANT_ID as TENANT
from modelry.domain.catalog import Version
from modelry.domain.errors import ModelFailed
from modelry.domain.evaluations import Evaluation, Measured
from modelry.manifest.document import from_mapping
from modelry.services.catalog.service import CatalogService
from modelry.services.deployments.service import DeploymentsService
from modelry.services.inference.authentication import Authenticator, KeySnapshot
from modelry.services.inference.routing import RouteTable
from modelry.services.inference.service import InferenceService
from modelry.services.pipelines.deploying import DeployHandler
from modelry.services.pipelines.gate import Gate
from modelry.services.pipelines.registering import RegisterHandler
from modelry.testing.catalog_fakes import FakeFetcher, FakeStarters, FakeTaskRules
from modelry.testing.encryption import memory_encryption
from modelry.testing.jobs import FakeJobRun
from modelry.testing.memory_database import MemoryDatabase
from modelry.testing.replica_pool import FakeReplicaPool
from modelry.testing.samples import NOW, add_tenants, principal

ME = principal()
DIGITS = "sha256:" + "d" * 64


class Evaluations:
    """What was measured, the newest last."""

    def __init__(self) -> None:
        self.kept: list[Evaluation] = []

    def find(self, tenant_id: str, evaluation_id: str) -> Evaluation | None:
        assert tenant_id == TENANT
        return next((one for one in self.kept if one.evaluation_id == evaluation_id), None)

    def of_version(self, tenant_id: str, model: str, number: int) -> Sequence[Evaluation]:
        assert tenant_id == TENANT
        found = [one for one in self.kept if one.version_ref == f"{model}@{number}"]
        return found[::-1]


@dataclass
class Trail:
    """What was entered."""

    entries: list[tuple[str, str, str]] = field(default_factory=list)

    def append(self, tenant_id: str, *, outcome: str = "ok", **entry: Any) -> None:
        assert tenant_id == TENANT
        assert entry["actor"] == ME.key_id
        assert entry["detail"]["job_id"] == "job-1"
        self.entries.append((entry["action"], entry["resource"], outcome))

    append_late = append


class NoKeys:
    def digest(self, token: str) -> bytes:
        return token.encode()

    def snapshot(self) -> KeySnapshot:
        return KeySnapshot({}, {}, {})


class Pool(FakeReplicaPool):
    """Versions with these numbers cannot be loaded."""

    broken: frozenset[str] = frozenset()

    async def start(self, spec: Any, on_exit: Any) -> Any:
        if spec.load.manifest["metadata"].get("description") in self.broken:
            raise ModelFailed("It cannot be loaded: a layer is missing.")
        return await super().start(spec, on_exit)


class Kit:
    """Handlers, and what they act on."""

    def __init__(self, folder: Path, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.database = MemoryDatabase()
        add_tenants(self.database)
        self.catalog = CatalogService(
            store=self.database.catalog,
            blobs=FileBlobStore(folder / "blobs", memory_encryption()),
            rules=FakeTaskRules(),
            fetcher=FakeFetcher(),
            starters=FakeStarters(),
            scratch=folder / "scratch",
        )
        self.evaluations, self.trail, self.pool = Evaluations(), Trail(), Pool()
        inference = InferenceService(Authenticator(NoKeys()), RouteTable())  # type: ignore[arg-type] # no keys are asked for
        self.deployments = DeploymentsService(
            self.database.deployments, self.catalog.reader, self.pool, inference
        )
        self.do(self.deployments.start())
        gate = Gate(self.catalog, self.evaluations)
        self.register = RegisterHandler(
            self.catalog,
            self.database.lineages,
            gate,
            self.trail,  # type: ignore[arg-type] # as far as it is needed
        )
        self.deploy = DeployHandler(
            self.catalog,
            lambda: self.deployments,
            gate,
            self.trail,  # type: ignore[arg-type] # likewise
        )

    def do(self, work: Any) -> Any:
        """Have the event loop do something."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    def version(self, name: str = "pets", size: int = 3) -> Version:
        """A version; another `size` gives another one."""
        content = identity(1, ("batch", size)).SerializeToString()
        digest = self.catalog.contents.keep(TENANT, [content]).digest
        declared = {
            "name": name,
            "task": "tensor",
            "files": {"model": "adder.onnx"},
            "metadata": {"description": f"of size {size}"},
        }
        document = from_mapping(declared)
        return self.catalog.register(ME, document, {"model": digest}).version

    def measured(
        self, version: Version, dataset_digest: str = DIGITS, split: str = "test", **metrics: float
    ) -> dict[str, Any]:
        """Keep an evaluation of a version; the outcome of its job."""
        evaluation_id = f"job-e{len(self.evaluations.kept)}"
        evaluation = Evaluation(
            tenant_id=TENANT,
            evaluation_id=evaluation_id,
            model_name=version.model_name,
            version_number=version.number,
            version_digest=version.digest,
            dataset="digits@1",
            dataset_digest=dataset_digest,
            split=split,
            rows=100,
            metrics={name: Measured(value) for name, value in metrics.items()},
            speed={},
            report_digest=DIGITS,
            job_id=evaluation_id,
            created_at=NOW,
            created_by="k1",
        )
        self.evaluations.kept.append(evaluation)
        told = {name: one.to_wire() for name, one in evaluation.metrics.items()}
        return {"evaluation_id": evaluation_id, "version": version.ref, "metrics": told}

    def job(
        self, handler: Any, inputs: Mapping[str, Any] | None = None, **parameters: Any
    ) -> FakeJobRun:
        """A run of a checked job."""
        return FakeJobRun(handler.check(ME, parameters), inputs=inputs)

    def alias(self, name: str, version: Version) -> None:
        self.catalog.set_alias(ME, version.model_name, name, version.number)

    def aliases(self, model: str = "pets") -> dict[str, int]:
        return {one.name: one.version_number for one in self.catalog.list_aliases(ME, model)}


@contextmanager
def running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    with running_loop() as loop:
        kit = Kit(tmp_path, loop)
        yield kit
        kit.do(kit.deployments.stop(0.1))


def other(version: Version) -> Version:
    """The same number, with other content: it was deleted and made again."""
    return replace(version, digest="sha256:" + "0" * 64)
