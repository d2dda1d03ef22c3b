"""A token bucket."""

from __future__ import annotations

_ROUNDING = 1e-9
"""Relative; so that who waits as long as it was told to is admitted."""


class TokenBucket:
    """Fills with `rate` per second up to `burst`; may go into debt when more was used than asked.

    Admits at most `rate` * t + `burst` in any t seconds. A clock that goes backwards fills nothing
    until it has caught up.

    Args:
        rate: per second, above 0.
        burst: the most that it holds, above 0.
        now: seconds of any clock; the bucket is full then.
    """

    __slots__ = ("burst", "level", "rate", "stamp")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self.level = burst
        self.stamp = now

    def fill(self, now: float) -> float:
        """What is in it at `now`; below 0 is debt."""
        elapsed = now - self.stamp
        if elapsed > 0:
            self.stamp = now
            level = self.level + elapsed * self.rate
            if level > self.burst:  # noqa: PLR1730 - `min` is slower
                level = self.burst
            self.level = level
            return level
        return self.level

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until `amount` (at most a full bucket) can be taken, 0.0 if it can be now."""
        if self.level >= amount:  # it only fills with time
            return 0.0
        level = self.fill(now)
        if self.is_enough(level, amount):
            return 0.0
        return (min(amount, self.burst) - level) / self.rate

    def is_enough(self, level: float, amount: float) -> bool:
        """Whether `amount` (at most a full bucket) can be taken at `level`, but for rounding."""
        return min(amount, self.burst) - level <= self.burst * _ROUNDING

    def take(self, amount: float, now: float) -> None:
        """Take `amount`, whether it is there or not; a negative amount is given back."""
        level = self.fill(now) - amount
        self.level = min(self.burst, level)

    def spend(self, amount: float, now: float) -> None:
        """As `take`, quicker, of an amount above 0."""
        level = self.level
        elapsed = now - self.stamp
        if elapsed > 0:
            self.stamp = now
            level += elapsed * self.rate
            level = min(level, self.burst)
        self.level = level - amount

    def full_in_s(self, now: float) -> float:
        """Seconds until it is full."""
        return max(0.0, (self.burst - self.fill(now)) / self.rate)

    def resized(self, rate: float, burst: float, now: float) -> TokenBucket:
        """A bucket with other bounds, as empty as this one."""
        other = TokenBucket(rate, burst, now)
        other.level = min(burst, self.fill(now) - self.burst + burst)
        return other
