"""Requests that are counted on their gates, under load some before they come."""

from __future__ import annotations

from modelry.services.quotas.gates import Gate

SIZE = 64
"""How many requests are counted at once."""
GOOD_FOR_S = 0.005
WORTH_FROM_PER_S = 2000.0
SPARE = 64 * SIZE
"""What every gate must leave for it: who has less is told exactly what is left."""


class Advance:
    """The requests of one account that are counted and have not come yet.

    To count a request on each of its gates takes longer than all else that admits it. While they
    come faster than `WORTH_FROM_PER_S`, the next `SIZE` are counted at once, and those that come
    within `GOOD_FOR_S` take from them. The rest is given back with the next count, or when
    somebody wants to know what is left.

    Args:
        gates: on which requests are counted.
    """

    __slots__ = ("_counted_at", "_gates", "_size", "left", "until")

    def __init__(self, gates: tuple[Gate, ...]) -> None:
        self.left = 0
        self.until = 0.0
        self._gates = gates
        self._size = 0
        self._counted_at = 0.0

    def count(self, now: float) -> bool:
        """Count a request that no advance is left for, and say whether it may be."""
        gates = self._gates
        came = self._size - self.left + 1
        self.give_back(now)
        for gate in gates:
            if not gate.count_one(now):
                for earlier in gates[: gates.index(gate)]:
                    earlier.uncount(1, now)
                return False
        if (now - self._counted_at) * WORTH_FROM_PER_S < came and all(
            gate.tightest(now)[0] >= SPARE for gate in gates
        ):
            for gate in gates:
                gate.uncount(-SIZE, now)
            self.left = self._size = SIZE
            self.until = now + GOOD_FOR_S
        self._counted_at = now
        return True

    def give_back(self, now: float) -> None:
        """Count no more than what came."""
        if self.left:
            for gate in self._gates:
                gate.uncount(self.left, now)
        self.left = self._size = 0
