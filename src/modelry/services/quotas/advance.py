"""Requests that are counted on their gates, under load some before they come."""

from __future__ import annotations

from modelry.services.quotas.gates import Gate

SIZE = 16
"""How many requests are counted at once."""
GOOD_FOR_S = 0.001
SPARE = 64 * SIZE
"""What every gate must leave for it: who has less is told exactly what is left."""


class Advance:
    """The requests of one account that are counted and have not come yet.

    To count a request on each of its gates takes longer than all else that admits it. When the
    last one came within `GOOD_FOR_S`, the next `SIZE` are counted at once, and those that come
    within that time take from them. The rest is given back with the next count, or when somebody
    wants to know what is left.

    Args:
        gates: on which requests are counted.
    """

    __slots__ = ("_counted_at", "_gates", "left", "until")

    def __init__(self, gates: tuple[Gate, ...]) -> None:
        self.left = 0
        self.until = 0.0
        self._gates = gates
        self._counted_at = 0.0

    def count(self, now: float) -> bool:
        """Count a request that no advance is left for, and say whether it may be."""
        gates = self._gates
        if self.left:
            self.give_back(now)
        for gate in gates:
            if not gate.count_one(now):
                for earlier in gates[: gates.index(gate)]:
                    earlier.uncount(1, now)
                return False
        if now - self._counted_at < GOOD_FOR_S and all(
            gate.tightest(now)[0] >= SPARE for gate in gates
        ):
            for gate in gates:
                gate.uncount(-SIZE, now)
            self.left, self.until = SIZE, now + GOOD_FOR_S
        self._counted_at = now
        return True

    def give_back(self, now: float) -> None:
        """Count no more than what came."""
        for gate in self._gates:
            gate.uncount(self.left, now)
        self.left = 0
