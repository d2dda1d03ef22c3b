"""How likely a model finds a given answer to each of some texts, token by token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from modelry.domain.errors import ModelFailed
from modelry.processing.sequences.graphs import SequenceGraphs
from modelry.runtime_api.tensors import Array

FEW_CANDIDATES = 64
"""Next tokens that are asked for first; all of them where the given one is not among these."""


def forced_scores(
    graphs: SequenceGraphs,
    sources: Sequence[Sequence[int]],
    target: Sequence[int],
    after_step: Callable[[], None],
) -> Array:
    """Log-probabilities (sources, target tokens) float64 of the target's tokens, each after those
    before it.

    Args:
        graphs: run the model.
        sources: texts as token ids with their end token; they run as one batch.
        target: the answer's token ids.
        after_step: called after each run of the decoder; it may raise.

    Raises:
        ModelFailed: the model gave something that is no number.
    """
    rows = len(sources)
    memory = graphs.memory_values(graphs.encode(sources))
    found = np.empty((rows, len(target)))
    past: Sequence[Any] = graphs.empty_past()
    said = graphs.model.start
    few = min(FEW_CANDIDATES, graphs.model.vocabulary)
    for position, wanted in enumerate(target):
        step = {
            "tokens": np.full(rows, said, np.int64),
            "positions": np.full(rows, position, np.int64),
            "parents": np.arange(rows) if position else np.zeros(rows, np.int64),
            "candidates": np.array([few], np.int64),
        }
        scores, tokens, present = graphs.step(step, past, memory)
        if few < graphs.model.vocabulary and not (tokens == wanted).any(axis=1).all():
            step["candidates"] = np.array([graphs.model.vocabulary], np.int64)
            scores, tokens, present = graphs.step(step, past, memory)
        found[:, position] = _of(scores, tokens, wanted)
        past, said = present, wanted
        after_step()
    return found


def _of(scores: Array, tokens: Array, wanted: int) -> Array:
    is_it = tokens == wanted
    if np.isnan(scores).any() or not is_it.any(axis=1).all():
        raise ModelFailed("The model gave no log-probability for a token of the answer.")
    picked: Array = scores[np.arange(len(scores)), is_it.argmax(axis=1)]
    return picked
