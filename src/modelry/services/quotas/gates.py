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
_ANY = 1e-6
"""What must be left of a unit whose use is known only when the request has ended."""


class Unit(StrEnum):
    """What is counted."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    IMAGES = "images"
    ENGINE_SECONDS = "engine_seconds"


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
    per_minute: float | None = getattr(limits, f"{unit}_per_minute")
    if per_minute is None:
        return None
    return Rate(per_minute / 60, per_minute, f"{per_minute:g} {_spoken(unit)} per minute")


class Gate:
    """Says whether some of a unit may be used, and counts what is.

    `day` and `month` are what was used in them by all gateways, as far as known here; `pending`
    is the part that the others have not been told of yet; `reserved` is what open requests may
    still use.
    """

    __slots__ = ("_budgets", "_clock", "bucket", "day", "month", "pending", "reserved", "unit")

    def __init__(self, unit: Unit, clock: Callable[[], datetime]) -> None:
        self.unit = unit
        self.bucket: TokenBucket | None = None
        self.pending = self.reserved = self.day = self.month = 0.0
        self._budgets: dict[str, float] = {}
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
        budgets = {period: getattr(limits, f"{self.unit}_per_{period}") for period in (DAY, MONTH)}
        self._budgets = {period: size for period, size in budgets.items() if size is not None}
        return rate is not None or bool(self._budgets)

    def refusal(self, amount: float, limits: QuotaLimits, now: float) -> Refusal | None:
        """Why `amount` may not be used now, None if it may."""
        if self.unit is Unit.ENGINE_SECONDS:
            amount = _ANY
        elif amount == 0:
            return None
        for period, size in self._budgets.items():
            if self._used(period) + self.reserved + amount > size:
                words = f"{size:g} {_spoken(self.unit)} per {period}"
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
                self.bucket.take(amount, now)

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

    def allowance(self, now: float) -> Allowance | None:
        """The bound that leaves least, None if the unit is unlimited."""
        least: Allowance | None = None
        bucket = self.bucket
        if bucket is not None:
            left = max(0.0, bucket.fill(now))
            least = Allowance(bucket.burst, left, (bucket.burst - bucket.level) / bucket.rate)
        for period, size in self._budgets.items():
            left = max(0.0, size - self._used(period) - self.reserved)
            if least is None or left < least.remaining:
                least = Allowance(size, left, self._to_next(period))
        return least

    def _used(self, period: str) -> float:
        return self.day if period == DAY else self.month

    def _to_next(self, period: str) -> float:
        now = self._clock()
        return seconds_to_next_day(now) if period == DAY else seconds_to_next_month(now)


def _spoken(unit: Unit) -> str:
    return unit.replace("_", " ")
