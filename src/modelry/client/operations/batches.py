"""Long lists, sent in several requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from modelry.client.exchange import Flow

T = TypeVar("T")
R = TypeVar("R")

ITEMS = 256
"""The most texts or rows that the typed doors take at once."""
IMAGES = 16
"""Images of one request; they are large, and bodies have a bound."""


def in_batches(items: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    """Parts of `items` of at most `most`; one empty part for an empty list, so that it is sent."""
    for start in range(0, len(items) or 1, most):
        yield items[start : start + most]


def gathered(
    items: Sequence[T], most: int, ask: Callable[[Sequence[T]], Flow[list[R]]]
) -> Flow[list[R]]:
    """The results of `ask` for all `items`, in order."""
    found: list[R] = []
    for part in in_batches(items, most):
        found += yield from ask(part)
    return found
