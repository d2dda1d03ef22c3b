"""Runs the two graphs of a sequence model: its encoder once per text, its decoder per token.

The graphs' inputs and outputs (`n` texts of up to `s` tokens; `r` rows, the same number for each
text, text by text; `p` rows with `t` tokens in the step before):

    encoder  source (n, s) int64, source_mask (n, s) int64
          -> memory.{layer}.key, memory.{layer}.value (n, heads, s, head_size) float32
             memory.copy (n, 1, s, any) float32, memory.source (n, 1, s) int64, if it copies
    decoder  tokens (r) int64: the last token of each row
             positions (r) int64: how many tokens are before it
             parents (r) int64: which row of the step before each row goes on from
             candidates (1) int64: how many next tokens to tell
             source_mask (n, s) int64, memory.… as the encoder gives them
             past.{layer}.key, past.{layer}.value (p, heads, t, head_size) float32
          -> scores (r, candidates) float32: log-probabilities of the likeliest next tokens
             next_tokens (r, candidates) int64
             present.{layer}.key, present.{layer}.value (r, heads, t + 1, head_size) float32

A row whose position is less than `t` has joined later: only the last `position` columns of its
past are its own, and the decoder looks at no others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from modelry.runtime_api.sequence_models import SequenceModel
from modelry.runtime_api.tensors import Array


class Session(Protocol):
    """A loaded graph."""

    def run_with_ort_values(
        self, output_names: Sequence[str], feed: Mapping[str, Any], run_options: Any = None
    ) -> Sequence[Any]:
        """The outputs of these names."""
        ...


@dataclass(frozen=True, slots=True)
class Memory:
    """What the decoder looks at of some texts: keys and values of each layer, and their mask.

    Attributes:
        parts: (texts, heads, source, …): what the encoder gives, in the order of `memory_names`.
        mask: (texts, source) int64, 1 where there is a token.
    """

    parts: tuple[Array, ...]
    mask: Array

    def take(self, texts: Sequence[int]) -> Memory:
        """Of some of the texts, no longer than they need."""
        mask = self.mask[texts]
        width = max(1, int(mask.sum(axis=1).max(initial=0)))
        return Memory(
            tuple(np.ascontiguousarray(part[texts, :, :width]) for part in self.parts),
            np.ascontiguousarray(mask[:, :width]),
        )


def joined(memories: Sequence[Memory]) -> Memory:
    """Of all these texts, in order, filled up to the longest."""
    if len(memories) == 1:
        return memories[0]
    width = max(memory.mask.shape[1] for memory in memories)
    masks = [_widened(memory.mask, width, 1) for memory in memories]
    parts = [
        np.concatenate([_widened(memory.parts[at], width, 2) for memory in memories])
        for at in range(len(memories[0].parts))
    ]
    return Memory(tuple(parts), np.concatenate(masks))


def padded(rows: Sequence[Sequence[int]], pad: int) -> tuple[Array, Array]:
    """Token ids as (rows, longest) int64, filled up with `pad`, and their mask."""
    width = max(1, *map(len, rows))
    tokens = np.full((len(rows), width), pad, np.int64)
    mask = np.zeros((len(rows), width), np.int64)
    for at, row in enumerate(rows):
        tokens[at, : len(row)] = row
        mask[at, : len(row)] = 1
    return tokens, mask


class SequenceGraphs:
    """A model's encoder and step decoder.

    Args:
        model: what is known of it.
        encoder: its loaded encoder.
        decoder: its loaded decoder.
        to_value: makes a value of the sessions' library of an array.
    """

    def __init__(
        self,
        model: SequenceModel,
        encoder: Session,
        decoder: Session,
        to_value: Callable[[Array], Any],
    ) -> None:
        self.model = model
        self.to_value = to_value
        self._encoder = encoder
        self._decoder = decoder
        self._memory_names = memory_names(model)
        self._past_names = cache_names("past", model.layers)
        self._outputs = ["scores", "next_tokens", *cache_names("present", model.layers)]

    def encode(self, rows: Sequence[Sequence[int]]) -> Memory:
        """What the decoder needs of texts, given as token ids with their end token."""
        tokens, mask = padded(rows, self.model.pad)
        feed = {"source": self.to_value(tokens), "source_mask": self.to_value(mask)}
        values = self._encoder.run_with_ort_values(self._memory_names, feed)
        return Memory(tuple(value.numpy() for value in values), mask)

    def empty_past(self) -> list[Any]:
        """The past before the first step: one row without tokens."""
        model = self.model
        nothing = np.zeros((1, model.heads, 0, model.head_size), np.float32)
        return [self.to_value(nothing) for _ in self._past_names]

    def memory_values(self, memory: Memory) -> dict[str, Any]:
        """A memory as the decoder takes it; worth keeping while the texts stay the same."""
        values = {"source_mask": self.to_value(memory.mask)}
        for name, part in zip(self._memory_names, memory.parts, strict=True):
            values[name] = self.to_value(part)
        return values

    def step(
        self,
        rows: Mapping[str, Array],
        past: Sequence[Any],
        memory: Mapping[str, Any],
    ) -> tuple[Array, Array, list[Any]]:
        """The likeliest next tokens of each row: log-probabilities, tokens, and the new past."""
        feed = {name: self.to_value(array) for name, array in rows.items()}
        feed |= zip(self._past_names, past, strict=True)
        feed |= memory
        scores, tokens, *present = self._decoder.run_with_ort_values(self._outputs, feed)
        return scores.numpy(), tokens.numpy(), present


def memory_names(model: SequenceModel) -> list[str]:
    """The names of what the encoder gives the decoder, in order."""
    more = ["memory.copy", "memory.source"] if model.copies else []
    return [*cache_names("memory", model.layers), *more]


def cache_names(prefix: str, layers: int) -> list[str]:
    """The names of keys and values of all layers, in order."""
    return [f"{prefix}.{layer}.{part}" for layer in range(layers) for part in ("key", "value")]


def _widened(array: Array, width: int, axis: int) -> Array:
    missing = width - array.shape[axis]
    if not missing:
        return array
    return np.pad(array, [(0, missing if at == axis else 0) for at in range(array.ndim)])
