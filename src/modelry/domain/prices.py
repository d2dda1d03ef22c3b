"""What units of usage cost, in exact decimal arithmetic."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import pairwise

CACHED_TOKENS = "cached_tokens"
INPUT_TOKENS = "input_tokens"
ANY = "*"
_MOST_KNOWN = 10_000


@dataclass(frozen=True, slots=True)
class Price:
    """The price of a number of units.

    `tenant`, `deployment`, `model` and `task` are patterns (`*` and `?`, as in a shell) of what it
    is for; `amount` of `currency` is what `per` units cost, from `valid_from` up to `valid_until`
    (None: for ever). Both times are whole minutes.
    """

    price_id: str
    unit: str
    amount: Decimal
    per: int
    currency: str
    valid_from: datetime
    valid_until: datetime | None
    created_at: datetime
    created_by: str
    tenant: str = ANY
    deployment: str = ANY
    model: str = ANY
    task: str = ANY

    def is_valid_at(self, moment: datetime) -> bool:
        """Whether it holds at a moment."""
        return self.valid_from <= moment and (self.valid_until is None or moment < self.valid_until)

    def is_for(self, use: Use) -> bool:
        """Whether all its patterns match."""
        return (
            fnmatchcase(use.tenant_id, self.tenant)
            and fnmatchcase(use.deployment, self.deployment)
            and fnmatchcase(use.model, self.model)
            and fnmatchcase(use.task, self.task)
        )

    @property
    def rank(self) -> tuple[object, ...]:
        """Of several prices for the same use the one with the greatest rank counts: that of a
        tenant before that of a deployment, a model, a task; then the closer pattern, the later.
        """
        patterns = (self.tenant, self.deployment, self.model, self.task)
        return (
            *(pattern != ANY for pattern in patterns),
            *(_closeness(pattern) for pattern in patterns),
            self.valid_from,
            self.created_at,
            self.price_id,
        )


def _closeness(pattern: str) -> tuple[bool, int]:
    """Names before patterns, and patterns by how much of a name they spell out."""
    literal = pattern.replace("*", "").replace("?", "")
    return len(literal) == len(pattern), len(literal)


@dataclass(frozen=True, slots=True)
class Use:
    """What is paid for: who called which deployment of which model."""

    tenant_id: str
    deployment: str
    model: str
    task: str


class PriceList:
    """All prices, past and to come.

    Args:
        prices: in any order.
    """

    def __init__(self, prices: Iterable[Price] = ()) -> None:
        self.prices = tuple(sorted(prices, key=lambda one: one.rank, reverse=True))
        self._found: dict[tuple[Use, int], Mapping[str, Price]] = {}

    @cached_property
    def changes(self) -> tuple[datetime, ...]:
        """When a price begins or ends, ascending."""
        times = {one.valid_from for one in self.prices}
        times |= {one.valid_until for one in self.prices if one.valid_until is not None}
        return tuple(sorted(times))

    def periods(self, since: datetime, until: datetime) -> Sequence[tuple[datetime, datetime]]:
        """The time from `since` to `until` in parts within which no price changes."""
        bounds = [since, *(one for one in self.changes if since < one < until), until]
        return list(pairwise(bounds))

    def of(self, use: Use, at: datetime) -> Mapping[str, Price]:
        """The price of each unit for `use` at a moment, by unit; found once, then known."""
        key = (use, bisect_right(self.changes, at))
        known = self._found.get(key)
        if known is None:
            if len(self._found) >= _MOST_KNOWN:
                self._found.clear()
            known = self._found[key] = self._find(use, at)
        return known

    def _find(self, use: Use, at: datetime) -> Mapping[str, Price]:
        found: dict[str, Price] = {}
        for price in self.prices:
            if price.unit not in found and price.is_valid_at(at) and price.is_for(use):
                found[price.unit] = price
        return found

    def cost(self, use: Use, units: Mapping[str, int], at: datetime) -> dict[str, Decimal]:
        """What units cost that were used at a moment, by currency.

        Input tokens that were taken from a cache are counted in `input_tokens` as well; where
        `cached_tokens` have a price of their own they cost that instead.
        """
        prices = self.of(use, at)
        costs: dict[str, Decimal] = {}
        for unit, price in prices.items():
            count = units.get(unit, 0)
            if unit == INPUT_TOKENS and CACHED_TOKENS in prices:
                count = max(0, count - units.get(CACHED_TOKENS, 0))
            if count:
                cost = price.amount * count / price.per
                costs[price.currency] = costs.get(price.currency, Decimal(0)) + cost
        return costs
