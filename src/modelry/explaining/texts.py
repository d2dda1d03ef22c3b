"""Texts in parts: words, taken away with the space before them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import compress, pairwise
from typing import Any

import numpy as np

from modelry.domain.errors import InvalidInput, NotSupported
from modelry.explaining.contract import Attribution
from modelry.runtime_api.tensors import Array

MOST_WORDS = 2000
_WORD = re.compile(r"\w+|[^\w\s]+")
NOTHING = "."
"""What stands for a text of which no word is left: engines take no empty one."""


class TextParts:
    """A text in words.

    Args:
        item: as it was sent; `text` is what is explained.
        prepare: makes the engine's inputs of items.
    """

    def __init__(
        self,
        item: Mapping[str, Any],
        prepare: Callable[[Sequence[Mapping[str, Any]]], Mapping[str, Array]],
    ) -> None:
        text = item.get("text")
        if not isinstance(text, str):
            raise NotSupported("Token ids cannot be explained; send the text itself.", param="text")
        self._item = item
        self._prepare = prepare
        self.words = [(match.start(), match.end()) for match in _WORD.finditer(text)]
        if not self.words:
            raise InvalidInput("The text has no words that could be explained.", param="text")
        if len(self.words) > MOST_WORDS:
            raise InvalidInput(
                f"The text has {len(self.words)} words; at most {MOST_WORDS} can be explained.",
                param="text",
            )
        self._text = text
        ends = [0, *(end for _, end in self.words)]
        self._pieces = [text[start:end] for start, end in pairwise(ends)]
        self.repeats = 1
        self.baseline = "the text without these words"

    @property
    def count(self) -> int:
        """How many words there are."""
        return len(self.words)

    def inputs(self, presences: Array) -> Mapping[str, Array]:
        """The engine's inputs for presences (n, words)."""
        return self._prepare([self._with(one) for one in presences >= 0.5])

    def noisy(self, random: np.random.Generator) -> None:
        """Words have no slightly different ones."""
        del random

    def guess(self, random: np.random.Generator) -> Array:
        """See `Parts.guess`; words have no neighbours that belong together."""
        return random.random(self.count)

    def described(self, attribution: Attribution) -> dict[str, Any]:
        """The weights by word, with its place in the text in characters."""
        return {
            "kind": "text",
            "words": [
                {"text": self._text[start:end], "start": start, "end": end, "weight": float(weight)}
                for (start, end), weight in zip(self.words, attribution.weights, strict=True)
            ],
        }

    def _with(self, kept: Array) -> Mapping[str, Any]:
        rest = self._text[self.words[-1][1] :]
        text = "".join(compress(self._pieces, kept.tolist())) + rest
        return {**self._item, "text": text.strip() or NOTHING}
