"""What fine-tuning jobs stand on, in memory: a base that a plain recipe trains further."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field
from tests.support.onnx_models import identity
from tests.support.works.steady_recipe import SteadyParameters, SteadyRecipe

from modelry.adapters.blobs.file_store import FileBlobStore
from modelry.datasets.import_work import ImportDataset
from modelry.domain.access import DEFAULT_TENANT_ID, Principal
from modelry.domain.catalog import Version
from modelry.domain.errors import Conflict
from modelry.manifest.document import parse_manifest
from modelry.runtime_api.work import WorkLimits
from modelry.services.catalog.service import CatalogService
from modelry.services.datasets.importing import ImportHandler
from modelry.services.datasets.service import DatasetsService
from modelry.services.files.service import FilesService, NewFile
from modelry.services.finetuning import choices
from modelry.services.finetuning.choices import Choice
from modelry.services.finetuning.handler import FineTuneHandler
from modelry.services.finetuning.ports import Base
from modelry.services.jobs.curves import MetricPoint
from modelry.services.training.handler import TrainHandler
from modelry.tasks.rules import InstalledTasks
from modelry.testing.catalog_fakes import FakeFetcher, FakeStarters
from modelry.testing.encryption import memory_encryption
from modelry.testing.jobs import FakeJobRun
from modelry.testing.memory_database import MemoryDatabase
from modelry.testing.samples import add_tenants, principal
from modelry.testing.work import ThreadWorks
from modelry.training import registry
from modelry.training.contract import Parameters
from modelry.training.work import TrainWork


class TunedParameters(SteadyParameters):
    epochs: int = Field(2, ge=1, le=50, description="looks at all rows")
    batch_size: int = Field(8, ge=1, le=64, description="rows per step")


class TunedRecipe(SteadyRecipe):
    """The plain recipe, with the parameters that hyperparameters are about."""

    parameters: ClassVar[type[Parameters]] = TunedParameters


def offer_tuned_recipe(monkeypatch: Any) -> None:
    """Have bases of the task `tensor` trained further by the plain recipe."""
    monkeypatch.setattr(registry, "recipes", lambda: {"steady": TunedRecipe()})
    monkeypatch.setattr(choices, "recipes", lambda: {"steady": TunedRecipe()})
    choice = Choice("steady", "jsonl", {"label": "y"})
    monkeypatch.setitem(choices.CHOICES, "tensor", choice)


def rows(count: int = 32, first: int = 0) -> bytes:
    """Lines of y = 2 a - b + 1."""
    made = []
    for at in range(first, first + count):
        a, b = (at % 7) / 7, (at % 5) / 5
        made.append(json.dumps({"a": a, "b": b, "y": 2 * a - b + 1}))
    return "\n".join(made).encode()


@dataclass
class KnownServing:
    """Implements `finetuning.ports.Serving`, and notes what it was asked."""

    served: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    is_refusing: bool = False

    def serve(self, principal: Any, version: Version, engine_options: Any, stop: Any) -> None:
        if self.is_refusing:
            raise Conflict("The name is taken.")
        self.served.append((version.ref, dict(engine_options)))


class FineTuningKit:
    """A handler, and a catalogue, files and datasets for it."""

    def __init__(self, folder: Path) -> None:
        self.database = MemoryDatabase()
        add_tenants(self.database)
        blobs = FileBlobStore(folder / "blobs", memory_encryption())
        self.catalog = CatalogService(
            store=self.database.catalog,
            blobs=blobs,
            rules=InstalledTasks(),
            fetcher=FakeFetcher(),
            starters=FakeStarters(),
            scratch=folder / "scratch",
        )
        self.works = ThreadWorks(TrainWork(), ImportDataset())
        self.asked: list[str] = []
        contents = self.catalog.contents
        self.files = FilesService(self.database.files, contents, blobs)
        self.datasets = DatasetsService(self.database.datasets, contents, self)
        self.serving = KnownServing()
        self.curves: list[MetricPoint] = []
        self.handler = FineTuneHandler(
            files=self.files,
            bases=self,
            datasets=self.datasets,
            lineages=self.database.lineages,
            importing=ImportHandler(self.datasets),
            training=TrainHandler(
                self.datasets, self.catalog, self.database.lineages, self, WorkLimits(threads=1)
            ),
            serving=self.serving,
            curves=lambda _principal, _job_id: self.curves,
        )
        self.register("base", "tensor")

    def run(self, order: Any, client: Any, stop: Any) -> Any:
        """Runs work, and notes which."""
        self.asked.append(order.work)
        return self.works.run(order, client, stop)

    def find(self, principal: Principal, model: str) -> Base:
        """Implements `finetuning.ports.Bases`."""
        return Base(self.catalog.resolve(principal, model), {"threads": 1})

    def register(self, name: str, task: str) -> None:
        """A base: any model of the task."""
        content = bytes(identity(1, ("batch", 3)).SerializeToString())
        kept = self.catalog.contents.keep(DEFAULT_TENANT_ID, [content])
        (document,) = parse_manifest(f"name: {name}\ntask: {task}\nfiles: {{model: a.onnx}}\n")
        self.catalog.register(principal(), document, {"model": kept.digest})

    def send(self, content: bytes, name: str = "rows.jsonl") -> str:
        """The id of a file."""
        me = principal()
        return self.files.add(me, self.files.receive(me, [content]), NewFile(name)).file_id

    def job(self, job_id: str = "job-0123456789ab", **wanted: Any) -> FakeJobRun:
        """A job that was checked, to be run."""
        given = {"model": "base", "training_file": self.send(rows()), **wanted}
        return FakeJobRun(self.handler.check(principal(), given), job_id=job_id)

    def lines(self, file_id: str) -> Sequence[str]:
        """The lines of a file."""
        _, chunks = self.files.open_content(principal(), file_id)
        return b"".join(chunks).decode().splitlines()
