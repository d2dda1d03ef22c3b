"""A `QuotaStore` in memory."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from modelry.domain.quotas import Quota
from modelry.services.quotas.exchange import GATEWAY_LIFE_S
from modelry.services.quotas.ports import Picture, QuotaRecords, Report, Subject, UseKey

if TYPE_CHECKING:
    from modelry.testing.memory_database import MemoryDatabase
    from modelry.testing.memory_state import TenantState

T = TypeVar("T")


class MemoryQuotaStore:
    """A `QuotaStore`; what gateways tell each other is not part of any tenant's state."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self._used: dict[UseKey, float] = {}
        self._open: dict[tuple[Subject, str], int] = {}
        self._seen: dict[str, datetime] = {}

    def read(self, tenant_id: str, work: Callable[[QuotaRecords], T]) -> T:
        """See `QuotaStore.read`."""
        return self.write(tenant_id, work)

    def write(self, tenant_id: str, work: Callable[[QuotaRecords], T]) -> T:
        """See `QuotaStore.write`."""
        return self._database.transact(tenant_id, lambda state: work(_Records(state)))

    def exchange(self, report: Report) -> Picture:
        """See `QuotaStore.exchange`."""
        states = self._database.states()
        if report.used or report.open or report.announces:
            self._seen[report.gateway_id] = report.at
        for key, amount in report.used.items():
            if key.tenant_id in states:
                self._used[key] = self._used.get(key, 0.0) + amount
        for subject, count in report.open.items():
            if subject[0] in states:
                self._open[subject, report.gateway_id] = count
        alive = {
            gateway
            for gateway, seen_at in self._seen.items()
            if seen_at >= report.at - timedelta(seconds=GATEWAY_LIFE_S)
        }
        elsewhere: dict[Subject, int] = {}
        for (subject, gateway), count in self._open.items():
            if count and gateway in alive - {report.gateway_id}:
                elsewhere[subject] = elsewhere.get(subject, 0) + count
        since = report.at.date() - timedelta(days=1)
        return Picture(
            quotas=tuple(one for state in states.values() for one in state.quotas.values()),
            used={key: amount for key, amount in self._used.items() if key.day >= since},
            open=elsewhere,
            gateways=max(1, len(alive)),
        )

    def month_use(self, first: date, until: date) -> dict[tuple[str, str, str], float]:
        """See `QuotaStore.month_use`."""
        sums: dict[tuple[str, str, str], float] = {}
        for key, amount in self._used.items():
            if first <= key.day < until:
                sums[key[:3]] = sums.get(key[:3], 0.0) + amount
        return sums

    def forget(self, day: date, seen_before: datetime) -> None:
        """See `QuotaStore.forget`."""
        self._used = {key: amount for key, amount in self._used.items() if key.day >= day}
        self._seen = {one: at for one, at in self._seen.items() if at >= seen_before}
        self._open = {key: count for key, count in self._open.items() if key[1] in self._seen}


class _Records:
    def __init__(self, state: TenantState) -> None:
        self._state = state

    def has_tenant(self) -> bool:
        return self._state.tenant is not None

    def has_key(self, key_id: str) -> bool:
        return key_id in self._state.keys or key_id.removeprefix("user:") in self._state.members

    def find(self, key_id: str) -> Quota | None:
        return self._state.quotas.get(key_id)

    def all(self) -> list[Quota]:
        return [self._state.quotas[key_id] for key_id in sorted(self._state.quotas)]

    def put(self, quota: Quota, changed_by: str, at: datetime) -> None:
        del changed_by, at
        self._state.quotas[quota.key_id] = quota

    def delete(self, key_id: str) -> None:
        self._state.quotas.pop(key_id, None)
