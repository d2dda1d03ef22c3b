"""Rows of tokens, each of its own length: kept end to end, padded batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from modelry.domain.errors import InvalidInput
from modelry.processing.graph import ProcessingGraph
from modelry.training.contract import Run
from modelry.training.inputs import Rows, processed
from modelry.training.loop import Plan

POOL_BATCHES = 32
"""How many batches' rows are sorted by length together: enough to waste little on padding, few
enough that batches differ from epoch to epoch."""


class TokenRows:
    """Token ids as the graph's `tokenize` made them.

    Args:
        limit_bytes: how much memory they may take; a token takes four bytes.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._tokens: npt.NDArray[np.int32] = np.empty(0, np.int32)
        self._starts: npt.NDArray[np.int64] = np.zeros(1, np.int64)

    def __len__(self) -> int:
        return len(self._starts) - 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """How many tokens each row has."""
        return np.diff(self._starts)

    def fill(
        self, graph: ProcessingGraph, name: str, rows: Iterable[Rows], count: int, run: Run
    ) -> None:
        """Tokenise all rows, `count` of them.

        Args:
            graph: of the version.
            name: of its input for token ids.
            rows: which.
            count: how many there are.
            run: told how far it is.

        Raises:
            RowsInvalid: a row cannot be used; says which and why.
            InvalidInput: they have more tokens than the memory limit allows.
        """
        parts: list[npt.NDArray[np.int32]] = []
        counts: list[int] = []
        size = 0
        for part in rows:
            inputs, context = processed(graph, part)
            ids = inputs[name][context.mask].astype(np.int32)
            size += ids.nbytes
            if size > self._limit:
                raise InvalidInput(
                    f"The first {len(counts)} rows of split '{part.split}' have more than "
                    f"{self._limit // 4} tokens; raise 'memory_mb' or lower 'max_length'.",
                    param="memory_mb",
                )
            parts.append(ids)
            counts.extend(context.token_counts)
            run.progress(len(counts), count, "rows", f"reading {part.split}")
        self._tokens = np.concatenate(parts) if parts else self._tokens
        self._starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])

    def take(self, places: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and mask (1 at tokens) of the rows at `places`, (n, longest) int64 each."""
        rows = [self._tokens[self._starts[at] : self._starts[at + 1]] for at in places]
        width = max(map(len, rows))
        ids = np.zeros((len(rows), width), np.int64)
        mask = np.zeros((len(rows), width), np.int64)
        for at, row in enumerate(rows):
            ids[at, : len(row)] = row
            mask[at, : len(row)] = 1
        return torch.from_numpy(ids), torch.from_numpy(mask)


def by_length(lengths: npt.NDArray[np.int64], batch_size: int) -> Plan:
    """A plan whose batches have rows of about the same length, in an order of its own each epoch.

    Args:
        lengths: of the rows, by place.
        batch_size: rows in a batch.
    """
    sizes = torch.from_numpy(lengths.astype(np.int64))

    def plan(generator: torch.Generator) -> Sequence[torch.Tensor]:
        order = torch.randperm(len(sizes), generator=generator)
        batches: list[torch.Tensor] = []
        for pool in torch.split(order, batch_size * POOL_BATCHES):
            ordered = pool[torch.argsort(sizes[pool], stable=True)]
            batches += torch.split(ordered, batch_size)
        return [batches[at] for at in torch.randperm(len(batches), generator=generator).tolist()]

    return plan
