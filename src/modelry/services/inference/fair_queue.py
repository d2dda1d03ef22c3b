"""The calls that wait for a replica, so that each tenant gets its part of it."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelry.services.inference.call import Call

ACTIVE_S = 1.0
"""A tenant that called within this time has its part kept free for its next call."""


class _Flow:
    """One tenant: its waiting calls by start tag, and what it has on replicas."""

    __slots__ = ("calls", "finish", "in_flight", "seen", "weight")

    def __init__(self) -> None:
        self.calls: deque[tuple[float, Call]] = deque()
        self.finish = 0.0
        self.in_flight = 0
        self.seen = 0.0
        self.weight = 1.0


class FairQueue:
    """Start-time fair queueing by tenant: who waits is served by weight, not by number of calls.

    A call's start tag is the later of the queue's clock and the tag at which its tenant's call
    before it ends; a call lasts its estimated cost divided by the tenant's weight; the least tag
    goes first. While several tenants are active none has more on the replicas than its part of
    the places, so that a call of a tenant with few finds one free.
    """

    def __init__(self) -> None:
        self._flows: dict[str, _Flow] = {}
        self._clock = 0.0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, call: Call) -> None:
        """Let `call` wait."""
        flow = self._flow(call)
        start = max(self._clock, flow.finish)
        flow.finish = start + max(1, call.demand.tokens + call.demand.images) / flow.weight
        flow.calls.append((start, call))
        self._count += 1

    def popleft(self) -> Call:
        """The call whose turn it is, whatever its tenant has on replicas.

        Raises:
            IndexError: none waits.
        """
        heads = [(flow.calls[0][0], at) for at, flow in self._flows.items() if flow.calls]
        if not heads:
            raise IndexError("no call waits")
        return self._taken(min(heads)[1])

    def next_for(self, places: int, now: float) -> Call | None:
        """The call whose turn it is among tenants that have less than their part of `places`."""
        heads = [
            (flow.calls[0][0], at)
            for at, flow in self._flows.items()
            if flow.calls and self._has_part(flow, places, now)
        ]
        return self._taken(min(heads)[1]) if heads else None

    def may_send(self, call: Call, places: int, now: float) -> bool:
        """Whether `call`, which comes just now, need not wait for its tenant's other calls."""
        flow = self._flow(call)
        flow.seen = now
        return not flow.calls and self._has_part(flow, places, now)

    def sent(self, call: Call) -> None:
        """`call` is on a replica."""
        self._flow(call).in_flight += 1

    def ended(self, call: Call) -> None:
        """`call` left its replica."""
        self._flow(call).in_flight -= 1

    def remove(self, call: Call) -> None:
        """Let `call` wait no more."""
        calls = self._flow(call).calls
        for entry in calls:
            if entry[1] is call:
                calls.remove(entry)
                self._count -= 1
                return

    def push_out(self, call: Call) -> Call | None:
        """Make room for `call`: the newest of the tenant with most waiting, if it has more."""
        own = self._flow(call)
        crowd = max(self._flows.values(), key=lambda flow: len(flow.calls) / flow.weight)
        if (len(own.calls) + 1) / own.weight >= len(crowd.calls) / crowd.weight:
            return None
        self._count -= 1
        return crowd.calls.pop()[1]

    def _flow(self, call: Call) -> _Flow:
        tenant_id = call.principal.tenant_id
        flow = self._flows.get(tenant_id)
        if flow is None:
            self._forget_idle()
            flow = self._flows[tenant_id] = _Flow()
        flow.weight = call.account.tenant.limits.weight or 1.0
        return flow

    def _taken(self, tenant_id: str) -> Call:
        start, call = self._flows[tenant_id].calls.popleft()
        self._clock = start
        self._count -= 1
        return call

    def _has_part(self, flow: _Flow, places: int, now: float) -> bool:
        if flow.in_flight == 0:
            return True
        active = sum(
            other.weight
            for other in self._flows.values()
            if other is flow or other.in_flight or other.calls or now - other.seen < ACTIVE_S
        )
        return flow.in_flight < max(1, int(places * flow.weight / active))

    def _forget_idle(self) -> None:
        now = time.monotonic()
        self._flows = {
            tenant_id: flow
            for tenant_id, flow in self._flows.items()
            if flow.in_flight
            or flow.calls
            or flow.finish > self._clock
            or now - flow.seen < ACTIVE_S
        }
