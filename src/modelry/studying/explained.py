"""The rows that were explained so far."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

_ATTRIBUTION = "attribution"
Json = dict[str, Any]


class ExplainedRows:
    """What is told of each row, and the weights of its parts as JSON.

    As objects the weights of thousands of long texts would take gigabytes.
    """

    def __init__(self) -> None:
        self.facts: list[Json] = []
        """All that is told of each row but the weights."""
        self._attributions: list[bytes] = []

    def __len__(self) -> int:
        return len(self.facts)

    def add(self, told: Mapping[str, Any]) -> None:
        """Take what is told of a row."""
        facts = dict(told)
        self._attributions.append(orjson.dumps(facts.pop(_ATTRIBUTION)))
        self.facts.append(facts)

    def told(self, at: int) -> Json:
        """What is told of a row, by its number among those explained."""
        return {**self.facts[at], _ATTRIBUTION: orjson.loads(self._attributions[at])}

    @property
    def attributions(self) -> Iterable[Json]:
        """The weights of all rows, which are read anew each time."""
        return _Read(self._attributions)

    def sort(self) -> None:
        """Put the rows in the order of the split."""
        order = sorted(range(len(self)), key=lambda at: int(self.facts[at]["row"]))
        self.facts = [self.facts[at] for at in order]
        self._attributions = [self._attributions[at] for at in order]

    def lines(self) -> Iterator[bytes]:
        """All rows as lines of JSON; `add_lines` reads them."""
        for facts, attribution in zip(self.facts, self._attributions, strict=True):
            line = {**facts, _ATTRIBUTION: orjson.Fragment(attribution)}
            yield orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)

    def add_lines(self, lines: Iterable[bytes]) -> None:
        """Take the rows that `lines` gave."""
        for line in lines:
            self.add(orjson.loads(line))


class _Read:
    def __init__(self, kept: list[bytes]) -> None:
        self._kept = kept

    def __iter__(self) -> Iterator[Json]:
        return map(orjson.loads, self._kept)
