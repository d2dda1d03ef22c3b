"""Looking at some rows: read in a process of their own, told as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelry.domain.datasets import DatasetVersion, Split
from modelry.domain.errors import InternalError, NotFound
from modelry.domain.usage import Compute
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.work import Answer, InputFile, Json, WorkLimits, WorkOrder, Works
from modelry.services.datasets.ports import Contents

MAX_ROWS = 1000
MAX_ANSWER_BYTES = 32 * 2**20
LIMITS = WorkLimits(memory_bytes=2 * 2**30, scratch_bytes=128 * 2**20, threads=1, niceness=0)
"""Somebody waits for it, so it does not stand back."""


@dataclass(frozen=True, slots=True)
class RowsAsked:
    """Which rows.

    Attributes:
        split: whose; None for the first one.
        offset: how many are passed over.
        limit: how many at most.
        columns: the only ones; None for all.
        max_value_bytes: a longer text, image or tensor is told by its size alone.
    """

    split: str | None = None
    offset: int = 0
    limit: int = 20
    columns: Sequence[str] | None = None
    max_value_bytes: int = 64 * 1024


@dataclass(frozen=True, slots=True)
class Preview:
    """Rows of one split, from `offset` on; see `datasets.preview` for the form of values.

    `total` is how many rows the split has.
    """

    version: DatasetVersion
    split: str
    offset: int
    total: int
    rows: list[Mapping[str, Any]]


def read_rows(
    version: DatasetVersion, asked: RowsAsked, contents: Contents, works: Works
) -> Preview:
    """Some rows of a version.

    Raises:
        NotFound: there is no such split or column.
        PayloadTooLarge: they are too long together.
    """
    split = _split(version, asked.split)
    parts = _parts(split, asked.offset, min(asked.limit, MAX_ROWS))
    rows: list[Mapping[str, Any]] = []
    if parts:
        request = {
            "schema": version.schema.to_wire(),
            "columns": None if asked.columns is None else list(asked.columns),
            "parts": parts,
            "max_value_bytes": asked.max_value_bytes,
        }
        client = _Client(version.tenant_id, frozenset(one["digest"] for one in parts), contents)
        works.run(WorkOrder("read-rows", request, LIMITS), client, StopSignal())
        rows = client.rows
    return Preview(version, split.name, asked.offset, split.rows, rows)


def _split(version: DatasetVersion, name: str | None) -> Split:
    found = version.splits[0] if name is None and version.splits else version.split(name or "")
    if found is None:
        known = ", ".join(one.name for one in version.splits)
        raise NotFound(
            f"{version.ref} has no split '{(name or '')[:80]}'; it has {known[:500]}.",
            param="split",
        )
    return found


def _parts(split: Split, offset: int, limit: int) -> list[dict[str, Any]]:
    """The shards that hold the rows `offset` to `offset + limit`, and which rows of each."""
    parts = []
    for shard in split.shards:
        take = min(shard.rows - offset, limit)
        if take > 0:
            parts.append({"digest": shard.digest, "skip": offset, "take": take})
            limit -= take
        offset = max(0, offset - shard.rows)
        if limit <= 0:
            break
    return parts


class _Client:
    """Serves the work that reads rows."""

    def __init__(self, tenant_id: str, digests: frozenset[str], contents: Contents) -> None:
        self._tenant_id = tenant_id
        self._digests = digests
        self._contents = contents
        self.rows: list[Mapping[str, Any]] = []

    def open_input(self, name: str) -> InputFile:
        """One of the shards."""
        if name not in self._digests:
            raise NotFound("There is no such shard.")
        return self._contents.open(self._tenant_id, name, "shard")

    def take_output(self, name: str, file: Path, about: Json) -> Json:
        """The rows."""
        del name, about
        if file.stat().st_size > MAX_ANSWER_BYTES:
            raise InternalError("The rows that were read are longer than was asked for.")
        self.rows = json.loads(file.read_bytes())
        return {}

    def answer(self, what: str, header: Json, body: bytes) -> Answer:
        """It asks nothing."""
        del header, body
        raise NotFound(f"There is no '{what}' to ask for.")

    def progress(self, done: int, total: int | None, unit: str, phase: str) -> None:
        """Not shown."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """There are none."""

    def log(self, line: str) -> None:
        """Not shown."""

    def used(self, compute: Compute) -> None:
        """A look is not metered."""
