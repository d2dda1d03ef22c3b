"""Takes personal data and secrets out of texts and JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from modelry.services.privacy.ports import Recogniser, Span
from modelry.services.privacy.recognisers import BUILT_IN

_SHORTEST_NUMBER = 10**6


class Redactor:
    """Replaces what its recognisers find by its kind, such as `<EMAIL>`.

    Args:
        recognisers: where they overlap, what the first of them finds names the whole.
    """

    def __init__(self, recognisers: Sequence[Recogniser] = BUILT_IN) -> None:
        self._recognisers = recognisers

    def spans(self, text: str) -> list[Span]:
        """What is found, in order, overlaps merged."""
        found = [
            (span, rank)
            for rank, recogniser in enumerate(self._recognisers)
            for span in recogniser.find(text)
        ]
        return _merged(found)

    def text(self, text: str, counts: Counter[str]) -> str:
        """`text` without what is found; adds to `counts` how much of each kind that was."""
        parts: list[str] = []
        at = 0
        for span in self.spans(text):
            parts += (text[at : span.start], f"<{span.kind}>")
            counts[span.kind] += 1
            at = span.end
        return "".join((*parts, text[at:])) if parts else text

    def value(self, value: Any, counts: Counter[str]) -> Any:
        """A JSON value with all its texts, names and long numbers redacted."""
        if isinstance(value, str):
            return self.text(value, counts)
        if isinstance(value, dict):
            return {
                self.text(name, counts): self.value(inner, counts) for name, inner in value.items()
            }
        if isinstance(value, list):
            return [self.value(inner, counts) for inner in value]
        if isinstance(value, int) and abs(value) >= _SHORTEST_NUMBER:
            shown = self.text(str(value), counts)
            return value if shown == str(value) else shown
        return value


def _merged(found: Iterable[tuple[Span, int]]) -> list[Span]:
    merged: list[tuple[Span, int]] = []
    for span, rank in sorted(found, key=lambda one: (one[0].start, -one[0].end, one[1])):
        if merged and span.start < merged[-1][0].end:
            before, best = merged[-1]
            kind = span.kind if rank < best else before.kind
            whole = Span(before.start, max(before.end, span.end), kind)
            merged[-1] = (whole, min(rank, best))
        else:
            merged.append((span, rank))
    return [span for span, _ in merged]
