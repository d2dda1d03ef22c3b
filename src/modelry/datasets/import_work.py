"""What is done with foreign files in a locked-down process: they become shards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any, ClassVar

import pyarrow as pa

from modelry.datasets.importers.contract import Source
from modelry.datasets.importers.formats import open_source
from modelry.datasets.plans import SplitPlan, read_plan
from modelry.datasets.streams import SharedOut
from modelry.datasets.writing import RowStream, told_rows, write_version
from modelry.domain.datasets import Schema
from modelry.domain.errors import Cancelled, InvalidInput
from modelry.runtime_api.work import Json, WorkHost

ONLY_SPLIT = "train"
"""What the only split is called when neither the files nor a plan name any."""


class ImportDataset:
    """Foreign files become shards.

    Asked with `files` (names, each an input of the work), `format` (None to tell it by the files),
    `options` of the format and `split` (a `SplitPlan`, or None). Gives what `write_version` gives
    and `source`: what was left out, and what people should know.
    """

    name: ClassVar[str] = "import-dataset"

    def run(self, host: WorkHost) -> Json:
        """Do it."""
        asked = host.request
        plan = None if asked["split"] is None else read_plan(SplitPlan, asked["split"], "split")
        with ExitStack() as opened:
            files = {
                name: opened.enter_context(host.open(name)) for name in _names(asked["files"], host)
            }
            source = open_source(asked["format"], files, asked["options"], _Watch(host))
            stream: RowStream = _SourceRows(source, shared=plan is not None)
            stream = told_rows(stream, host, "reading", None)
            if plan is not None:
                stream = SharedOut(stream, plan)
            made = write_version(stream, host)
            source.problems.settle()
            return made | {"source": source.problems.to_wire()}


def _names(files: Any, host: WorkHost) -> Iterator[str]:
    for at, name in enumerate(files):
        host.progress(at, len(files), "files", "opening")
        yield str(name)


class _Watch:
    """Tells how far an importer is, and ends it when the work is stopped."""

    def __init__(self, host: WorkHost) -> None:
        self._host = host

    def __call__(self, phase: str, done: int, total: int | None) -> None:
        if self._host.stop.is_set():
            raise Cancelled("The import was stopped.")
        self._host.progress(done, total, "", phase)


class _SourceRows:
    """The rows of a source as a stream; `shared` if a plan names their splits later."""

    def __init__(self, source: Source, *, shared: bool) -> None:
        self._source = source
        self._is_plain = tuple(source.splits) == ("",)
        if shared and not self._is_plain:
            raise InvalidInput(
                f"The files have splits of their own ({', '.join(source.splits)}); import them "
                "without a split, and share them out in a derived version if you want others.",
                param="split",
            )
        self.schema: Schema = source.schema
        self.splits: Sequence[str] = [ONLY_SPLIT] if self._is_plain else list(source.splits)

    def rows(self) -> Iterator[tuple[str, pa.RecordBatch]]:
        """All rows."""
        for name in self._source.splits:
            for batch in self._source.rows(name):
                yield (ONLY_SPLIT if self._is_plain else name), batch
