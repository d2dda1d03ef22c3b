"""The server's side of the work `explain-rows`: what it may read, ask, and hand over."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Self

from modelry.domain.catalog import Version
from modelry.domain.errors import DataDamaged, NotFound
from modelry.runtime_api.items import decode_item
from modelry.runtime_api.work import Answer, InputFile
from modelry.services.catalog.contents import Contents
from modelry.services.evaluation.assessing import check_report
from modelry.services.evaluation.engines import OpenEngine
from modelry.services.evaluation.ports import Datasets
from modelry.services.explanation.planning import model_file
from modelry.services.jobs.handlers import JobRun, Json
from modelry.services.jobs.telling import TellsJob
from modelry.studying.contract import (
    CHECKPOINT,
    EXPLAIN,
    LOAD,
    MODEL,
    PREDICT,
    RANDOMISED,
    REPORT,
    ROWS,
    Plan,
)

LetGo = Callable[[str, str], None]
"""Told a tenant and the digest of a content that nothing needs any more."""
Load = Callable[[Version], AbstractContextManager[OpenEngine]]


class Copies:
    """Copies of a version whose weights were drawn anew: one is loaded at a time.

    Args:
        version: of which.
        load: loads a version.
        let_go: told of the files, once they are needed no more.
    """

    def __init__(self, version: Version, load: Load, let_go: LetGo) -> None:
        self.version = version
        self._load = load
        self._let_go = let_go
        self._digests: dict[int, tuple[str, int]] = {}
        self._loaded = ExitStack()
        self._stage = 0
        self.engine: OpenEngine | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._loaded.close()
        finally:
            for digest, _size in self._digests.values():
                self._let_go(self.version.tenant_id, digest)

    def add(self, stage: int, digest: str, size_bytes: int) -> None:
        """A model file of a stage."""
        self._digests[stage] = (digest, size_bytes)

    def load(self, stage: int) -> None:
        """Load the copy of a stage in the place of the one before.

        Raises:
            NotFound: there is no file of that stage.
            ModelFailed: it cannot be loaded.
        """
        if stage not in self._digests:
            raise NotFound(f"There is no copy of stage {stage}.")
        self._loaded.close()
        self.engine = None
        digest, size_bytes = self._digests[stage]
        own = model_file(self.version)
        changed = replace(own, digest=digest, size_bytes=size_bytes)
        files = tuple(changed if one.role == own.role else one for one in self.version.files)
        copy = replace(self.version, files=files, digest=digest)
        self.engine = self._loaded.enter_context(self._load(copy))
        self._stage = stage

    def of(self, stage: int) -> OpenEngine:
        """The engine of a stage.

        Raises:
            NotFound: it is not loaded.
        """
        if self.engine is None or stage != self._stage:
            raise NotFound(f"The copy of stage {stage} is not loaded.")
        return self.engine


class StudyClient(TellsJob):
    """The server's side of the work `explain-rows`."""

    def __init__(
        self,
        run: JobRun,
        datasets: Datasets,
        contents: Contents,
        *,
        plan: Plan,
        engine: OpenEngine,
        copies: Copies,
    ) -> None:
        self.run = run
        self._datasets = datasets
        self._contents = contents
        self._engine = engine
        self._copies = copies
        self._may_have_model = bool(plan.randomisations)
        self._shards = {
            digest for data in (plan.data, plan.background) for digest, _ in data.shards
        }
        self.kept: dict[str, str] = {}

    def open_input(self, name: str) -> InputFile:
        """A shard, the model file, or the last checkpoint."""
        tenant_id = self.run.principal.tenant_id
        if name in self._shards:
            return self._datasets.open_shard(tenant_id, name)
        if name == MODEL and self._may_have_model:
            file = model_file(self._copies.version)
            return self._contents.open(tenant_id, file.digest, file.name)
        if name == CHECKPOINT:
            return self._checkpoint()
        raise NotFound(f"The explanations have no input '{name[:80]}'.")

    def _checkpoint(self) -> InputFile:
        found = self.run.checkpoint()
        if found is None:
            raise NotFound("There is no checkpoint.")
        try:
            return self._contents.open(self.run.principal.tenant_id, found[1], CHECKPOINT)
        except (DataDamaged, NotFound) as error:
            self.run.log(f"The checkpoint is lost, the rows are explained anew: {error}")
            raise NotFound("There is no checkpoint.") from None

    def take_output(self, name: str, file: Path, about: Json) -> Json:
        """Rows, report, a checkpoint, or a copy of the model file."""
        if name not in (ROWS, REPORT, CHECKPOINT) and not name.startswith(RANDOMISED):
            raise NotFound(f"The explanations have no output '{name[:80]}'.")
        if name == REPORT:
            check_report(file)
        kept = self._contents.keep_file(self.run.principal.tenant_id, file)
        if name == CHECKPOINT:
            self.run.save_checkpoint(int(about["step"]), kept.digest, kept.size_bytes)
        elif name.startswith(RANDOMISED):
            self._copies.add(int(about["stage"]), kept.digest, kept.size_bytes)
        else:
            self.kept[name] = kept.digest
        return {"digest": kept.digest, "size_bytes": kept.size_bytes}

    def answer(self, what: str, header: Json, body: bytes) -> Answer:
        """Ask the version, or a copy of it."""
        if what == PREDICT:
            items = [decode_item(one, body) for one in header["items"]]
            results, _, _ = self._engine.predict(items, header["options"])
            return Answer({"items": results})
        if what == EXPLAIN:
            stage = int(header["stage"])
            engine = self._engine if stage == 0 else self._copies.of(stage)
            told = engine.explain(decode_item(header["item"], body), header["wish"])
            return Answer({"explanation": told})
        if what == LOAD:
            self._copies.load(int(header["stage"]))
            return Answer({})
        raise NotFound(f"The explanations cannot be asked '{what[:80]}'.")
