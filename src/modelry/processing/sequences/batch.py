"""Searches that run together, a token of each per step; they may come and go between steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from modelry.domain.errors import ModelFailed
from modelry.processing.sequences.graphs import Memory, SequenceGraphs, joined
from modelry.processing.sequences.search import Found, Search

_SPARE_COLUMNS = 8
"""Columns of the past that nobody looks at before it is worth a copy to drop them."""


class SearchBatch:
    """Searches with the same number of beams.

    Args:
        graphs: run the model.
        beams: of each search.
    """

    def __init__(self, graphs: SequenceGraphs, beams: int) -> None:
        self.beams = beams
        self.searches: list[Search] = []
        self._graphs = graphs
        self._memory: Memory | None = None
        self._memory_values: dict[str, Any] = {}
        self._past = graphs.empty_past()
        self._columns = 0
        self._parents: list[int] = []

    def join(self, searches: Sequence[Search], memory: Memory) -> None:
        """Add searches that have not begun, and the memory of their texts, in order."""
        self.searches.extend(searches)
        self._parents.extend([0] * self.beams * len(searches))
        self._set_memory(memory if self._memory is None else joined([self._memory, memory]))

    def step(self) -> list[Search]:
        """One more token for all; gives the searches that are done, which leave the batch.

        Raises:
            ModelFailed: the model gave something that is no number.
        """
        searches = self.searches
        self._trim(max(search.length for search in searches))
        candidates = min(self.beams + 1, self._graphs.model.vocabulary)
        positions = np.array([search.length for search in searches], np.int64)
        rows = {
            "tokens": np.array([one for search in searches for one in search.tokens], np.int64),
            "positions": np.repeat(positions, self.beams),
            "parents": np.array(self._parents, np.int64),
            "candidates": np.array([candidates], np.int64),
        }
        scores, tokens, self._past = self._graphs.step(rows, self._past, self._memory_values)
        self._columns += 1
        if np.isnan(scores).any():
            raise ModelFailed(
                "The model gave log-probabilities that are no numbers. If it happens with other "
                "texts too, the version is broken."
            )
        self._advance(scores.tolist(), tokens.tolist())
        done = [search for search in searches if search.is_done]
        if done:
            self.drop(lambda search: search.is_done)
        return done

    def drop(self, is_gone: Callable[[Search], bool]) -> None:
        """Let searches go."""
        kept = [at for at, search in enumerate(self.searches) if not is_gone(search)]
        if len(kept) == len(self.searches):
            return
        self.searches = [self.searches[at] for at in kept]
        beams = self.beams
        self._parents = [one for at in kept for one in self._parents[at * beams : (at + 1) * beams]]
        if kept and self._memory is not None:
            self._set_memory(self._memory.take(kept))
        else:
            self._memory = None
            self._past, self._columns = self._graphs.empty_past(), 0

    def _advance(self, scores: list[list[float]], tokens: list[list[int]]) -> None:
        parents: list[int] = []
        for at, search in enumerate(self.searches):
            first = at * self.beams
            until = first + self.beams
            chosen = search.advance(scores[first:until], tokens[first:until])
            parents.extend([first + one for one in chosen])
        self._parents = parents

    def _set_memory(self, memory: Memory) -> None:
        self._memory = memory
        self._memory_values = self._graphs.memory_values(memory)

    def _trim(self, needed: int) -> None:
        """Drop the columns of the past that only searches had which have left."""
        if self._columns - needed < _SPARE_COLUMNS:
            return
        from_column = self._columns - needed
        to_value = self._graphs.to_value
        self._past = [
            to_value(np.ascontiguousarray(part.numpy()[:, :, from_column:])) for part in self._past
        ]
        self._columns = needed


def search_all(
    graphs: SequenceGraphs,
    sources: Sequence[Sequence[int]],
    *,
    beams: int = 1,
    most_tokens: int | None = None,
    length_penalty: float = 1.0,
    at_once: int = 64,
) -> list[Found]:
    """The best sequence for each source, given as token ids with their end token, in order."""
    model = graphs.model
    most = min(most_tokens or model.target_tokens, model.target_tokens - 1)
    found: list[Found | None] = [None] * len(sources)
    order = sorted(range(len(sources)), key=lambda at: len(sources[at]))
    for first in range(0, len(order), at_once):
        part = order[first : first + at_once]
        batch = SearchBatch(graphs, beams)
        searches = [
            Search(
                start=model.start,
                end=model.end,
                beams=beams,
                most_tokens=most,
                length_penalty=length_penalty,
                owner=at,
            )
            for at in part
        ]
        batch.join(searches, graphs.encode([sources[at] for at in part]))
        while batch.searches:
            for search in batch.step():
                found[search.owner] = search.best()
    return [one for one in found if one is not None]
