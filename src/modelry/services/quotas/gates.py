"""One unit of one key's or tenant's limits: its bucket and its budgets."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from modelry.domain.quotas import QuotaLimits
from modelry.services.quotas.buckets import TokenBucket
from modelry.services.quotas.periods import seconds_to_next_day, seconds_to_next_month

DAY, MONTH = "day", "month"
_UNBOUNDED = math.inf
_ANY = 1e-6
"""What must be left of a unit whose use is known only when the request has ended."""


class Unit(StrEnum):
    """What is counted."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    IMAGES = "images"
    ENGINE_SECONDS = "engine_seconds"
    COST = "cost"
    EXPLANATIONS = "explanations"


_KNOWN_AT_THE_END = frozenset({Unit.ENGINE_SECONDS, Unit.COST})


class Demand(NamedTuple):
    """What a request will use at most, as far as that is known before; in the order of `Unit`."""

    requests: int = 1
    tokens: int = 0
    images: int = 0
    engine_seconds: int = 0
    cost: int = 0
    explanations: int = 0


NOTHING = Demand()


class Rate(NamedTuple):
    """How a bucket fills and how much it holds."""

    per_second: float
    burst: float
    words: str


class Refusal(NamedTuple):
    """Why a gate is shut, and for how long."""

    retry_after_s: float
    limit: str
    is_budget: bool


class Allowance(NamedTuple):
    """The narrowest bound of a unit: its size, what is left, and when it is whole again."""

    limit: float
    remaining: float
    reset_s: float


def rate_of(limits: QuotaLimits, unit: Unit) -> Rate | None:
    """The rate that `limits` set for `unit`."""
    if unit is Unit.REQUESTS:
        rate = limits.requests_per_second
        if rate is None:
            return None
        burst = limits.request_burst or max(1, math.ceil(rate))
        return Rate(rate, burst, f"{rate:g} requests per second (at most {burst} at once)")
    per_minute: float | None = getattr(limits, f"{unit}_per_minute", None)
    if per_minute is None:
        return None
    return Rate(per_minute / 60, per_minute, f"{per_minute:g} {_spoken(unit)} per minute")


def counted_as(unit: Unit, limits: QuotaLimits) -> str:
    """What gateways call a unit when they tell each other of it; each currency is one by itself."""
    return f"{unit}:{limits.cost_currency}" if unit is Unit.COST else unit.value


