"""All replicas of one version in one deployment, and the requests that wait for one."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable
from typing import Protocol

from modelry.domain.deployments import Limits
from modelry.domain.errors import (
    DeadlineExceeded,
    ModelFailed,
    ModelNotReady,
    ModelryError,
    Overloaded,
)
from modelry.domain.usage import Origin
from modelry.runtime_api.frames import Kind
from modelry.services.inference.call import Call
from modelry.services.inference.fair_queue import FairQueue
from modelry.services.inference.metering import OK, Meter
from modelry.services.inference.recording import CallRecorder
from modelry.services.quotas.accounts import COUNTED, Account, Accounts, Use
from modelry.services.quotas.demands import counts_tensors, tensor_demand

_INFER = int(Kind.INFER)

LATENCY_BUCKETS_S = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
"""Upper bounds of the request duration histogram, in seconds."""

OVERDUE_GRACE_S = 5.0
"""How long after its deadline a call may still be on a replica before that counts as hung."""


class ReplicaLink(Protocol):
    """The data connection to one ready replica."""

    replica_id: str
    capacity: int
    in_flight: int
    engine_clock: float
    """Seconds that the replica worked for each of the calls it had, since it began: while it has n
    calls it goes n times slower, so that the parts of all calls add up to the time it worked."""

    def send(self, call: Call) -> None:
        """Start `call` on the replica; it ends through `call.finish` or `call.fail`."""
        ...

    def cancel(self, call: Call) -> None:
        """Tell the replica to stop `call`; the slot is free when the replica confirms."""
        ...


class Statistics:
    """Counters of one group since start, for metrics and the v2 statistics extension."""

    __slots__ = ("buckets", "by_status", "duration_s", "ok_duration_s", "requests")

    def __init__(self) -> None:
        self.requests = 0
        self.duration_s = 0.0
        self.ok_duration_s = 0.0
        self.by_status: dict[str, int] = {}
        self.buckets = [0] * (len(LATENCY_BUCKETS_S) + 1)

    def add(self, status: str, duration_s: float) -> None:
        """Count a request that ended."""
        self.requests += 1
        self.duration_s += duration_s
        if status == OK:
            self.ok_duration_s += duration_s
        self.by_status[status] = self.by_status.get(status, 0) + 1
        self.buckets[bisect_left(LATENCY_BUCKETS_S, duration_s)] += 1


class ReplicaGroup:
    """Sends each call to the least loaded ready replica, or lets it wait, bounded.

    Args:
        identity: (tenant id, deployment name, version number, task).
        limits: the deployment's bounds.
        accounts: the limits of those who call, shared by all groups.
        wake: called when a request waits and no replica is there; starts one.
        meter: notes what each call used; by default one of its own.
        origin: what the notes say answered; by default what `identity` tells.
    """

    def __init__(
        self,
        identity: tuple[str, str, int, str],
        limits: Limits,
        accounts: Accounts,
        wake: Callable[[], None],
        *,
        meter: Meter | None = None,
        origin: Origin | None = None,
    ) -> None:
        self.identity = identity
        self.limits = limits
        self.accounts = accounts
        self.links: list[ReplicaLink] = []
        self.waiting = FairQueue()
        self._meets_tenants = False
        self.failure: str | None = None
        self.closed = False
        self.last_used = time.monotonic()
        self.statistics = Statistics()
        self.meter = Meter() if meter is None else meter
        self.origin = origin or Origin(identity[0], identity[1], "", identity[2], identity[3])
        self.recorder: CallRecorder | None = None
        self.on_overdue: Callable[[ReplicaLink, Call], None] | None = None
        self._open: set[Call] = set()
        self._counts_tensors = counts_tensors(identity[3])
        self._wake = wake

    @property
    def in_flight(self) -> int:
        """Calls on replicas and waiting."""
        return len(self._open)

    @property
    def is_ready(self) -> bool:
        """Whether at least one replica can answer now."""
        return bool(self.links)

    def submit(self, call: Call, account: Account | None = None) -> None:
        """Send `call` on, or queue it.

        Raises:
            QuotaExceeded, BudgetExceeded: the caller's limits do not allow it.
            PermissionDenied: it costs what the caller's budget is not in.
            Overloaded: the queue is full, or what requests use cannot be kept.
            ModelFailed: the version cannot be loaded; carries the reason.
            ModelNotReady: the deployment is being taken away.
        """
        if self.meter.is_full:
            self.meter.check_room()
        if self.closed:
            raise ModelNotReady(
                f"Deployment '{self.identity[1]}' is being changed; try again.", retry_after_s=1
            )
        now = time.monotonic()
        if account is None:
            account = self.accounts.of(call.principal)
        call.account = account
        looks_in = account.counts_contents or self._meets_tenants
        if looks_in and self._counts_tensors and call.kind == _INFER:
            call.demand = tensor_demand(self.identity[3], call.header)
        if account.cost_gates and self.meter.costs is not None:
            self.meter.costs.check(account, self.origin)
        call.gates = account.begin(call.demand, now)
        call.started = self.last_used = now
        call.deadline = now + self.limits.deadline_s
        if not self._meets_tenants and call.principal.tenant_id != self.identity[0]:
            self._meet_tenants()
        link = self._least_loaded()
        if link is None or (self._meets_tenants and not self._may_send(call, now)):
            self._enqueue(call, now)
            return
        self._open_call(call)
        self._send(call, link)

    def _meet_tenants(self) -> None:
        """From the first call of another tenant on, each gets its part of the replicas."""
        self._meets_tenants = True
        for call in self._open:
            if call.link is not None:
                self.waiting.sent(call)

    def _may_send(self, call: Call, now: float) -> bool:
        return self.waiting.may_send(call, self._places(), now)

    def _places(self) -> int:
        return sum(link.capacity for link in self.links)

    def _send(self, call: Call, link: ReplicaLink) -> None:
        call.link = link
        if self._meets_tenants:
            self.waiting.sent(call)
        link.send(call)

    def _open_call(self, call: Call) -> None:
        call.group = self
        if call.request is not None:
            call.request.began(call)
        self._open.add(call)
        if self.recorder is not None:
            call.record = self.recorder.begin(call)

    def _enqueue(self, call: Call, now: float) -> None:
        try:
            self._make_room(call)
        except ModelryError:
            call.account.end(call.gates, call.demand, None, now)
            raise
        call.wait_until = call.deadline
        if not self.links:
            call.wait_until = min(call.deadline, now + self.limits.load_timeout_s)
        self._open_call(call)
        self.waiting.append(call)
        self._wake()

    def _make_room(self, call: Call) -> None:
        if not self.links and self.failure is not None:
            raise self._failed(call, self.failure)
        if len(self.waiting) >= self.limits.queue and not self._push_out(call):
            raise Overloaded(
                f"{len(self.waiting)} requests are waiting for deployment '{self.identity[1]}' "
                f"(its limit is {self.limits.queue}); try again later.",
                retry_after_s=1,
            )

    def _push_out(self, call: Call) -> bool:
        """Whether a call of a tenant that has more waiting made room for `call`."""
        pushed = self.waiting.push_out(call) if self._meets_tenants else None
        if pushed is None:
            return False
        pushed.fail(
            Overloaded(
                f"Deployment '{self.identity[1]}' has no room for so many waiting requests of one "
                "tenant while others call; try again later.",
                retry_after_s=1,
            )
        )
        return True

    def _least_loaded(self) -> ReplicaLink | None:
        if len(self.links) == 1:
            only = self.links[0]
            return only if only.in_flight < only.capacity else None
        best: ReplicaLink | None = None
        for link in self.links:
            if link.in_flight < link.capacity and (best is None or link.in_flight < best.in_flight):
                best = link
        return best

    def attach(self, link: ReplicaLink) -> None:
        """A replica became ready: give it what waits."""
        self.links.append(link)
        self.failure = None
        self.pump()

    def detach(self, link: ReplicaLink) -> None:
        """A replica drains or died: send it nothing more."""
        if link in self.links:
            self.links.remove(link)

    def pump(self) -> None:
        """Send waiting calls while a replica has room; links call this when a slot frees."""
        waiting = self.waiting
        while waiting:
            link = self._least_loaded()
            if link is None:
                return
            if self._meets_tenants:
                call = waiting.next_for(self._places(), time.monotonic())
                if call is None:
                    return
            else:
                call = waiting.popleft()
            if not call.done:
                self._send(call, link)

    def cancel(self, call: Call) -> None:
        """Take `call` off its replica or out of the queue."""
        if call.link is not None:
            call.link.cancel(call)
        elif call in self._open:
            self.waiting.remove(call)

    def cut_off(self, error: ModelryError, tenant_id: str | None = None) -> None:
        """Fail every open call with `error`; only those of one tenant's callers, if given."""
        for call in list(self._open):
            if tenant_id is None or call.principal.tenant_id == tenant_id:
                self.cancel(call)
                call.fail(error)

    def callers(self) -> set[str]:
        """The tenants whose calls are open here."""
        return {call.principal.tenant_id for call in self._open}

    def record(self, call: Call, status: str) -> None:
        """Count an ended call; used by `Call`."""
        self._open.discard(call)
        self.last_used = now = time.monotonic()
        duration = now - call.started
        link = call.link
        if link is not None and self._meets_tenants:
            self.waiting.ended(call)
        engine_s = 0.0 if link is None else link.engine_clock - call.engine_from
        call.engine_us = round(engine_s * 1e6)
        use = Use(status, call.units, engine_s) if call.gates[1] else COUNTED
        call.account.end(call.gates, call.demand, use, now)
        self.statistics.add(status, duration)
        if call.request is not None:
            call.request.ended(call, status)
        else:
            principal = call.principal
            self.meter.note(
                (
                    self.origin,
                    principal.tenant_id,
                    principal.key_id,
                    status,
                    "" if link is None else link.replica_id,
                    call.parameters,
                ),
                call.started,
                now,
                call.request_id,
                (call.units, call.engine_us),
            )

    def expire(self) -> None:
        """End calls whose time ran out; called a few times a second."""
        now = time.monotonic()
        for call in list(self._open):
            if call.link is None and now > call.wait_until:
                self.waiting.remove(call)
                call.fail(self._too_late(call))
            elif call.link is not None and now > call.deadline + OVERDUE_GRACE_S:
                link = call.link
                call.fail(self._too_late(call))
                if self.on_overdue is not None:
                    self.on_overdue(link, call)

    def _too_late(self, call: Call) -> ModelryError:
        if call.link is None and not self.links:
            return ModelNotReady(
                f"Deployment '{self.identity[1]}' was not loaded within "
                f"{self.limits.load_timeout_s:g} s; try again later.",
                retry_after_s=5,
            )
        return DeadlineExceeded(
            f"No answer within the deployment's deadline of {self.limits.deadline_s:g} s."
        )

    def fail_waiting(self, reason: str) -> None:
        """The version cannot be loaded: tell all that wait, and those that come."""
        self.failure = reason
        if self.links:
            return
        while self.waiting:
            call = self.waiting.popleft()
            call.fail(self._failed(call, reason))

    def _failed(self, call: Call, reason: str) -> ModelFailed:
        """The failure as `call` may know it: what the worker wrote is its owner's alone."""
        if call.principal.tenant_id != self.identity[0]:
            reason = "the tenant that shares it can see why"
        return ModelFailed(
            f"Deployment '{self.identity[1]}' (version {self.identity[2]}) failed: {reason}"
        )

    def hand_over(self, successor: ReplicaGroup) -> None:
        """Give what waits to the group that takes this one's place, of the same version."""
        while self.waiting:
            call = self.waiting.popleft()
            self._open.discard(call)
            call.account.end(call.gates, call.demand, None, time.monotonic())
            try:
                successor.submit(call)
            except ModelryError as error:
                call.group = None
                call.fail(error)

    def close(self) -> None:
        """Take no more calls; those that wait are still answered while a replica is there."""
        self.closed = True
        if not self.links:
            self.turn_away()

    def turn_away(self) -> None:
        """Tell the calls that wait to come again."""
        while self.waiting:
            self.waiting.popleft().fail(
                ModelNotReady(
                    f"Deployment '{self.identity[1]}' is being changed; try again.",
                    retry_after_s=1,
                )
            )
