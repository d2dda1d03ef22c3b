"""Days and months of budgets, in UTC."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


def first_of_month(day: date) -> date:
    """The first day of the month of `day`."""
    return day.replace(day=1)


def seconds_to_next_day(now: datetime) -> float:
    """Seconds until the next day begins."""
    return _seconds_to(now.date() + timedelta(days=1), now)


def seconds_to_next_month(now: datetime) -> float:
    """Seconds until the next month begins."""
    return _seconds_to(first_of_month(first_of_month(now.date()) + timedelta(days=32)), now)


def _seconds_to(day: date, now: datetime) -> float:
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return (begin - now).total_seconds()


def told(seconds: float) -> str:
    """A wait as a person reads it: `0.86 s`, `42 s`, `12 min`, `7.5 h`, `19 days`."""
    for size, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds:.3g} s"
