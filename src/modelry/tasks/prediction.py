"""From items to input tensors, and from output tensors to results: what a worker calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from modelry.runtime_api.tensors import Array


@dataclass(frozen=True, slots=True)
class Prepared:
    """Items of one call, ready for the engine.

    Dimension 0 of every input is the items', in order: inputs of several calls may be put
    together along it, and each call takes its own slice of the outputs. `context` is what the
    steps after the engine want to know; `usage` is what the items cost (`input_tokens`, …).
    """

    inputs: Mapping[str, Array]
    count: int
    context: Any
    options: Mapping[str, Any]
    usage: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call gets: a JSON result per item, arrays with one row per item, or both."""

    items: list[dict[str, Any]] = field(default_factory=list)
    arrays: dict[str, Array] = field(default_factory=dict)
    usage: dict[str, int] = field(default_factory=dict)


class Predictor(Protocol):
    """The processing of one loaded version; pure, and safe to call from several threads."""

    def before(self, items: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> Prepared:
        """The engine's inputs for `items`.

        Raises:
            InvalidInput: an item or option is not what the task takes; says which.
        """
        ...

    def after(self, prepared: Prepared, outputs: Mapping[str, Array]) -> Answer:
        """The results of `prepared`, from the engine's outputs for exactly its items."""
        ...
