"""How much a tenant, or one of its keys, may use."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from modelry.domain.errors import InvalidInput

TENANT_WIDE = ""
"""Stands where the id of a key would: the limits of the whole tenant."""


@dataclass(frozen=True, slots=True)
class QuotaLimits:
    """Upper bounds; None is unlimited.

    Rates are token buckets: `requests_per_second` fills one of `request_burst` requests (by
    default what a second fills, at least one); the others fill one of a minute's worth. Tokens
    are those that go in and come out. Engine seconds are the time that a replica worked, shared
    among the requests that it worked on at once. Explanations tell more of a model than answers
    do, so that they have limits of their own. Days and months are those of UTC.

    What requests cost by the platform's prices is counted in `cost_currency` alone; the three
    limits of cost go together.

    `api_requests_per_second` bounds everything that is no prediction. `storage_bytes` and
    `weight`, the tenant's part when requests of several wait, are a tenant's alone.
    """

    requests_per_second: float | None = None
    request_burst: int | None = None
    tokens_per_minute: int | None = None
    images_per_minute: int | None = None
    engine_seconds_per_minute: float | None = None
    concurrent_requests: int | None = None
    requests_per_day: int | None = None
    requests_per_month: int | None = None
    tokens_per_day: int | None = None
    tokens_per_month: int | None = None
    images_per_day: int | None = None
    images_per_month: int | None = None
    engine_seconds_per_day: float | None = None
    engine_seconds_per_month: float | None = None
    explanations_per_minute: int | None = None
    explanations_per_day: int | None = None
    explanations_per_month: int | None = None
    cost_per_day: float | None = None
    cost_per_month: float | None = None
    cost_currency: str | None = None
    api_requests_per_second: float | None = None
    storage_bytes: int | None = None
    weight: float | None = None

    def set_values(self) -> dict[str, float | str]:
        """The limits that are set, by name."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def or_else(self, defaults: QuotaLimits) -> QuotaLimits:
        """These limits, and `defaults` where none is set."""
        if self.cost_currency is not None:  # a size in another currency would be another limit
            defaults = replace(defaults, cost_per_day=None, cost_per_month=None)
        return replace(defaults, **self.set_values())  # type: ignore[arg-type] # own field names

    def beyond(self, outer: QuotaLimits) -> list[str]:
        """Names of limits that allow more than `outer` does."""
        return [
            name
            for name, value in self.set_values().items()
            if isinstance(value, int | float) and value > _bound(outer, name)
        ]


def _bound(limits: QuotaLimits, name: str) -> float:
    value: float | None = getattr(limits, name)
    return math.inf if value is None else value


UNLIMITED = QuotaLimits()
TENANT_ONLY = frozenset({"storage_bytes", "weight"})
CURRENCY = "cost_currency"
_CURRENCY = re.compile(r"[A-Z]{3}")
LIMIT_NAMES = tuple(one.name for one in fields(QuotaLimits))


@dataclass(frozen=True, slots=True)
class Quota:
    """The limits that somebody set, of one key or (`key_id` is `TENANT_WIDE`) of a tenant."""

    tenant_id: str
    key_id: str
    limits: QuotaLimits


def check_limits(values: Mapping[str, object], *, for_key: bool) -> QuotaLimits:
    """Limits from names and numbers as they were given; None is the same as not given.

    Raises:
        InvalidInput: an unknown name, or a value that is no positive number of its kind.
    """
    given = {name: value for name, value in values.items() if value is not None}
    for name, value in given.items():
        if name not in LIMIT_NAMES:
            raise InvalidInput(
                f"There is no limit '{name[:80]}'; there are: {', '.join(LIMIT_NAMES)}.",
                param=name[:80],
            )
        if for_key and name in TENANT_ONLY:
            raise InvalidInput(f"'{name}' is set for a tenant, not for a key.", param=name)
        if name != CURRENCY:
            _check_number(name, value)
    limits = QuotaLimits(**given)  # type: ignore[arg-type] # checked above
    if limits.request_burst is not None and limits.requests_per_second is None:
        raise InvalidInput(
            "'request_burst' goes with 'requests_per_second'; give both.", param="request_burst"
        )
    _check_currency(limits)
    return limits


def _check_currency(limits: QuotaLimits) -> None:
    has_size = limits.cost_per_day is not None or limits.cost_per_month is not None
    currency: object = limits.cost_currency  # from outside: of whatever type
    if currency is None and not has_size:
        return
    if not isinstance(currency, str) or not _CURRENCY.fullmatch(currency) or not has_size:
        raise InvalidInput(
            "'cost_per_day' and 'cost_per_month' go with 'cost_currency', three capital letters "
            "such as EUR; give it and at least one of them.",
            param=CURRENCY,
        )


def _check_number(name: str, value: object) -> None:
    kinds = (int, float) if name in _FRACTIONAL else (int,)
    is_number = isinstance(value, kinds) and not isinstance(value, bool)
    if not is_number or not MIN_LIMIT <= value <= MAX_LIMIT:  # type: ignore[operator] # a number
        kind = "a number" if name in _FRACTIONAL else "a whole number"
        raise InvalidInput(
            f"'{name}' must be {kind} above 0 and at most {MAX_LIMIT}; "
            f"{str(value)[:40]!r} was passed. Leave it out for no limit.",
            param=name,
        )


MIN_LIMIT = 0.001
MAX_LIMIT = 10**15
_FRACTIONAL = frozenset(
    {
        "requests_per_second",
        "api_requests_per_second",
        "engine_seconds_per_minute",
        "engine_seconds_per_day",
        "engine_seconds_per_month",
        "cost_per_day",
        "cost_per_month",
        "weight",
    }
)
