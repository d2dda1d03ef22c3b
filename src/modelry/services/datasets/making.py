"""What both kinds of jobs that make versions have in common: serving the work, keeping the version.

The process that reads foreign bytes may have been taken over by them. So nothing that it tells is
taken for granted: shards are those that were handed over in this very run, with the digest and size
that they were kept under, and what describes them must fit them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from modelry.domain.datasets import Column, DatasetVersion, Schema, Shard, Split
from modelry.domain.errors import NotFound, WorkFailed
from modelry.runtime_api.work import Answer, InputFile, Json, WorkLimits, WorkOrder, Works
from modelry.services.datasets.ports import Contents, DatasetStore, NewVersion
from modelry.services.jobs.handlers import JobRun
from modelry.services.jobs.telling import TellsJob

LIMITS = WorkLimits(memory_bytes=4 * 2**30, scratch_bytes=4 * 2**30, threads=1)
MAX_COLUMNS = 10_000
MAX_ROWS = 2**48

Inputs = Callable[[str], InputFile]


class MakingClient(TellsJob):
    """Serves a work that makes a version: opens its inputs, keeps its shards."""

    def __init__(self, run: JobRun, inputs: Inputs, contents: Contents) -> None:
        self.run = run
        self._inputs = inputs
        self._contents = contents
        self.kept: dict[str, int] = {}
        """The size of each shard, by its digest."""

    def open_input(self, name: str) -> InputFile:
        """See `WorkClient.open_input`."""
        return self._inputs(name)

    def take_output(self, name: str, file: Path, about: Json) -> Json:
        """Keep a shard."""
        del name, about
        kept = self._contents.keep_file(self.run.principal.tenant_id, file)
        self.kept[kept.digest] = kept.size_bytes
        return {"digest": kept.digest, "size_bytes": kept.size_bytes}

    def answer(self, what: str, header: Json, body: bytes) -> Answer:
        """It asks nothing."""
        del header, body
        raise NotFound(f"There is no '{what[:80]}' to ask for.")


def made_version(
    order: tuple[str, Json],
    run: JobRun,
    works: Works,
    client: MakingClient,
) -> tuple[Schema, tuple[Split, ...], Json]:
    """Run the work; the schema and splits of what it made, and all that it told.

    Raises:
        WorkFailed: what it told does not fit what it handed over.
    """
    work, request = order
    told = works.run(WorkOrder(work, request, LIMITS), client, run.stop)
    try:
        schema = Schema.from_wire(told["schema"])
        splits = tuple(_split(one, client.kept) for one in told["splits"])
        _check(schema, splits, told)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WorkFailed(
            f"What the work '{work}' told of its rows does not fit them: {str(error)[:200]}."
        ) from None
    return schema, splits, told


def _split(told: Mapping[str, Any], kept: Mapping[str, int]) -> Split:
    shards = []
    for one in told["shards"]:
        digest, rows = str(one["digest"]), int(one["rows"])
        if digest not in kept or not 0 < rows < MAX_ROWS:
            raise ValueError("a shard that was not handed over")
        shards.append(Shard(digest, rows, kept[digest]))
    return Split(str(told["name"])[:64], tuple(shards))


def _check(schema: Schema, splits: tuple[Split, ...], told: Json) -> None:
    if not 0 < len(schema.columns) <= MAX_COLUMNS or not splits:
        raise ValueError("no columns or no splits")
    for one in schema.columns:
        Column.from_wire(one.to_wire())
    digest = told["digest"]
    if not (isinstance(digest, str) and len(digest) == 71 and digest.startswith("sha256:")):
        raise ValueError("an odd digest")
    dict(**told["statistics"]), dict(**told["report"])


def keep_version(
    store: DatasetStore, version: NewVersion, run: JobRun, told: Json
) -> dict[str, Any]:
    """Keep what was made; the job's outcome."""
    kept, is_new = store.add(version)
    run.log(f"{kept.ref} {'has' if is_new else 'has the same'} {_rows(kept)}.")
    outcome: dict[str, Any] = {
        "dataset": kept.dataset_name,
        "version": kept.number,
        "ref": kept.ref,
        "digest": kept.digest,
        "created": is_new,
        "rows": {one.name: one.rows for one in kept.splits},
    }
    if "source" in told:
        outcome["source"] = told["source"]
    return outcome


def _rows(version: DatasetVersion) -> str:
    return ", ".join(f"{one.rows} rows in '{one.name}'" for one in version.splits)
