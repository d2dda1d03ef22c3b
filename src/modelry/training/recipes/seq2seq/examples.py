"""Pairs of token sequences as batches of like lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from modelry.runtime_api.tensors import Array
from modelry.training.loop import Plan
from modelry.training.recipes.seq2seq.tokens import TokenRows

SORTED_BATCHES = 50
"""How many batches' worth of shuffled rows are sorted by length together: more makes batches of
liker lengths, fewer makes them more random."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A batch: token ids, filled up with the pad token.

    Attributes:
        source: (n, s) int64.
        given: (n, t) int64, the target from the start token on, without its end.
        wanted: (n, t) int64, the token after each of `given`.
    """

    source: torch.Tensor
    given: torch.Tensor
    wanted: torch.Tensor


class Pairs:
    """Implements `loop.Examples`.

    Args:
        sources: token sequences.
        targets: token sequences, as many.
        places: which of the rows are meant.
        pad: fills up.
        start: begins a target.
        device: where batches go.
    """

    def __init__(
        self,
        sources: TokenRows,
        targets: TokenRows,
        places: Array,
        *,
        pad: int,
        start: int,
        device: torch.device,
    ) -> None:
        self.places = places
        self._sources, self._targets = sources, targets
        self._pad, self._start = pad, start
        self._device = device

    def __len__(self) -> int:
        return len(self.places)

    def batch(self, places: torch.Tensor) -> Pair:
        """See `loop.Examples.batch`."""
        rows = self.places[places.numpy()]
        source = _filled([self._sources[at] for at in rows], self._pad)
        wanted = _filled([self._targets[at] for at in rows], self._pad)
        given = np.concatenate([np.full((len(rows), 1), self._start), wanted[:, :-1]], axis=1)
        # where `wanted` is the end, `given` holds it one place later: a filling that none looks at
        return Pair(*(torch.from_numpy(one).to(self._device) for one in (source, given, wanted)))

    def plan(self, tokens_per_batch: int) -> Plan:
        """Epochs in batches of like lengths, with at most so many tokens on the longer side.

        A row with more tokens is a batch by itself.
        """
        lengths = np.maximum(self._sources.lengths[self.places], self._targets.lengths[self.places])
        mean = max(1.0, float(lengths.mean())) if len(lengths) else 1.0
        window = max(1, int(SORTED_BATCHES * tokens_per_batch / mean))

        def cut(generator: torch.Generator) -> list[torch.Tensor]:
            order = torch.randperm(len(lengths), generator=generator).numpy()
            batches: list[torch.Tensor] = []
            for first in range(0, len(order), window):
                part = order[first : first + window]
                by_length = part[np.argsort(lengths[part], kind="stable")]
                batches += _cut(by_length, lengths[by_length], tokens_per_batch)
            return batches

        # the loop counts on as many steps in every epoch, to find its place when it goes on
        count = len(cut(torch.Generator().manual_seed(0)))

        def plan(generator: torch.Generator) -> Sequence[torch.Tensor]:
            batches = _made_to(count, cut(generator))
            mixed = torch.randperm(len(batches), generator=generator).tolist()
            return [batches[at] for at in mixed]

        return plan


def _made_to(count: int, batches: list[torch.Tensor]) -> list[torch.Tensor]:
    """`count` batches with the same rows: the smallest are joined, or the largest halved."""
    batches = sorted(batches, key=len, reverse=True)
    while len(batches) > count:
        batches[-2:] = [torch.cat(batches[-2:])]
        batches.sort(key=len, reverse=True)
    while len(batches) < count:
        largest = batches.pop(0)
        half = len(largest) // 2
        batches += [largest[:half], largest[half:]]
        batches.sort(key=len, reverse=True)
    return batches


def _cut(rows: Array, lengths: Array, most: int) -> list[torch.Tensor]:
    """Rows, sorted by length, in batches."""
    found: list[torch.Tensor] = []
    first = 0
    for at in range(len(rows) + 1):
        if at == len(rows) or (at > first and (at - first + 1) * int(lengths[at]) > most):
            found.append(torch.from_numpy(rows[first:at].copy()))
            first = at
    return [one for one in found if len(one)]


def _filled(rows: Sequence[Array], pad: int) -> Array:
    made = np.full((len(rows), max(map(len, rows))), pad, np.int64)
    for at, row in enumerate(rows):
        made[at, : len(row)] = row
    return made
