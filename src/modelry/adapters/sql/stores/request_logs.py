"""The store of request logs and of what is kept how long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, or_, select
from sqlalchemy.orm import Session, defer

from modelry.adapters.sql.tables import (
    DeploymentRow,
    LoggingRuleRow,
    RequestLogRow,
    RetentionRow,
    TenantRow,
)
from modelry.adapters.sql.transactions import Transactions
from modelry.domain.errors import NotFound
from modelry.services.privacy.ports import LogFilter, LoggedRequest, LoggingRule, SealedLog


class SqlRequestLogStore:
    """Implements `RequestLogStore` and `RetentionStore`."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    # ---- rules ------------------------------------------------------------------------------

    def rules(self) -> Sequence[LoggingRule]:
        """See `RequestLogStore.rules`."""
        return self._transactions.read_all_tenants(
            "record requests",
            lambda session: [_rule(row) for row in session.scalars(select(LoggingRuleRow))],
        )

    def rule(self, tenant_id: str, deployment: str) -> LoggingRule | None:
        """See `RequestLogStore.rule`."""

        def work(session: Session) -> LoggingRule | None:
            row = session.get(LoggingRuleRow, (tenant_id, deployment))
            return None if row is None else _rule(row)

        return self._transactions.read(tenant_id, work)

    def put_rule(self, rule: LoggingRule) -> None:
        """See `RequestLogStore.put_rule`."""

        def work(session: Session) -> None:
            if session.get(DeploymentRow, (rule.tenant_id, rule.deployment)) is None:
                raise NotFound(f"There is no deployment '{rule.deployment}'.", param="name")
            session.merge(LoggingRuleRow(**asdict(rule)))

        self._transactions.write(rule.tenant_id, work)

    def delete_rule(self, tenant_id: str, deployment: str) -> bool:
        """See `RequestLogStore.delete_rule`."""

        def work(session: Session) -> bool:
            row = session.get(LoggingRuleRow, (tenant_id, deployment))
            if row is not None:
                session.delete(row)
            return row is not None

        return self._transactions.write(tenant_id, work)

    # ---- calls ------------------------------------------------------------------------------

    def add(self, tenant_id: str, logs: Sequence[SealedLog]) -> None:
        """See `RequestLogStore.add`."""

        def work(session: Session) -> None:
            if session.get(TenantRow, tenant_id) is None:
                return
            for log in logs:
                session.add(RequestLogRow(**_fields(log.request), sealed=log.sealed))

        self._transactions.write(tenant_id, work)

    def find(
        self, tenant_id: str, wanted: LogFilter, *, before: str | None, limit: int
    ) -> Sequence[LoggedRequest]:
        """See `RequestLogStore.find`."""
        query = select(RequestLogRow).options(defer(RequestLogRow.sealed)).where(*_fits(wanted))
        if before is not None:
            query = query.where(RequestLogRow.log_id < before)
        query = query.order_by(RequestLogRow.log_id.desc()).limit(limit)
        return self._transactions.read(
            tenant_id, lambda session: [_request(row) for row in session.scalars(query)]
        )

    def get(self, tenant_id: str, log_id: str) -> SealedLog | None:
        """See `RequestLogStore.get`."""

        def work(session: Session) -> SealedLog | None:
            row = session.get(RequestLogRow, (tenant_id, log_id))
            return None if row is None else SealedLog(_request(row), row.sealed)

        return self._transactions.read(tenant_id, work)

    def delete(self, tenant_id: str, wanted: LogFilter, log_id: str | None = None) -> int:
        """See `RequestLogStore.delete`."""
        conditions = _fits(wanted)
        if log_id is not None:
            conditions.append(RequestLogRow.log_id == log_id)
        return self._transactions.write(tenant_id, lambda session: _delete(session, conditions))

    def delete_expired(self, tenant_id: str, now: datetime) -> int:
        """See `RequestLogStore.delete_expired`."""

        def work(session: Session) -> int:
            over: list[ColumnElement[bool]] = [RequestLogRow.expires_at <= now]
            for rule in session.scalars(select(LoggingRuleRow)):
                oldest = now - timedelta(days=rule.retention_days)
                over.append(
                    and_(RequestLogRow.deployment == rule.deployment, RequestLogRow.at <= oldest)
                )
                beyond = _beyond(session, rule.deployment, rule.max_requests)
                if beyond is not None:
                    over.append(beyond)
            return _delete(session, [or_(*over)])

        return self._transactions.write(tenant_id, work)

    def delete_beyond(self, tenant_id: str, deployment: str, most: int) -> int:
        """See `RequestLogStore.delete_beyond`."""

        def work(session: Session) -> int:
            beyond = _beyond(session, deployment, most)
            return 0 if beyond is None else _delete(session, [beyond])

        return self._transactions.write(tenant_id, work)

    # ---- retention --------------------------------------------------------------------------

    def days(self, tenant_id: str) -> Mapping[str, int]:
        """See `RetentionStore.days`."""
        return self._transactions.read(
            tenant_id,
            lambda session: {row.what: row.days for row in session.scalars(select(RetentionRow))},
        )

    def put_days(
        self, tenant_id: str, days: Mapping[str, int | None], by: str, at: datetime
    ) -> None:
        """See `RetentionStore.put_days`."""

        def work(session: Session) -> None:
            for what, count in days.items():
                row = session.get(RetentionRow, (tenant_id, what))
                if count is not None:
                    session.merge(
                        RetentionRow(
                            tenant_id=tenant_id, what=what, days=count, changed_at=at, changed_by=by
                        )
                    )
                elif row is not None:
                    session.delete(row)

        self._transactions.write(tenant_id, work)


def _beyond(session: Session, deployment: str, most: int) -> ColumnElement[bool] | None:
    """Which calls of a deployment are older than its newest `most`; None where none is."""
    row = RequestLogRow
    newest = select(row.log_id).where(row.deployment == deployment).order_by(row.log_id.desc())
    first = session.scalar(newest.offset(most).limit(1))
    return None if first is None else and_(row.deployment == deployment, row.log_id <= first)


def _delete(session: Session, conditions: Sequence[ColumnElement[bool]]) -> int:
    count = session.scalar(select(func.count(RequestLogRow.log_id)).where(*conditions)) or 0
    session.execute(delete(RequestLogRow).where(*conditions))
    return count


def _fits(wanted: LogFilter) -> list[ColumnElement[bool]]:
    row = RequestLogRow
    conditions: list[ColumnElement[bool]] = []
    if wanted.since is not None:
        conditions.append(row.at >= wanted.since)
    if wanted.until is not None:
        conditions.append(row.at < wanted.until)
    for column, value in (
        (row.deployment, wanted.deployment),
        (row.key_id, wanted.key_id),
        (row.request_id, wanted.request_id),
        (row.status, wanted.status),
    ):
        if value is not None:
            conditions.append(column == value)
    return conditions


def _rule(row: LoggingRuleRow) -> LoggingRule:
    return LoggingRule(**{name: getattr(row, name) for name in LoggingRule.__dataclass_fields__})


def _fields(request: LoggedRequest) -> dict[str, Any]:
    return {**asdict(request), "redacted": dict(request.redacted)}


def _request(row: RequestLogRow) -> LoggedRequest:
    return LoggedRequest(
        **{name: getattr(row, name) for name in LoggedRequest.__dataclass_fields__}
    )
