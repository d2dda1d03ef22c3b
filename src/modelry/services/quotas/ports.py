"""What quotas need from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple, Protocol, TypeVar

from modelry.domain.prices import Use
from modelry.domain.quotas import Quota

T = TypeVar("T")
Subject = tuple[str, str]
"""Tenant id, and key id or `TENANT_WIDE`."""


class UseKey(NamedTuple):
    """What use is added up by: somebody, a unit, a day of UTC."""

    tenant_id: str
    key_id: str
    unit: str
    day: date


@dataclass(frozen=True, slots=True)
class Report:
    """What a gateway tells the others: what was used since its last report, and what is open."""

    gateway_id: str
    at: datetime
    used: Mapping[UseKey, float]
    open: Mapping[Subject, int]
    announces: bool
    """Whether the others shall know that this gateway lives, even if it has nothing to tell."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What all gateways together know.

    `used` has yesterday and today, everybody's; `open` is what the other gateways have; `gateways`
    is how many there are, the asking one included.
    """

    quotas: tuple[Quota, ...]
    used: Mapping[UseKey, float]
    open: Mapping[Subject, int]
    gateways: int


class Prices(Protocol):
    """What things cost; `cost` and `currencies` read memory only."""

    def cost(
        self, use: Use, units: Mapping[str, int], at: datetime | None = None
    ) -> Mapping[str, Decimal]:
        """What units cost that were used at a moment (None: now), by currency."""
        ...

    def currencies(self, use: Use) -> frozenset[str]:
        """The currencies of the prices for `use` now that are not nothing."""
        ...

    def currencies_for(self, tenant_id: str) -> frozenset[str]:
        """Those of the prices that a tenant may have to pay now or later, as they are kept."""
        ...


class QuotaRecords(Protocol):
    """The limits of one tenant, inside one transaction."""

    def has_tenant(self) -> bool:
        """Whether the tenant exists."""
        ...

    def has_key(self, key_id: str) -> bool:
        """Whether the tenant has an API key, or a member, that calls under this id."""
        ...

    def find(self, key_id: str) -> Quota | None:
        """The limits of a key, or of the tenant."""
        ...

    def all(self) -> list[Quota]:
        """All limits that were set, the tenant's first, then by key."""
        ...

    def put(self, quota: Quota, changed_by: str, at: datetime) -> None:
        """Keep limits in place of those before."""
        ...

    def delete(self, key_id: str) -> None:
        """Forget limits; nothing happens if there are none."""
        ...


class QuotaStore(Protocol):
    """Keeps limits, and what the gateways tell each other."""

    def read(self, tenant_id: str, work: Callable[[QuotaRecords], T]) -> T:
        """The result of `work` on a consistent view of a tenant's limits."""
        ...

    def write(self, tenant_id: str, work: Callable[[QuotaRecords], T]) -> T:
        """The result of `work`, whose changes are kept if it returns."""
        ...

    def exchange(self, report: Report) -> Picture:
        """Add a gateway's report to what is kept, and tell what all know then.

        What is told of tenants that do not exist any more is dropped.
        """
        ...

    def month_use(self, first: date, until: date) -> dict[tuple[str, str, str], float]:
        """Sums by tenant, key and unit over the days from `first` up to (excluding) `until`."""
        ...

    def forget(self, day: date, seen_before: datetime) -> None:
        """Drop use of days before `day`, and gateways that told nothing since `seen_before`."""
        ...
