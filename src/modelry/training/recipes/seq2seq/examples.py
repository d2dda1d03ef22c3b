"""Pairs of token sequences as batches of like lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from modelry.runtime_api.tensors import Array
from modelry.training.loop import Plan
from modelry.training.recipes.seq2seq.cuts import Cuts
from modelry.training.recipes.seq2seq.tokens import SpecialTokens, TokenRows

SORTED_BATCHES = 50
"""How many batches' worth of shuffled rows are sorted by length together: more makes batches of
liker lengths, fewer makes them more random."""
WIDTHS = 8
"""The widths of batches are its multiples."""


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


@dataclass(frozen=True, slots=True)
class Varied:
    """How rows change each time that they are learnt from.

    Attributes:
        cuts: of their tokens; None for the usual ones.
        joined: the chance of a row to have another one's texts after its own.
        source_tokens, target_tokens: no row gets longer by it.
    """

    cuts: Cuts | None
    joined: float
    source_tokens: int
    target_tokens: int


class Pairs:
    """Implements `loop.Examples`.

    Args:
        sources: token sequences, each with its end token.
        targets: token sequences, as many.
        places: which of the rows are meant.
        special: ids of the tokens that stand for no text.
        device: where batches go.
        varied: how rows change; None for not at all.
    """

    def __init__(
        self,
        sources: TokenRows,
        targets: TokenRows,
        places: Array,
        *,
        special: SpecialTokens,
        device: torch.device,
        varied: Varied | None = None,
    ) -> None:
        self.places = places
        self._sources, self._targets = sources, targets
        self._special = special
        self._device = device
        self._varied = varied

    def __len__(self) -> int:
        return len(self.places)

    def batch(self, places: torch.Tensor) -> Pair:
        """See `loop.Examples.batch`.

        Args:
            places: of rows; of one that another is joined to, `_joined`.
        """
        second, first = np.divmod(places.numpy(), len(self))
        sources, targets = (
            _both(rows, self.places[first], [self.places[at - 1] if at else None for at in second])
            for rows in (self._sources, self._targets)
        )
        if self._varied and self._varied.cuts:
            cuts, chance = self._varied.cuts, _generator()
            sources = cuts.again(sources, self._varied.source_tokens, chance)
            targets = cuts.again(targets, self._varied.target_tokens, chance)
        source, wanted = (_filled(rows, self._special.pad) for rows in (sources, targets))
        start = np.full((len(wanted), 1), self._special.start)
        given = np.concatenate([start, wanted[:, :-1]], axis=1)
        # where `wanted` is the end, `given` holds it one place later: a filling that none looks at
        return Pair(*(torch.from_numpy(one).to(self._device) for one in (source, given, wanted)))

    def plan(self, tokens_per_batch: int) -> Plan:
        """Epochs in batches of like lengths, with at most so many tokens on the longer side.

        A row with more tokens is a batch by itself.
        """
        source, target = (rows.lengths[self.places] for rows in (self._sources, self._targets))
        mean = max(1.0, float(np.maximum(source, target).mean())) if len(self) else 1.0
        window = max(1, int(SORTED_BATCHES * tokens_per_batch / mean))

        def cut(generator: torch.Generator) -> list[torch.Tensor]:
            order = torch.randperm(len(self), generator=generator).numpy()
            rows, lengths = self._joined(source, target, generator)
            batches: list[torch.Tensor] = []
            for first in range(0, len(order), window):
                part = order[first : first + window]
                by_length = part[np.argsort(-lengths[part], kind="stable")]
                batches += _cut(rows[by_length], lengths[by_length], tokens_per_batch)
            return batches

        # the loop counts on as many steps in every epoch, to find its place when it goes on
        count = len(cut(torch.Generator().manual_seed(0)))

        def plan(generator: torch.Generator) -> Sequence[torch.Tensor]:
            batches = _made_to(count, cut(generator))
            mixed = torch.randperm(len(batches), generator=generator).tolist()
            return [batches[at] for at in mixed]

        return plan

    def _joined(
        self, source: Array, target: Array, generator: torch.Generator
    ) -> tuple[Array, Array]:
        """Each row with one that follows it or none, as one number, and their longer side."""
        count = len(self)
        rows, longer = np.arange(count), np.maximum(source, target)
        varied = self._varied
        if varied is None or not varied.joined:
            return rows, longer
        is_wanted = torch.rand(count, generator=generator).numpy() < varied.joined
        other = torch.randint(count, (count,), generator=generator).numpy()
        # the end token between them is left out
        source, target = (one + one[other] - 1 for one in (source, target))
        is_wanted &= (source <= varied.source_tokens) & (target <= varied.target_tokens)
        return (
            np.where(is_wanted, rows + count * (other + 1), rows),
            np.where(is_wanted, np.maximum(source, target), longer),
        )


def _both(rows: TokenRows, first: Array, second: Sequence[int | None]) -> list[Array]:
    """Rows, each with the one that follows it, without the end token between them."""
    return [
        rows[at] if then is None else np.concatenate([rows[at][:-1], rows[then]])
        for at, then in zip(first, second, strict=True)
    ]


def _generator() -> np.random.Generator:
    """Chance that follows from torch's own generator, which the loop seeds for every step."""
    return np.random.default_rng(int(torch.randint(2**62, ())))


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
    """Rows, the longest first, in batches: as many as the first one's width leaves room for."""
    found: list[torch.Tensor] = []
    first = 0
    while first < len(rows):
        until = first + max(1, most // _rounded(lengths[first]))
        found.append(torch.from_numpy(rows[first:until].copy()))
        first = until
    return found


def _rounded(length: int) -> int:
    """A batch's width for a longest row: few sizes, as kernels are made anew for each (oneDNN)."""
    return -(-int(length) // WIDTHS) * WIDTHS


def _filled(rows: Sequence[Array], pad: int) -> Array:
    made = np.full((len(rows), _rounded(max(map(len, rows)))), pad, np.int64)
    for at, row in enumerate(rows):
        made[at, : len(row)] = row
    return made
