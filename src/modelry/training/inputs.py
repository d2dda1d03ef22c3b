"""Rows as the version's own `pre` steps make them: what is learnt from is what will be served."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modelry.domain.errors import InvalidInput, RowsInvalid
from modelry.domain.signature import Signature
from modelry.processing.declaration import normalize_steps
from modelry.processing.graph import ProcessingGraph
from modelry.processing.values import Item
from modelry.runtime_api.tensors import Array
from modelry.tasks.contract import Steps
from modelry.tasks.graphs import assets_of, build_graph
from modelry.tasks.registry import task_called
from modelry.training.contract import Run

CHUNK = 256
"""How many rows go through the graph at a time."""


def graph_of(
    task: str,
    pre: Sequence[Any],
    post: Sequence[Any],
    signature: Signature,
    *,
    labels: Sequence[str] | None = None,
    files: Mapping[str, Path] | None = None,
) -> ProcessingGraph:
    """The processing graph of the version that is going to be, before there is a model.

    Args:
        task: of the version.
        pre: steps as its manifest will write them.
        post: likewise.
        signature: what the exported model will take and give; `parity` checks that it does.
        labels: of its classes.
        files: that its steps read, by role.

    Raises:
        ManifestInvalid: steps, files and signature do not fit each other.
    """
    steps = Steps(normalize_steps(pre, "pre"), normalize_steps(post, "post"))
    assets = assets_of(files or {}, None if labels is None else tuple(labels))
    return build_graph(task_called(task), steps, signature, assets)


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a split as items for the graph; `first` is the number of the first, from 0."""

    split: str
    first: int
    items: Sequence[Item]


def processed(graph: ProcessingGraph, rows: Rows) -> tuple[dict[str, Array], Any]:
    """What the graph's `before` gives for rows.

    Raises:
        RowsInvalid: a row cannot be used; says which and why.
    """
    try:
        return graph.before(rows.items)
    except InvalidInput:
        _find_culprit(graph, rows)
        raise


def _find_culprit(graph: ProcessingGraph, rows: Rows) -> None:
    for at, item in enumerate(rows.items):
        try:
            graph.before([item])
        except InvalidInput as error:
            raise RowsInvalid(
                f"Row {rows.first + at + 1} of split '{rows.split}' cannot be used: "
                f"{error.message} Derive a version without it, or mend it and import again.",
                param=error.param,
            ) from None


class Inputs:
    """Input tensors of rows that all have the same shape, ready or made when they are needed.

    Args:
        graph: of the version.
        name: of its input.
        shape: of one row's tensor.
        limit_bytes: how much memory ready tensors may take. Beyond it the items are kept as they
            came (encoded images are ten times smaller) and go through the graph for every batch.
    """

    def __init__(
        self, graph: ProcessingGraph, name: str, shape: Sequence[int], limit_bytes: int
    ) -> None:
        self._graph, self._name = graph, name
        self._shape = tuple(shape)
        self._limit = limit_bytes
        self._ready: torch.Tensor | None = None
        self._kept: list[Rows] = []
        self._starts: list[int] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def are_ready(self) -> bool:
        """Whether all tensors are in memory."""
        return self._ready is not None

    def fill(self, rows: Iterable[Rows], count: int, run: Run) -> None:
        """Read all rows, `count` of them.

        Raises:
            RowsInvalid: a row cannot be used; says which and why.
            Cancelled: through what `rows` checks.
        """
        size = count * int(np.prod(self._shape)) * 4
        ready = torch.empty((count, *self._shape)) if size <= self._limit else None
        for part in rows:
            if ready is not None:
                made = processed(self._graph, part)[0][self._name]
                ready[self._count : self._count + len(made)] = torch.from_numpy(made)
            else:
                processed(
                    self._graph, part
                )  # a row that cannot be used ends the run now, not later
                self._kept.append(part)
                self._starts.append(self._count)
            self._count += len(part.items)
            run.progress(self._count, count, "rows", f"reading {part.split}")
        self._ready = ready
        if ready is None:
            run.log(
                f"{count} rows are {size / 2**20:.0f} MiB as tensors, over the limit of "
                f"{self._limit / 2**20:.0f}: they are processed anew for every batch"
            )

    def take(self, places: torch.Tensor) -> torch.Tensor:
        """The tensors of the rows at `places`."""
        if self._ready is not None:
            return self._ready[places]
        items = [self._item(int(place)) for place in places]
        made = self._graph.before(items)[0][self._name]
        return torch.from_numpy(np.ascontiguousarray(made))

    def slices(self, size: int) -> Iterator[torch.Tensor]:
        """All rows in order, `size` at a time."""
        for start in range(0, self._count, size):
            yield self.take(torch.arange(start, min(start + size, self._count)))

    def _item(self, place: int) -> Item:
        at = int(np.searchsorted(self._starts, place, side="right")) - 1
        return self._kept[at].items[place - self._starts[at]]