class Gate:
    """Says whether some of a unit may be used, and counts what is.

    `day` and `month` are what was used in them by all gateways, as far as known here; `pending`
    is the part that the others have not been told of yet; `reserved` is what open requests may
    still use. `currency` is that of a gate for costs, which is settled when a request is metered.
    """

    __slots__ = (
        "_clock",
        "_day_limit",
        "_ends",
        "_has_budget",
        "_month_limit",
        "bucket",
        "counted_as",
        "currency",
        "day",
        "month",
        "pending",
        "place",
        "reserved",
        "unit",
    )

    def __init__(self, unit: Unit, clock: Callable[[], datetime], limits: QuotaLimits) -> None:
        self.unit = unit
        self.counted_as = counted_as(unit, limits)
        self.currency = (limits.cost_currency or "") if unit is Unit.COST else ""
        self.bucket: TokenBucket | None = None
        self.pending = self.reserved = self.day = self.month = 0.0
        self.place = Demand._fields.index(unit.value)
        self._day_limit = self._month_limit = math.inf
        self._has_budget = False
        self._ends = (-math.inf, 0.0, 0.0)
        self._clock = clock

    def set(self, limits: QuotaLimits, now: float) -> bool:
        """Take over what `limits` say; whether they say anything of this unit."""
        rate = rate_of(limits, self.unit)
        if rate is None:
            self.bucket = None
        elif self.bucket is None:
            self.bucket = TokenBucket(rate.per_second, rate.burst, now)
        elif (self.bucket.rate, self.bucket.burst) != rate[:2]:
            self.bucket = self.bucket.resized(rate.per_second, rate.burst, now)
        day: float | None = getattr(limits, f"{self.unit}_per_{DAY}")
        month: float | None = getattr(limits, f"{self.unit}_per_{MONTH}")
        self._day_limit = math.inf if day is None else day
        self._month_limit = math.inf if month is None else month
        self._has_budget = day is not None or month is not None
        return rate is not None or day is not None or month is not None

    def is_shut(self, amount: float, now: float) -> bool:
        """Whether `amount` may not be used now; quicker than to ask why."""
        if amount == 0:
            if self.unit not in _KNOWN_AT_THE_END:
                return False
            amount = _ANY
        reserved = self.reserved + amount
        if self.day + reserved > self._day_limit or self.month + reserved > self._month_limit:
            return True
        bucket = self.bucket
        return bucket is not None and bucket.level < amount and bucket.wait_s(amount, now) > 0

    def refusal(self, amount: float, limits: QuotaLimits, now: float) -> Refusal | None:
        """Why `amount` may not be used now, None if it may."""
        if self.unit in _KNOWN_AT_THE_END:
            amount = _ANY
        elif amount == 0:
            return None
        for period, used, size in self._budgets():
            if used + self.reserved + amount > size:
                words = f"{size:.12g} {self.currency or _spoken(self.unit)} per {period}"
                return Refusal(self._to_next(period), words, is_budget=True)
        if self.bucket is not None:
            wait_s = self.bucket.wait_s(amount, now)
            if wait_s > 0:
                rate = rate_of(limits, self.unit)
                return Refusal(wait_s, rate.words if rate else "", is_budget=False)
        return None

    def reserve(self, amount: float, now: float) -> None:
        """Take `amount` for a request that was admitted."""
        if amount:
            self.reserved += amount
            if self.bucket is not None:
                self.bucket.spend(amount, now)

    def count_one(self, now: float) -> bool:
        """Use 1 for good, if `is_shut` does not forbid it, and say whether; reserves nothing."""
        day, month = self.day + 1, self.month + 1
        if day > self._day_limit or month > self._month_limit:
            return False
        bucket = self.bucket
        if bucket is not None:  # as its `wait_s` and `spend`, which take three times as long
            level = bucket.level
            elapsed = now - bucket.stamp
            if elapsed > 0:
                bucket.stamp = now
                level += elapsed * bucket.rate
                if level > bucket.burst:  # noqa: PLR1730 - `min` is slower
                    level = bucket.burst
            if level < 1 and not bucket.is_enough(level, 1):
                bucket.level = level
                return False
            bucket.level = level - 1
        self.day = day
        self.month = month
        self.pending += 1
        return True

    def uncount(self, amount: int, now: float) -> None:
        """As if `count_one` had been called `amount` times less; more often where that is < 0."""
        self.day -= amount
        self.month -= amount
        self.pending -= amount
        if self.bucket is not None:
            self.bucket.take(-amount, now)

    def settle(self, reserved: float, used: float, now: float) -> None:
        """A request ended that `reserved` was taken for; it used `used`."""
        self.reserved -= reserved
        self.pending += used
        self.day += used
        self.month += used
        if self.bucket is not None and used != reserved:
            self.bucket.take(used - reserved, now)

    def used_elsewhere(self, amount: float, now: float) -> None:
        """Other gateways used `amount`."""
        if self.bucket is not None:
            self.bucket.take(amount, now)

    def tightest(self, now: float) -> tuple[float, float, str]:
        """The bound that leaves least: what it leaves, its size, and the period of a budget.

        Without a bound both numbers are infinite.
        """
        left = limit = _UNBOUNDED
        period = ""
        bucket = self.bucket
        if bucket is not None:
            limit = bucket.burst
            left = bucket.level if bucket.level == limit else bucket.fill(now)
        if self._has_budget:
            left_today = self._day_limit - self.day - self.reserved
            if left_today < left:
                left, limit, period = left_today, self._day_limit, DAY
            left_this_month = self._month_limit - self.month - self.reserved
            if left_this_month < left:
                left, limit, period = left_this_month, self._month_limit, MONTH
        return left, limit, period

    def whole_in_s(self, left: float, limit: float, period: str, now: float) -> float:
        """When a bound that `tightest` told is whole again, in seconds from now."""
        if period:
            return self._soon_to_next(period, now)
        return 0.0 if self.bucket is None else (limit - left) / self.bucket.rate

    def allowance(self, now: float) -> Allowance | None:
        """What is left by the bound that leaves least, None if the unit is unlimited."""
        left, limit, period = self.tightest(now)
        if limit == math.inf:
            return None
        return Allowance(limit, max(0.0, left), self.whole_in_s(left, limit, period, now))

    def _soon_to_next(self, period: str, now: float) -> float:
        """As `_to_next`, by a look at the clock that is less than a second old."""
        ends = self._ends
        if not 0 <= now - ends[0] < 1:
            ends = self._ends = (now, now + self._to_next(DAY), now + self._to_next(MONTH))
        left_s = ends[1 if period == DAY else 2] - now
        return left_s if left_s > 0 else 0.0

    def _budgets(self) -> tuple[tuple[str, float, float], ...]:
        return (DAY, self.day, self._day_limit), (MONTH, self.month, self._month_limit)

    def _to_next(self, period: str) -> float:
        now = self._clock()
        return seconds_to_next_day(now) if period == DAY else seconds_to_next_month(now)


def _spoken(unit: Unit) -> str:
    return unit.replace("_", " ")
