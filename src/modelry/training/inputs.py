"""Rows as the version's own `pre` steps make them: what is learnt from is what will be served."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modelry.domain.errors import Cancelled, InvalidInput, RowsInvalid
from modelry.domain.signature import Signature
from modelry.processing.declaration import normalize_steps
from modelry.processing.graph import ProcessingGraph
from modelry.processing.values import Item
from modelry.runtime_api.tensors import Array
from modelry.tasks.contract import Steps
from modelry.tasks.graphs import assets_of, build_graph
from modelry.tasks.registry import task_called
from modelry.training.contract import Run
from modelry.training.loop import Plan
from modelry.training.streaming import PartCache, Placing, by_parts, parts_at_once

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


ReadPart = Callable[[int, int], Iterable[Rows]]
"""Rows of a part, by its number and the number of its first row in the split."""


class Inputs:
    """Input tensors of rows that all have the same shape, ready or made when they are needed.

    Args:
        graph: of the version.
        name: of its input.
        shape: of one row's tensor.
        limit_bytes: how much memory ready tensors may take. Beyond it the items are kept as they
            came (encoded images are ten times smaller) and go through the graph for every batch;
            where these are too many, too, they are read again in every epoch.
        after: what is made of the graph's tensors, row by row: `shape` is then that of its result.
    """

    def __init__(
        self,
        graph: ProcessingGraph,
        name: str,
        shape: Sequence[int],
        limit_bytes: int,
        after: Callable[[Array], Array] | None = None,
    ) -> None:
        self._graph, self._name, self._after = graph, name, after
        self._shape = tuple(shape)
        self._limit = limit_bytes
        self._ready: torch.Tensor | None = None
        self._items: PartCache[list[Item]] | None = None
        self._placing = Placing([])
        self._sizes: list[int] = []

    def fill(self, read: ReadPart, parts: int, count: int, run: Run) -> None:
        """Read all rows.

        Args:
            read: gives the rows of a part, by its number and the number of its first row.
            parts: how many there are.
            count: how many rows.
            run: told how far it is.

        Raises:
            RowsInvalid: a row cannot be used; says which and why.
            Cancelled: the run was stopped.
        """
        size = count * int(np.prod(self._shape)) * 4
        if size <= self._limit:
            self._ready = torch.empty((count, *self._shape))
        else:
            self._items = PartCache(self._reading(read), _bytes_of, self._limit)
        counts: list[int] = []
        for number in range(parts):
            first = sum(counts)
            counts.append(self._add(number, read(number, first), first, count, run))
        self._placing = Placing(counts)
        if self._items is not None:
            self._tell(count, size, run)

    def take(self, places: torch.Tensor) -> torch.Tensor:
        """The tensors of the rows at `places`."""
        if self._ready is not None:
            return self._ready[places]
        assert self._items is not None
        items: list[Item] = [{}] * len(places)
        for number, among, within in self._placing.split(places.numpy()):
            part = self._items.get(number)
            for at, place in zip(among.tolist(), within.tolist(), strict=True):
                items[at] = part[place]
        made = self._finished(self._graph.before(items)[0])
        return torch.from_numpy(np.ascontiguousarray(made))

    def plan(self, places: torch.Tensor, batch_size: int) -> Plan | None:
        """How an epoch of the rows at `places` goes through parts that are read again and again;
        None where all is in memory, in any order.
        """
        if self._items is None or sum(self._sizes) <= self._limit:
            return None
        at_once = parts_at_once(self._sizes, self._limit)
        return by_parts(self._placing.parts_of(places.numpy()), batch_size, at_once)

    def _add(self, number: int, rows: Iterable[Rows], first: int, count: int, run: Run) -> int:
        items: list[Item] = []
        done = first
        for part in rows:
            if run.stop.is_set():
                raise Cancelled(f"Training was stopped while '{part.split}' was read.")
            tensors = processed(self._graph, part)[0]  # a row that cannot be used ends the run now
            if self._ready is not None:
                made = self._finished(tensors)
                self._ready[done : done + len(made)] = torch.from_numpy(made)
            else:
                items += part.items
            done += len(part.items)
            run.progress(done, count, "rows", f"reading {part.split}")
        if self._items is not None:
            self._items.put(number, items)
            self._sizes.append(_bytes_of(items))
        return done - first

    def _reading(self, read: ReadPart) -> Callable[[int], list[Item]]:
        def items_of(number: int) -> list[Item]:
            first = int(self._placing.starts[number])
            return [item for rows in read(number, first) for item in rows.items]

        return items_of

    def _tell(self, count: int, size: int, run: Run) -> None:
        limit = self._limit / 2**20
        how = "they are processed anew for every batch"
        if sum(self._sizes) > self._limit:
            encoded = sum(self._sizes) / 2**20
            how += f", and read anew in every epoch ({encoded:.0f} MiB as they are kept)"
        run.log(
            f"{count} rows are {size / 2**20:.0f} MiB as tensors, over the limit of {limit:.0f}: "
            f"{how}"
        )

    def _finished(self, tensors: Mapping[str, Array]) -> Array:
        made = tensors[self._name]
        return made if self._after is None else self._after(made)


def _bytes_of(items: Sequence[Item]) -> int:
    return sum(len(value) for item in items for value in item.values() if value is not None)
