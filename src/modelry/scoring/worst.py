"""The worst answers of a split."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any

WORST = 20
"""How many a report names."""


class Worst:
    """Keeps the answers that are furthest from right; of equal ones the first."""

    def __init__(self, most: int = WORST) -> None:
        self._most = most
        self._kept: list[tuple[float, int, dict[str, Any]]] = []
        self._seen = 0

    def add(self, badness: float, told: Mapping[str, Any]) -> None:
        """Take an answer; the larger `badness`, the worse."""
        self._seen += 1
        entry = (badness, -self._seen, dict(told))
        if len(self._kept) < self._most:
            heapq.heappush(self._kept, entry)
        elif entry[:2] > self._kept[0][:2]:
            heapq.heapreplace(self._kept, entry)

    def told(self) -> list[dict[str, Any]]:
        """What is kept, worst first."""
        return [told for _, _, told in sorted(self._kept, key=lambda one: one[:2], reverse=True)]
