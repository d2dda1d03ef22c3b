"""How many processes may calculate at once for requests that wait, and who is next."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable

from modelry.domain.errors import ModelryError, Overloaded

MOST_WAITING = 32
"""Requests that wait for a place at once."""
RETRY_S = 5.0


class Places:
    """A number of places, which tenants share. Used on one event loop only.

    Where there are other tenants, one has at most all places but one, so that a calculation of
    minutes keeps nobody else out; a place that is free goes to the tenant that has fewest, and of
    those to who has waited longest. Who comes when there is no room to wait is told so, or whoever
    came last of the tenant with most waiting.

    Args:
        most: places.
        are_shared: whether there are other tenants.
        most_waiting: how many may wait.
    """

    def __init__(
        self, most: int, are_shared: Callable[[], bool], most_waiting: int = MOST_WAITING
    ) -> None:
        self._most = most
        self._are_shared = are_shared
        self._most_waiting = most_waiting
        self._taken: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @property
    def taken(self) -> int:
        """How many are taken."""
        return self._taken.total()

    def tenants(self) -> set[str]:
        """Those that have places, or wait for one."""
        return {*self._taken, *self._waiting}

    async def take(self, tenant_id: str) -> None:
        """Take a place, once it is this tenant's turn; `leave` gives it back.

        Raises:
            Overloaded: so many wait already.
        """
        if tenant_id not in self._waiting and self._may_have(tenant_id):
            self._taken[tenant_id] += 1
            return
        self._make_room(tenant_id)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant_id, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was given just when nobody waited more
                self.leave(tenant_id)
            else:
                self._withdraw(tenant_id, turn)
            raise

    def leave(self, tenant_id: str) -> None:
        """Give a place back."""
        self._taken[tenant_id] -= 1
        if not self._taken[tenant_id]:
            del self._taken[tenant_id]
        self._give()

    def turn_away(self, error: ModelryError, tenant_id: str | None = None) -> None:
        """Let those that wait do so no more; only one tenant's, if given."""
        for one in [tenant_id] if tenant_id is not None else list(self._waiting):
            for turn in self._waiting.pop(one, ()):
                if not turn.done():
                    turn.set_exception(error)

    def _may_have(self, tenant_id: str) -> bool:
        own = self._taken[tenant_id]
        most = max(1, self._most - 1) if self._are_shared() else self._most
        return self.taken < self._most and own < most

    def _give(self) -> None:
        """Give what is free to those whose turn it is."""
        while allowed := [one for one in self._waiting if self._may_have(one)]:
            # tenants stand in the order in which they began to wait, or were last given a place
            tenant_id = min(allowed, key=lambda one: self._taken[one])
            waiting = self._waiting.pop(tenant_id)
            turn = waiting.popleft()
            if waiting:
                self._waiting[tenant_id] = waiting
            if not turn.done():  # else nobody waits for it any more
                self._taken[tenant_id] += 1
                turn.set_result(None)

    def _make_room(self, tenant_id: str) -> None:
        counts = {one: len(waiting) for one, waiting in self._waiting.items()}
        if sum(counts.values()) < self._most_waiting:
            return
        crowd = max(counts, key=lambda one: counts[one], default=tenant_id)
        if counts.get(tenant_id, 0) + 1 >= counts.get(crowd, 0):
            raise _no_room(self._most_waiting)
        last = self._waiting[crowd][-1]
        self._withdraw(crowd, last)
        if not last.done():
            last.set_exception(_no_room(self._most_waiting))

    def _withdraw(self, tenant_id: str, turn: asyncio.Future[None]) -> None:
        waiting = self._waiting.get(tenant_id)
        if waiting is not None and turn in waiting:
            waiting.remove(turn)
            if not waiting:
                del self._waiting[tenant_id]


def _no_room(most: int) -> Overloaded:
    return Overloaded(
        f"{most} requests wait for explanations by gradients; try again later, or ask for a job "
        '("job": true).',
        retry_after_s=RETRY_S,
    )
