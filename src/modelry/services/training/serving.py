"""The server's side of the work `train`: which files it may have, and where its own go."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelry.domain.errors import DataDamaged, NotFound, NotSupported
from modelry.runtime_api.work import Answer, InputFile, Json
from modelry.services.jobs.handlers import JobRun
from modelry.services.jobs.telling import TellsJob
from modelry.services.training.ports import Contents, Datasets
from modelry.training.request import BASE, CHECKPOINT, FILE, KEPT

VERSION_PREFIX = "version-"
"""Of the artefacts that are files of the version."""


@dataclass(frozen=True, slots=True)
class MadeFile:
    """A file of the version that the work handed over."""

    name: str
    digest: str


@dataclass
class TrainingClient(TellsJob):
    """Implements `runtime_api.work.WorkClient` for one run of one job.

    Attributes:
        run: the job's.
        datasets: has the shards.
        contents: has everything else.
        shards: the digests that the work may read.
        base: digests of the files that it begins from, by role.
        is_fresh: begin anew, whatever checkpoint there is.
        files: of the version, by role, as they come.
    """

    run: JobRun
    datasets: Datasets
    contents: Contents
    shards: Collection[str]
    base: Mapping[str, str]
    is_fresh: bool = False
    files: dict[str, MadeFile] = field(default_factory=dict)

    def open_input(self, name: str) -> InputFile:
        """See `WorkClient.open_input`."""
        tenant_id = self.run.principal.tenant_id
        if name in self.shards:
            return self.datasets.open_shard(tenant_id, name)
        if name == CHECKPOINT:
            return self._checkpoint()
        role = name.removeprefix(BASE).partition("/")[0]
        if name.startswith(BASE) and role in self.base:
            return self.contents.open(tenant_id, self.base[role], role)
        raise NotFound(f"There is no input '{name[:80]}'.")

    def _checkpoint(self) -> InputFile:
        found = None if self.is_fresh else self.run.checkpoint()
        if found is None:
            raise NotFound("There is no checkpoint.")
        step, digest = found
        try:
            opened = self.contents.open(self.run.principal.tenant_id, digest, CHECKPOINT)
        except (DataDamaged, NotFound) as error:
            self.run.log(f"The checkpoint of step {step} is lost, the run begins anew: {error}")
            raise NotFound("There is no checkpoint.") from None
        self.run.log(f"Goes on from the checkpoint of step {step}.")
        return opened

    def take_output(self, name: str, file: Path, about: Json) -> Json:
        """See `WorkClient.take_output`."""
        kept = self.contents.keep_file(self.run.principal.tenant_id, file)
        if name == CHECKPOINT:
            self.run.save_checkpoint(int(about["step"]), kept.digest, kept.size_bytes)
            self.is_fresh = False
        elif name.startswith(FILE):
            made = MadeFile(str(about["name"]), kept.digest)
            self.files[name.removeprefix(FILE)] = made
            self.run.save_artefact(f"{VERSION_PREFIX}{made.name}", kept.digest, kept.size_bytes)
        elif name.startswith(KEPT):
            self.run.save_artefact(name.removeprefix(KEPT), kept.digest, kept.size_bytes)
        else:
            raise NotFound(f"Nothing is kept under '{name[:80]}'.")
        return {"digest": kept.digest, "size_bytes": kept.size_bytes}

    def answer(self, what: str, header: Json, body: bytes) -> Answer:  # noqa: ARG002
        """See `WorkClient.answer`: training asks nothing."""
        raise NotSupported(f"Training asks nothing, and not '{what[:80]}'.")
