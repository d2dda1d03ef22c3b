"""Deletes tenants: their rows in every table, and keeps how far that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, delete, or_, select
from sqlalchemy.orm import Session

from modelry.adapters.sql.tables import (
    Base,
    DeploymentGrantRow,
    TenantDeletionRow,
    TenantRow,
    TenantScoped,
)
from modelry.adapters.sql.transactions import Transactions
from modelry.domain.access import TenantState
from modelry.domain.errors import NotFound
from modelry.domain.tenants import DeletionStage, TenantDeletion

_PURPOSE = "delete a tenant"


def tenant_tables() -> Sequence[type[TenantScoped]]:
    """Every table whose rows a tenant owns, children before those that they refer to."""
    classes: dict[str, type[Any]] = {
        mapper.local_table.name: mapper.class_  # type: ignore[attr-defined] # always a Table here
        for mapper in Base.registry.mappers
    }
    ordered = [classes[table.name] for table in reversed(Base.metadata.sorted_tables)]
    return [one for one in ordered if issubclass(one, TenantScoped)]


class SqlDeletionStore:
    """Implements `DeletionStore`."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def begin(self, deletion: TenantDeletion) -> TenantDeletion:
        """See `DeletionStore.begin`."""

        def work(session: Session) -> TenantDeletion:
            found = session.get(TenantDeletionRow, deletion.tenant_id)
            if found is not None:
                return _deletion(found)
            tenant = session.get(TenantRow, deletion.tenant_id)
            if tenant is None:
                raise NotFound(f"Tenant '{deletion.tenant_id}' does not exist.", param="tenant_id")
            tenant.state = TenantState.DELETING.value
            tenant.changed_at = deletion.requested_at
            session.add(_row(deletion))
            return deletion

        return self._transactions.write_all_tenants(_PURPOSE, work)

    def find(self, tenant_id: str) -> TenantDeletion | None:
        """See `DeletionStore.find`."""

        def work(session: Session) -> TenantDeletion | None:
            row = session.get(TenantDeletionRow, tenant_id)
            return None if row is None else _deletion(row)

        return self._transactions.read_all_tenants(_PURPOSE, work)

    def pending(self) -> list[TenantDeletion]:
        """See `DeletionStore.pending`."""
        query = (
            select(TenantDeletionRow)
            .where(TenantDeletionRow.stage != DeletionStage.DONE.value)
            .order_by(TenantDeletionRow.requested_at, TenantDeletionRow.tenant_id)
        )
        return self._transactions.read_all_tenants(
            _PURPOSE, lambda session: [_deletion(row) for row in session.scalars(query)]
        )

    def move(
        self,
        deletion: TenantDeletion,
        stage: DeletionStage,
        at: datetime,
        destroyed: Mapping[str, Any],
    ) -> TenantDeletion | None:
        """See `DeletionStore.move`."""

        def work(session: Session) -> TenantDeletion | None:
            row = session.get(TenantDeletionRow, deletion.tenant_id)
            if row is None or (row.stage, row.stage_at) != (deletion.stage, deletion.stage_at):
                return None
            row.stage, row.stage_at = stage.value, at
            row.destroyed = {**row.destroyed, **destroyed}
            return _deletion(row)

        return self._transactions.write_all_tenants(_PURPOSE, work)

    def delete_rows(self, tenant_id: str) -> None:
        """See `DeletionStore.delete_rows`.

        The last transaction goes over all tables once more: what was written meanwhile by a
        server that had not learnt of it yet goes with the tenant's own row.
        """
        owned = [one for one in tenant_tables() if one is not TenantRow]
        for part in (*([one] for one in owned), [*owned, TenantRow]):
            self._transactions.write_all_tenants(
                _PURPOSE,
                lambda session, part=part: _delete(session, tenant_id, part),  # type: ignore[misc] # mypy cannot infer lambdas with defaults
            )


def _delete(session: Session, tenant_id: str, tables: Sequence[type[TenantScoped]]) -> None:
    deletion = session.get(TenantDeletionRow, tenant_id)
    if deletion is None:
        raise NotFound(f"Tenant '{tenant_id}' is not being deleted.", param="tenant_id")
    counts: dict[str, int] = dict(deletion.destroyed.get("rows", {}))
    for table in tables:
        owned = table.tenant_id == tenant_id
        if table is DeploymentGrantRow:  # a grant is nothing without its grantee
            owned = or_(owned, DeploymentGrantRow.grantee_id == tenant_id)
        counts[_name(table)] = counts.get(_name(table), 0) + _gone(session, table, owned)
    rows = {name: count for name, count in sorted(counts.items()) if count}
    deletion.destroyed = {**deletion.destroyed, "rows": rows}


def _gone(session: Session, table: type[TenantScoped], condition: ColumnElement[bool]) -> int:
    statement = delete(table).where(condition).execution_options(synchronize_session=False)
    done = session.execute(statement)
    assert isinstance(done, CursorResult)
    return done.rowcount


def _name(table: Any) -> str:
    return str(table.__tablename__)


def _deletion(row: TenantDeletionRow) -> TenantDeletion:
    return TenantDeletion(
        tenant_id=row.tenant_id,
        deletion_id=row.deletion_id,
        requested_at=row.requested_at,
        requested_by=row.requested_by,
        stage=DeletionStage(row.stage),
        stage_at=row.stage_at,
        destroyed=dict(row.destroyed),
    )


def _row(value: TenantDeletion) -> TenantDeletionRow:
    return TenantDeletionRow(
        tenant_id=value.tenant_id,
        deletion_id=value.deletion_id,
        requested_at=value.requested_at,
        requested_by=value.requested_by,
        stage=value.stage.value,
        stage_at=value.stage_at,
        destroyed=dict(value.destroyed),
    )
