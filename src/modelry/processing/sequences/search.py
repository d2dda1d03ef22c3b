"""Beam search for one text: the likeliest sequences, a token at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Tail: TypeAlias = "tuple[int, Tail] | None"
"""A sequence by its last token and what is before it, which other sequences share."""


@dataclass(frozen=True, slots=True)
class Found:
    """A sequence that a search found.

    Attributes:
        tokens: its ids, without start and end token.
        score: the mean log-probability of its tokens, the end token included.
        is_complete: whether it ended by its end token; False when it was cut.
    """

    tokens: tuple[int, ...]
    score: float
    is_complete: bool


@dataclass(frozen=True, slots=True)
class _Ended:
    ranked_by: float
    total: float
    length: int
    tail: Tail


class Search:
    """A search that follows `beams` sequences at once; one beam is greedy search.

    Sequences are ranked by the sum of their tokens' log-probabilities over their length to the
    power of `length_penalty` (Wu et al. 2016, without its constants). The search ends when as
    many sequences as there are beams have ended, when none that is followed can still win, or at
    `most_tokens`.

    Args:
        start: the token before the first.
        end: the token that ends a sequence.
        beams: sequences that are followed.
        most_tokens: of a sequence, its end token not counted.
        length_penalty: 0 ranks by the sum alone, 1 by the mean.
        owner: whatever the caller keeps with it.
    """

    __slots__ = (
        "_end",
        "_ended",
        "_most",
        "_penalty",
        "_sums",
        "_tails",
        "beams",
        "is_done",
        "length",
        "owner",
        "tokens",
    )

    def __init__(
        self,
        *,
        start: int,
        end: int,
        beams: int,
        most_tokens: int,
        length_penalty: float = 1.0,
        owner: Any = None,
    ) -> None:
        self.beams = beams
        self.length = 0
        self.tokens = [start] * beams
        self.is_done = False
        self.owner = owner
        self._end = end
        self._most = most_tokens
        self._penalty = length_penalty
        self._sums = [0.0] * beams
        self._tails: list[Tail] = [None] * beams
        self._ended: list[_Ended] = []

    @property
    def candidates(self) -> int:
        """How many next tokens of each sequence the search wants to know."""
        return self.beams + 1

    def advance(
        self, scores: Sequence[Sequence[float]], tokens: Sequence[Sequence[int]]
    ) -> list[int]:
        """Take the next tokens.

        Args:
            scores: log-probabilities of the likeliest next tokens, a row per sequence.
            tokens: those tokens.

        Returns:
            Which sequence each of the new ones goes on from; `tokens` are their last tokens.
        """
        self.length += 1
        # at first all sequences are the same one
        rows = range(1 if self.length == 1 else self.beams)
        ranked = sorted(
            (-(self._sums[row] + score), row, token)
            for row in rows
            for score, token in zip(scores[row], tokens[row], strict=True)
        )
        if self.length > self._most:
            return self._close(ranked)
        chosen: list[tuple[float, int, int]] = []
        for rank, (cost, row, token) in enumerate(ranked):
            if token == self._end:
                if rank < self.beams:
                    self._end_with(-cost, self._tails[row])
                continue
            chosen.append((-cost, row, token))
            if len(chosen) == self.beams:
                break
        while len(chosen) < self.beams:  # a vocabulary of fewer tokens than beams
            chosen.append((-math.inf, 0, self._end))
        parents = [row for _, row, _ in chosen]
        self._tails = [(token, self._tails[row]) for _, row, token in chosen]
        self._sums = [total for total, _, _ in chosen]
        self.tokens = [token for _, _, token in chosen]
        self.is_done = self._is_over()
        return parents

    def best(self) -> Found:
        """The best sequence so far; those that ended win over those that were cut."""
        if self._ended:
            best = max(self._ended, key=lambda one: one.ranked_by)
            return Found(_told(best.tail), best.total / best.length, is_complete=True)
        tokens = _told(self._tails[0])
        return Found(tokens, self._sums[0] / max(1, len(tokens)), is_complete=False)

    def _close(self, ranked: Sequence[tuple[float, int, int]]) -> list[int]:
        """The last step: sequences are as long as they may be, and only their end may follow."""
        for cost, row, token in ranked[: self.beams]:
            if token == self._end:
                self._end_with(-cost, self._tails[row])
        self.is_done = True
        return list(range(self.beams))

    def _end_with(self, total: float, tail: Tail) -> None:
        ranked_by = total / self.length**self._penalty
        self._ended.append(_Ended(ranked_by, total, self.length, tail))

    def _is_over(self) -> bool:
        if len(self._ended) >= self.beams:
            return True
        # sums only fall, and the longest sequence divides them by the most
        bound = self._sums[0] / (self._most + 1) ** self._penalty
        return bool(self._ended) and max(one.ranked_by for one in self._ended) >= bound


def _told(tail: Tail) -> tuple[int, ...]:
    found: list[int] = []
    while tail is not None:
        token, tail = tail
        found.append(token)
    return tuple(reversed(found))
