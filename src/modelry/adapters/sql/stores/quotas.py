"""The quota store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import date, datetime, timedelta
from typing import TypeVar

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from modelry.adapters.sql.tables import (
    ApiKeyRow,
    GatewayRow,
    MemberRow,
    QuotaLimitsRow,
    QuotaOpenRow,
    QuotaUseRow,
    TenantRow,
)
from modelry.adapters.sql.transactions import Transactions
from modelry.domain.quotas import Quota, QuotaLimits
from modelry.services.quotas.exchange import GATEWAY_LIFE_S
from modelry.services.quotas.ports import Picture, QuotaRecords, Report, UseKey

T = TypeVar("T")
_PERSON = "user:"


class SqlQuotaStore:
    """Implements `QuotaStore`."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def read(self, tenant_id: str, work: Callable[[QuotaRecords], T]) -> T:
        """See `QuotaStore.read`."""
        return self._transactions.read(
            tenant_id, lambda session: work(_Records(session, tenant_id))
        )

    def write(self, tenant_id: str, work: Callable[[QuotaRecords], T]) -> T:
        """See `QuotaStore.write`."""
        return self._transactions.write(
            tenant_id, lambda session: work(_Records(session, tenant_id))
        )

    def exchange(self, report: Report) -> Picture:
        """See `QuotaStore.exchange`."""
        alive = report.at - timedelta(seconds=GATEWAY_LIFE_S)

        def tell(session: Session) -> None:
            gateway = session.get(GatewayRow, report.gateway_id)
            if gateway is None:
                session.add(GatewayRow(gateway_id=report.gateway_id, seen_at=report.at))
            else:
                gateway.seen_at = report.at
            tenants = set(session.scalars(select(TenantRow.tenant_id)))
            for key in sorted(report.used):  # in order: no deadlocks among gateways
                if key.tenant_id in tenants:
                    _add(session, key, report.used[key])
            for (tenant_id, key_id), count in sorted(report.open.items()):
                if tenant_id in tenants:
                    session.merge(
                        QuotaOpenRow(
                            tenant_id=tenant_id,
                            key_id=key_id,
                            gateway_id=report.gateway_id,
                            open=count,
                        )
                    )

        def hear(session: Session) -> Picture:
            gateways = set(
                session.scalars(select(GatewayRow.gateway_id).where(GatewayRow.seen_at >= alive))
            )
            used = select(QuotaUseRow).where(
                QuotaUseRow.day >= report.at.date() - timedelta(days=1)
            )
            open_: dict[tuple[str, str], int] = {}
            for row in session.scalars(select(QuotaOpenRow).where(QuotaOpenRow.open > 0)):
                if row.gateway_id in gateways and row.gateway_id != report.gateway_id:
                    subject = (row.tenant_id, row.key_id)
                    open_[subject] = open_.get(subject, 0) + row.open
            return Picture(
                quotas=tuple(_quota(row) for row in session.scalars(select(QuotaLimitsRow))),
                used={
                    UseKey(row.tenant_id, row.key_id, row.unit, row.day): row.amount
                    for row in session.scalars(used)
                },
                open=open_,
                gateways=max(1, len(gateways)),
            )

        # two transactions: one that reads what others write would have to be tried again and again
        if report.used or report.open or report.announces:
            self._transactions.write_all_tenants("tell what was used", tell)
        return self._transactions.read_all_tenants("hear what was used", hear)

    def month_use(self, first: date, until: date) -> dict[tuple[str, str, str], float]:
        """See `QuotaStore.month_use`."""
        columns = (QuotaUseRow.tenant_id, QuotaUseRow.key_id, QuotaUseRow.unit)
        query = (
            select(*columns, func.sum(QuotaUseRow.amount))
            .where(QuotaUseRow.day >= first, QuotaUseRow.day < until)
            .group_by(*columns)
        )

        def work(session: Session) -> dict[tuple[str, str, str], float]:
            return {(row[0], row[1], row[2]): float(row[3]) for row in session.execute(query)}

        return self._transactions.read_all_tenants("add up the month", work)

    def forget(self, day: date, seen_before: datetime) -> None:
        """See `QuotaStore.forget`."""

        def work(session: Session) -> None:
            session.execute(delete(QuotaUseRow).where(QuotaUseRow.day < day))
            ended = select(GatewayRow.gateway_id).where(GatewayRow.seen_at < seen_before)
            session.execute(delete(QuotaOpenRow).where(QuotaOpenRow.gateway_id.in_(ended)))
            session.execute(delete(GatewayRow).where(GatewayRow.seen_at < seen_before))

        self._transactions.write_all_tenants("forget old use", work)


def _add(session: Session, key: UseKey, amount: float) -> None:
    """Add in the database: a gateway that does the same must not be overwritten."""
    changed = session.execute(
        update(QuotaUseRow)
        .where(
            QuotaUseRow.tenant_id == key.tenant_id,
            QuotaUseRow.key_id == key.key_id,
            QuotaUseRow.unit == key.unit,
            QuotaUseRow.day == key.day,
        )
        .values(amount=QuotaUseRow.amount + amount)
    )
    if changed.rowcount == 0:  # type: ignore[attr-defined] # results of updates have it
        session.add(QuotaUseRow(**key._asdict(), amount=amount))
        session.flush()


def _quota(row: QuotaLimitsRow) -> Quota:
    return Quota(row.tenant_id, row.key_id, QuotaLimits(**row.limits))


class _Records:
    def __init__(self, session: Session, tenant_id: str) -> None:
        self._session = session
        self._tenant_id = tenant_id

    def has_tenant(self) -> bool:
        return self._session.get(TenantRow, self._tenant_id) is not None

    def has_key(self, key_id: str) -> bool:
        if key_id.startswith(_PERSON):
            member = (self._tenant_id, key_id.removeprefix(_PERSON))
            return self._session.get(MemberRow, member) is not None
        return self._session.get(ApiKeyRow, (self._tenant_id, key_id)) is not None

    def find(self, key_id: str) -> Quota | None:
        row = self._session.get(QuotaLimitsRow, (self._tenant_id, key_id))
        return None if row is None else _quota(row)

    def all(self) -> list[Quota]:
        query = select(QuotaLimitsRow).order_by(QuotaLimitsRow.key_id)
        return [_quota(row) for row in self._session.scalars(query)]

    def put(self, quota: Quota, changed_by: str, at: datetime) -> None:
        limits = {name: value for name, value in asdict(quota.limits).items() if value is not None}
        self._session.merge(
            QuotaLimitsRow(
                tenant_id=quota.tenant_id,
                key_id=quota.key_id,
                limits=limits,
                changed_at=at,
                changed_by=changed_by,
            )
        )
        self._session.flush()

    def delete(self, key_id: str) -> None:
        self._session.execute(delete(QuotaLimitsRow).where(QuotaLimitsRow.key_id == key_id))
