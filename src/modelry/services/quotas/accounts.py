"""The accounts that every request is admitted and settled on, in memory."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from modelry.domain.access import Principal
from modelry.domain.errors import BudgetExceeded, QuotaExceeded
from modelry.domain.quotas import TENANT_WIDE, UNLIMITED, Quota, QuotaLimits
from modelry.services.quotas.advance import Advance
from modelry.services.quotas.buckets import TokenBucket
from modelry.services.quotas.gates import Allowance, Demand, Gate, Unit, counted_as
from modelry.services.quotas.periods import told, utc_now
from modelry.services.quotas.ports import Subject

CONCURRENT_RETRY_S = 1.0
"""When to come again while too many requests are open; nobody knows when one of them will end."""
_PAYS_UNSEEN = frozenset({"ok", "cancelled", "deadline_exceeded"})
"""How a request ended whose engine worked, if not to the end: it pays what was reserved for it."""

Gates = tuple[tuple[Gate, ...], tuple[Gate, ...]]
"""What a request was admitted by: gates on which it is counted, gates on which it is to settle."""

_TELLS: dict[Unit, frozenset[str]] = {
    Unit.TOKENS: frozenset({"input_tokens", "output_tokens"}),
    Unit.IMAGES: frozenset({"images"}),
    Unit.EXPLANATIONS: frozenset({"explanations"}),
}
"""Units of requests that add up to a unit of limits; where an engine tells none of them, as with
tensors, what was reserved is paid."""


class Level:
    """The limits and counts of one key, or of a whole tenant.

    Args:
        tenant_id: the tenant.
        key_id: the key, `TENANT_WIDE` for the tenant.
        most_open: how many requests may be open in this process whatever the limits say.
        clock: gives the time of day.
    """

    __slots__ = (
        "_clock",
        "api_bucket",
        "elsewhere",
        "gates",
        "key_id",
        "limits",
        "most_open",
        "open",
        "tenant_id",
        "top_open",
    )

    def __init__(
        self, tenant_id: str, key_id: str, most_open: float, clock: Callable[[], datetime]
    ) -> None:
        self.tenant_id = tenant_id
        self.key_id = key_id
        self.limits = UNLIMITED
        self.gates: list[Gate] = []
        self.api_bucket: TokenBucket | None = None
        self.open = 0
        self.elsewhere = 0
        self.top_open = most_open
        self.most_open = most_open
        self._clock = clock

    @property
    def owner(self) -> str:
        """Whose limits these are, as its callers call it."""
        return "This key" if self.key_id else "This tenant"

    def set(self, limits: QuotaLimits, now: float) -> None:
        """Change the limits; what was counted stays."""
        self.limits = limits
        known = {gate.counted_as: gate for gate in self.gates}
        gates = [
            known.get(counted_as(unit, limits)) or Gate(unit, self._clock, limits) for unit in Unit
        ]
        self.gates = [gate for gate in gates if gate.set(limits, now)]
        rate = limits.api_requests_per_second
        if rate is None:
            self.api_bucket = None
        elif self.api_bucket is None or self.api_bucket.rate != rate:
            self.api_bucket = TokenBucket(rate, max(1.0, 2 * rate), now)
        self.share_open(self.elsewhere, 1)

    def share_open(self, elsewhere: int, gateways: int) -> None:
        """Take this gateway's part of the places that are free: others take theirs at once."""
        self.elsewhere = elsewhere
        limit = self.limits.concurrent_requests
        if limit is None:
            self.most_open = self.top_open
            return
        free = max(0, limit - elsewhere - self.open)
        self.most_open = min(self.top_open, self.open + -(-free // gateways))

    def check(self, demand: Demand, now: float) -> None:
        """Refuse what the limits do not allow.

        Raises:
            QuotaExceeded: too fast, or too many at once; tells when to come again.
            BudgetExceeded: a day's or month's budget is used up.
        """
        if self.open >= self.most_open:
            limit = self.limits.concurrent_requests or self.top_open
            raise QuotaExceeded(
                f"{self.owner} has {self.open + self.elsewhere} open requests; its limit is "
                f"{limit:g}. Wait for some to end.",
                retry_after_s=CONCURRENT_RETRY_S,
            )
        for gate in self.gates:
            amount = demand[gate.place]
            refusal = gate.refusal(amount, self.limits, now)
            if refusal is not None:
                error = BudgetExceeded if refusal.is_budget else QuotaExceeded
                asked = f"; this request asks for up to {amount:g}" if amount > 1 else ""
                raise error(
                    f"{self.owner} may use {refusal.limit}{asked}. Try again in "
                    f"{told(refusal.retry_after_s)}.",
                    retry_after_s=refusal.retry_after_s,
                )


class Use(NamedTuple):
    """How a request ended, and what it used; `units` is None where the engine did not tell."""

    status: str
    units: Mapping[str, int] | None
    engine_s: float

    def amount(self, gate: Gate, demand: Demand) -> float:
        """How much of the gate's unit the request, which was admitted for `demand`, has to pay."""
        unit = gate.unit
        if unit is Unit.ENGINE_SECONDS:
            return self.engine_s
        if unit is Unit.COST:
            return 0  # see `CostBudgets`
        told = _TELLS[unit] & self.units.keys() if self.units else ()
        if self.units and told:
            return sum(self.units[name] for name in told)
        return demand[gate.place] if self.status in _PAYS_UNSEEN else 0


COUNTED = Use("ok", None, 0.0)
"""Of a request that has nothing to settle."""


class Account:
    """One key, in its tenant: what the data plane asks before each request and tells after it.

    Requests are counted when they are admitted, since each is one. Other units are reserved then,
    and settled when the request ends; costs when it is metered.
    """

    __slots__ = ("_admitting", "advance", "cost_gates", "counts_contents", "gates", "is_forgotten",
                 "key", "limited_units", "tenant", "told", "told_until",
                 "was_refused")  # fmt: skip

    def __init__(self, tenant: Level, key: Level) -> None:
        self.advance = Advance(())
        self.tenant = tenant
        self.key = key
        self.was_refused = False
        self.is_forgotten = False
        self.join_gates(0.0)

    gates: tuple[Gate, ...]
    """Those of the key and of the tenant together."""
    advance: Advance
    """Counts requests on those of them for requests."""
    cost_gates: tuple[Gate, ...]
    """Those of them for costs."""
    counts_contents: bool
    """Whether some of them are for what is in a request, which takes a look into it."""
    told: bytes
    """What heads said last of what is left, good until `told_until`, in monotonic seconds."""
    told_until: float
    limited_units: tuple[tuple[bytes, tuple[Gate, ...]], ...]
    """How headers call each limited unit that they tell of (whole numbers only), and its gates."""
    is_forgotten: bool
    """Whether there is another account for the caller now, so that this one is to be let go."""
    was_refused: bool
    """Whether the last request was; doors then ask before they read the next one's body."""

    def join_gates(self, now: float) -> None:
        """Take over the gates that key and tenant have now."""
        self.advance.give_back(now)
        self.gates = (*self.key.gates, *self.tenant.gates)
        self.counts_contents = any(gate.unit in (Unit.TOKENS, Unit.IMAGES) for gate in self.gates)
        self.told, self.told_until = b"", 0.0
        of_units = [
            (unit, tuple(one for one in self.gates if one.unit is unit))
            for unit in Unit
            if unit is not Unit.COST
        ]
        self.cost_gates = tuple(gate for gate in self.gates if gate.unit is Unit.COST)
        self.limited_units = tuple(
            (unit.replace("_", "-").encode(), gates) for unit, gates in of_units if gates
        )
        counted = tuple(gate for gate in self.gates if gate.unit is Unit.REQUESTS)
        self.advance = Advance(counted)
        self._admitting: Gates = (
            counted,
            tuple(gate for gate in self.gates if gate not in counted),
        )

    def check(self, demand: Demand, now: float) -> None:
        """Refuse a request that the limits do not allow; takes nothing.

        Raises:
            QuotaExceeded, BudgetExceeded: as `Level.check`.
        """
        tenant, key = self.tenant, self.key
        is_shut = tenant.open >= tenant.most_open or key.open >= key.most_open
        for gate in self.gates:
            if gate.is_shut(demand[gate.place], now):
                is_shut = True
        if is_shut:
            self._refuse(demand, now)

    def _refuse(self, demand: Demand, now: float) -> None:
        self.was_refused = True
        self.key.check(demand, now)
        self.tenant.check(demand, now)

    def begin(self, demand: Demand, now: float) -> Gates:
        """Admit a request; gives the gates to `end` it on, whatever changes meanwhile.

        Raises:
            QuotaExceeded, BudgetExceeded: as `check`; nothing was taken then.
        """
        tenant, key = self.tenant, self.key
        counted, settled = gates = self._admitting
        if tenant.open >= tenant.most_open or key.open >= key.most_open:
            self._refuse(demand, now)
        for gate in settled:
            if gate.is_shut(demand[gate.place], now):
                self._refuse(demand, now)
        if counted:
            advance = self.advance
            if advance.left and now < advance.until:
                advance.left -= 1
            elif not advance.count(now):
                self._refuse(demand, now)
        for gate in settled:
            gate.reserve(demand[gate.place], now)
        tenant.open += 1
        key.open += 1
        self.was_refused = False
        return gates

    def end(self, gates: Gates, demand: Demand, use: Use | None, now: float) -> None:
        """An admitted request ended; without `use` it was never tried and pays nothing."""
        self.tenant.open -= 1
        self.key.open -= 1
        counted, settled = gates
        if use is None:
            for gate in counted:
                gate.uncount(1, now)
        for gate in settled:
            used = 0.0 if use is None else use.amount(gate, demand)
            gate.settle(demand[gate.place], used, now)

    def count_refused(self, now: float) -> None:
        """Count a request that was read and then refused for what it is, as one of those made.

        Doors ask before they read the next one: so they read no more than the rate for nothing.
        """
        for gate in self.gates:
            if gate.unit is Unit.REQUESTS:
                gate.settle(0, 1, now)
                self.was_refused = True

    def check_api_request(self, now: float) -> None:
        """Count a request that is no prediction.

        Raises:
            QuotaExceeded: there are too many of them.
        """
        for level in (self.key, self.tenant):
            bucket = level.api_bucket
            wait_s = 0.0 if bucket is None else bucket.wait_s(1, now)
            if wait_s > 0:
                raise QuotaExceeded(
                    f"{level.owner} may send {level.limits.api_requests_per_second:g} requests "
                    f"per second to the API. Try again in {told(wait_s)}.",
                    retry_after_s=wait_s,
                )
        for level in (self.key, self.tenant):
            if level.api_bucket is not None:
                level.api_bucket.take(1, now)

    def allowance(self, unit: Unit, now: float) -> Allowance | None:
        """What is left of a unit by the narrower of the key's and the tenant's limits."""
        self.advance.give_back(now)
        gates = tuple(gate for gate in self.gates if gate.unit is unit)
        return Allowance(*narrowest(gates, now)) if gates else None

    def api_allowance(self, now: float) -> Allowance | None:
        """What is left of requests that are no predictions."""
        buckets = [one.api_bucket for one in (self.key, self.tenant) if one.api_bucket is not None]
        found = [
            Allowance(bucket.burst, max(0.0, bucket.fill(now)), bucket.full_in_s(now))
            for bucket in buckets
        ]
        return min(found, key=lambda one: one.remaining, default=None)


def narrowest(gates: tuple[Gate, ...], now: float) -> tuple[float, float, float]:
    """The fields of an `Allowance` by the gate, of some of one unit, that leaves least."""
    found = gates[0]
    left, limit, period = found.tightest(now)
    if len(gates) == 2:  # the key's and the tenant's
        other = gates[1]
        left_there, limit_there, period_there = other.tightest(now)
        if left_there < left:
            found, left, limit, period = other, left_there, limit_there, period_there
    return limit, left if left > 0 else 0.0, found.whole_in_s(left, limit, period, now)


class Accounts:
    """All accounts of this process. Used on one event loop only.

    Args:
        open_requests: how many requests of one tenant may be open in this process.
        tenant_defaults: the limits of tenants, where nobody said others.
        key_defaults: the limits of keys, where nobody said others.
        clock: gives the time of day.

    Attributes:
        known_use: what was used today and this month, by tenant, key and unit, as of the last
            exchange; where accounts that are made later begin.
        counts_cost: whether anybody's costs are limited.
    """

    def __init__(
        self,
        *,
        open_requests: int = 8192,
        tenant_defaults: QuotaLimits = UNLIMITED,
        key_defaults: QuotaLimits = UNLIMITED,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._open_requests = open_requests
        self._tenant_defaults = tenant_defaults
        self._key_defaults = key_defaults
        self._clock = clock
        self._limits: Mapping[Subject, QuotaLimits] = {}
        self.counts_cost = self._are_costs_limited()
        self.known_use: Mapping[tuple[str, str, str], tuple[float, float]] = {}
        self._tenants: dict[str, Level] = {}
        self._accounts: dict[Subject, Account] = {}

    def of(self, principal: Principal) -> Account:
        """The account of a caller."""
        found = self._accounts.get((principal.tenant_id, principal.key_id))
        return found or self._made(principal.tenant_id, principal.key_id)

    def of_caller(self, tenant_id: str, key_id: str) -> Account:
        """As `of`, by the ids alone."""
        return self._accounts.get((tenant_id, key_id)) or self._made(tenant_id, key_id)

    def _are_costs_limited(self) -> bool:
        limits = (self._tenant_defaults, self._key_defaults, *self._limits.values())
        return any(one.cost_currency is not None for one in limits)

    def tenant(self, tenant_id: str) -> Level:
        """The tenant's level."""
        found = self._tenants.get(tenant_id)
        if found is None:
            found = Level(tenant_id, TENANT_WIDE, self._open_requests, self._clock)
            self._set(found, time.monotonic())
            self._tenants[tenant_id] = found
        return found

    def limits_of(self, tenant_id: str, key_id: str) -> QuotaLimits:
        """The limits of a key, or of a tenant as a whole, defaults included."""
        return self.with_defaults(key_id, self._limits.get((tenant_id, key_id), UNLIMITED))

    def with_defaults(self, key_id: str, limits: QuotaLimits) -> QuotaLimits:
        """Limits that were set, with the defaults of keys or of tenants where none was."""
        return limits.or_else(self._key_defaults if key_id else self._tenant_defaults)

    def change(self, quota: Quota) -> None:
        """Use other limits for one key or tenant."""
        subject = (quota.tenant_id, quota.key_id)
        self.apply({**self._limits, subject: quota.limits})

    def _made(self, tenant_id: str, key_id: str) -> Account:
        key = Level(tenant_id, key_id, math.inf, self._clock)
        self._set(key, time.monotonic())
        account = self._accounts[tenant_id, key_id] = Account(self.tenant(tenant_id), key)
        return account

    def apply(self, limits: Mapping[Subject, QuotaLimits]) -> None:
        """Use these limits from now on, and forget the accounts of which nothing is to be known."""
        if limits == self._limits:  # as nearly always: with many keys the rest takes long
            return
        now = time.monotonic()
        self._limits = limits
        self.counts_cost = self._are_costs_limited()
        for subject, account in list(self._accounts.items()):
            if not (account.key.open or account.gates or subject in limits):
                account.is_forgotten = True
                del self._accounts[subject]
        for level in self.levels():
            self._set(level, now)
        for account in self._accounts.values():
            account.join_gates(now)

    def _set(self, level: Level, now: float) -> None:
        wanted = self.limits_of(level.tenant_id, level.key_id)
        if wanted == level.limits:
            return
        before = set(level.gates)
        level.set(wanted, now)
        for gate in level.gates:
            if gate not in before:
                total = (level.tenant_id, level.key_id, gate.counted_as)
                gate.day, gate.month = self.known_use.get(total, (0.0, 0.0))

    def levels(self) -> Iterator[Level]:
        """Every tenant's and every key's level."""
        yield from self._tenants.values()
        for account in self._accounts.values():
            yield account.key

    def give_back(self) -> None:
        """Let the levels count no more than what came."""
        now = time.monotonic()
        for account in self._accounts.values():
            account.advance.give_back(now)

    def open_requests(self) -> int:
        """How many requests of all tenants are being answered or wait."""
        return sum(tenant.open for tenant in self._tenants.values())
