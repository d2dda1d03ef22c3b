"""A baseline for translation: every word by its likeliest counterpart, in the same order.

Counterparts are learnt as IBM's first model does (Brown et al., 1993): which words occur together
in pairs, made sharper by expectation and maximisation.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cached_property

ROUNDS = 6
NOTHING = ""
"""Stands for a word of the target that no word of the source accounts for."""
_PIECE = re.compile(r"\w+|[^\w\s]|\s+")

Cut = Callable[[str], list[str]]


def words(text: str) -> list[str]:
    """Words and signs; white space is left out."""
    return [piece for piece in _PIECE.findall(text) if not piece.isspace()]


class WordForWord:
    """Learnt from pairs of texts, when it is first asked.

    Args:
        pairs: source and target.
        cut_source, cut_target: texts to units; words by default.
        glue: what stands between units of an answer; None for the source's own white space.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        cut_source: Cut = words,
        cut_target: Cut = words,
        glue: str | None = None,
    ) -> None:
        self._pairs = pairs
        self._cut, self._cut_target, self._glue = cut_source, cut_target, glue

    def translate(self, text: str) -> str:
        """A text, unit by unit; units that were never seen stay as they are."""
        if self._glue is not None:
            return self._glue.join(self._best.get(one, one) for one in self._cut(text))
        return "".join(self._best.get(piece, piece) for piece in _PIECE.findall(text))

    @cached_property
    def _best(self) -> dict[str, str]:
        cut = [([NOTHING, *self._cut(ours)], self._cut_target(theirs))
               for ours, theirs in self._pairs]  # fmt: skip
        chances = _learnt(cut)
        best: dict[str, str] = {}
        for (source, target), chance in chances.items():
            known = best.get(source)
            if known is None or chance > chances[source, known]:
                best[source] = target
        return best


def _learnt(cut: Sequence[tuple[list[str], list[str]]]) -> dict[tuple[str, str], float]:
    """P(target unit | source unit)."""
    together: dict[tuple[str, str], float] = defaultdict(lambda: 1.0)
    for _ in range(ROUNDS):
        counts: dict[tuple[str, str], float] = defaultdict(float)
        totals: dict[str, float] = defaultdict(float)
        for sources, targets in cut:
            for target in targets:
                shares = [together[source, target] for source in sources]
                whole = sum(shares)
                for source, share in zip(sources, shares, strict=True):
                    counts[source, target] += share / whole
                    totals[source] += share / whole
        together = defaultdict(
            float, {pair: count / totals[pair[0]] for pair, count in counts.items()}
        )
    return together
