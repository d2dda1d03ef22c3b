"""Tokens in other cuts: the same letters as other pieces, another way each time they are seen.

A network that sees `Ġnumber` sometimes as `Ġn umber` or `Ġnum ber` learns what words have in
common, which few rows do not tell otherwise (BPE-dropout, Provilkov et al., 2020). Here each token
is cut by itself: what it is merged of is merged again, and merges are left out at random.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
import orjson
from tokenizers import Tokenizer

from modelry.runtime_api.tensors import Array
from modelry.training.recipes.seq2seq.tokens import SPECIAL

MOST_WAYS = 32
MOST_CUTS = 2**18
"""Of all tokens together: larger vocabularies have fewer ways for each token."""

Ranks = Mapping[tuple[str, str], int]
"""Which pieces merge, and in which order."""


class Cuts:
    """Ways to write each token in other tokens, chosen once.

    Args:
        tokenizer: a byte-pair tokenizer.
        left_out: the chance of a merge to be left out, each time that it could be done.
        seed: of the choice.
    """

    def __init__(self, tokenizer: Tokenizer, left_out: float, seed: int) -> None:
        model = orjson.loads(tokenizer.to_str())["model"]
        ids: dict[str, int] = model["vocab"]
        tokens = [token for token, _ in sorted(ids.items(), key=lambda one: one[1])]
        self.ways = max(1, min(MOST_WAYS, MOST_CUTS // len(tokens)))
        ranks = {_pair(one): rank for rank, one in enumerate(model["merges"])}
        draw = random.Random(seed).random  # noqa: S311 - no secret, and seeded on purpose
        cuts = [
            [ids[piece] for piece in _cut(token, ranks, left_out, draw)]
            for token in tokens
            for _ in range(self.ways)
        ]
        self._lengths = np.array([len(cut) for cut in cuts], np.int64)
        self._starts = np.cumsum(self._lengths) - self._lengths
        self._pieces = np.array([piece for cut in cuts for piece in cut], np.int32)

    def again(
        self, rows: Sequence[Array], most: int, generator: np.random.Generator
    ) -> list[Array]:
        """Rows of token ids with each token in one of its ways.

        A row that would have more than `most` tokens stays as it is.
        """
        tokens = np.concatenate(rows)
        chosen = tokens * self.ways + generator.integers(self.ways, size=len(tokens))
        lengths = self._lengths[chosen]
        ends = np.cumsum(lengths)
        first = np.repeat(self._starts[chosen] - (ends - lengths), lengths)
        pieces = self._pieces[first + np.arange(len(first))]
        until = ends[np.cumsum([len(row) for row in rows]) - 1]
        made = np.split(pieces, until[:-1])
        return [new if len(new) <= most else row for new, row in zip(made, rows, strict=True)]


def _pair(merge: str | Sequence[str]) -> tuple[str, str]:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


def _cut(token: str, ranks: Ranks, left_out: float, draw: Callable[[], float]) -> Sequence[str]:
    """Pieces of a token, merged in the order of `ranks` with some merges left out."""
    if token in SPECIAL:
        return [token]
    pieces = list(token)
    while len(pieces) > 1:
        possible = [
            (ranks[pair], at)
            for at, pair in enumerate(pairwise(pieces))
            if pair in ranks and draw() >= left_out
        ]
        if not possible:
            break
        _, at = min(possible)
        pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
    return pieces
