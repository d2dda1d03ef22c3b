"""The usage store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, inspect, select
from sqlalchemy.orm import Session

from modelry.adapters.sql.tables import TenantRow, UsageRow
from modelry.adapters.sql.transactions import Transactions
from modelry.services.usage.ports import UsageAmount, UsageGroup, UsageTotal

_KEY = tuple(column.name for column in inspect(UsageRow).primary_key)


class SqlUsageStore:
    """Implements `UsageStore`."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def add_many(self, amounts: Sequence[UsageAmount]) -> None:
        """See `UsageStore.add_many`."""

        def work(session: Session) -> None:
            tenants = set(session.scalars(select(TenantRow.tenant_id)))
            sums: Counter[tuple[Any, ...]] = Counter()
            for amount in amounts:
                # a tenant deleted since has nobody to bill
                if amount.tenant_id in tenants:
                    sums[tuple(getattr(amount, name) for name in _KEY)] += amount.amount
            for key, total in sums.items():
                _add(session, key, total)

        self._transactions.write_all_tenants("flush usage", work)

    def totals(
        self, tenant_id: str, since: datetime, until: datetime, group_by: Sequence[UsageGroup]
    ) -> list[UsageTotal]:
        """See `UsageStore.totals`."""
        columns = [getattr(UsageRow, group.value) for group in group_by]
        query = (
            select(*columns, UsageRow.unit, func.sum(UsageRow.amount))
            .where(UsageRow.minute >= since, UsageRow.minute < until)
            .group_by(*columns, UsageRow.unit)
            .order_by(*columns, UsageRow.unit)
        )

        def work(session: Session) -> list[UsageTotal]:
            units: dict[tuple[str, ...], dict[str, int]] = {}
            for *group, unit, amount in session.execute(query):
                units.setdefault(tuple(map(_word, group)), {})[unit] = int(amount)
            names = [group.value for group in group_by]
            return [
                UsageTotal(dict(zip(names, group, strict=True)), sums)
                for group, sums in units.items()
            ]

        return self._transactions.read(tenant_id, work)


def _add(session: Session, key: tuple[Any, ...], amount: int) -> None:
    row = session.get(UsageRow, key)
    if row is None:
        session.add(UsageRow(**dict(zip(_KEY, key, strict=True)), amount=amount))
    else:
        row.amount += amount


def _word(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
