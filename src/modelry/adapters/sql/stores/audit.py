"""The store of audit chains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, func, select
from sqlalchemy.orm import Session

from modelry.adapters.sql.tables import AuditEntryRow, AuditHeadRow, TenantRow
from modelry.adapters.sql.transactions import Transactions
from modelry.domain.audit import AuditEntry, ChainEnds
from modelry.domain.errors import NotFound
from modelry.services.audit.ports import AuditFilter


class SqlAuditStore:
    """Implements `AuditStore`."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def append(self, tenant_id: str, make: Callable[[ChainEnds], AuditEntry]) -> AuditEntry:
        """See `AuditStore.append`."""

        def work(session: Session) -> AuditEntry:
            head = session.get(AuditHeadRow, tenant_id)
            if head is None and session.get(TenantRow, tenant_id) is None:
                raise NotFound("There is no such tenant.")
            entry = make(_ends(head))
            if head is None:
                head = _head_row(tenant_id, ChainEnds())
                session.add(head)
            head.sequence, head.mac = entry.sequence, entry.mac
            session.add(_row(entry))
            return entry

        return self._transactions.write(tenant_id, work)

    def ends(self, tenant_id: str) -> ChainEnds:
        """See `AuditStore.ends`."""
        return self._transactions.read(
            tenant_id, lambda session: _ends(session.get(AuditHeadRow, tenant_id))
        )

    def entries(
        self,
        tenant_id: str,
        wanted: AuditFilter,
        *,
        after: int = 0,
        before: int | None = None,
        newest_first: bool = False,
        limit: int,
    ) -> Sequence[AuditEntry]:
        """See `AuditStore.entries`."""
        order = AuditEntryRow.sequence.desc() if newest_first else AuditEntryRow.sequence
        query = _narrowed(select(AuditEntryRow), wanted).where(AuditEntryRow.sequence > after)
        if before is not None:
            query = query.where(AuditEntryRow.sequence < before)
        query = query.order_by(order).limit(limit)
        return self._transactions.read(
            tenant_id, lambda session: [_entry(row) for row in session.scalars(query)]
        )

    def last_before(self, tenant_id: str, moment: datetime) -> AuditEntry | None:
        """See `AuditStore.last_before`."""

        def work(session: Session) -> AuditEntry | None:
            # clocks of several servers differ: what is old must be old without a gap
            first_young = session.scalar(
                select(func.min(AuditEntryRow.sequence)).where(AuditEntryRow.at >= moment)
            )
            query = select(AuditEntryRow).order_by(AuditEntryRow.sequence.desc()).limit(1)
            if first_young is not None:
                query = query.where(AuditEntryRow.sequence < first_young)
            row = session.scalar(query)
            return None if row is None else _entry(row)

        return self._transactions.read(tenant_id, work)

    def forget_until(
        self, tenant_id: str, sequence: int, anchor: Callable[[AuditEntry], ChainEnds]
    ) -> int:
        """See `AuditStore.forget_until`."""

        def work(session: Session) -> int:
            head = session.get(AuditHeadRow, tenant_id)
            if head is None:
                return 0
            row = session.get(AuditEntryRow, (tenant_id, min(sequence, head.sequence - 1)))
            if row is None:
                return 0
            made = anchor(_entry(row))
            head.anchor_sequence = made.anchor_sequence
            head.anchor_mac = made.anchor_mac
            head.anchor_proof = made.anchor_proof
            old = AuditEntryRow.sequence <= row.sequence
            count = session.scalar(select(func.count(AuditEntryRow.sequence)).where(old)) or 0
            session.execute(delete(AuditEntryRow).where(old))
            return count

        return self._transactions.write(tenant_id, work)

    def tenant_ids(self) -> Sequence[str]:
        """See `AuditStore.tenant_ids`."""
        return self._transactions.read_all_tenants(
            "verify audit chains",
            lambda session: list(
                session.scalars(select(TenantRow.tenant_id).order_by(TenantRow.tenant_id))
            ),
        )


def _narrowed(query: Select[tuple[AuditEntryRow]], wanted: AuditFilter) -> Any:
    row = AuditEntryRow
    if wanted.since is not None:
        query = query.where(row.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(row.at < wanted.until)
    if wanted.actor is not None:
        query = query.where(row.actor == wanted.actor)
    if wanted.outcome is not None:
        query = query.where(row.outcome == wanted.outcome)
    if wanted.action is not None:
        query = query.where(_fits(row.action, wanted.action))
    if wanted.resource is not None:
        query = query.where(_fits(row.resource, wanted.resource))
    return query


def _fits(column: Any, pattern: str) -> ColumnElement[bool]:
    if pattern.endswith("*"):
        # not LIKE: SQLite's takes upper and lower case for the same
        start = pattern[:-1]
        found: ColumnElement[bool] = func.substr(column, 1, len(start)) == start
        return found
    exact: ColumnElement[bool] = column == pattern
    return exact


def _ends(row: AuditHeadRow | None) -> ChainEnds:
    if row is None:
        return ChainEnds()
    return ChainEnds(row.sequence, row.mac, row.anchor_sequence, row.anchor_mac, row.anchor_proof)


def _head_row(tenant_id: str, ends: ChainEnds) -> AuditHeadRow:
    return AuditHeadRow(
        tenant_id=tenant_id,
        sequence=ends.sequence,
        mac=ends.mac,
        anchor_sequence=ends.anchor_sequence,
        anchor_mac=ends.anchor_mac,
        anchor_proof=ends.anchor_proof,
    )


def _entry(row: AuditEntryRow) -> AuditEntry:
    return AuditEntry(
        tenant_id=row.tenant_id,
        sequence=row.sequence,
        at=row.at,
        actor=row.actor,
        action=row.action,
        resource=row.resource,
        outcome=row.outcome,
        detail_json=row.detail,
        previous_mac=row.previous_mac,
        mac=row.mac,
    )


def _row(entry: AuditEntry) -> AuditEntryRow:
    return AuditEntryRow(
        tenant_id=entry.tenant_id,
        sequence=entry.sequence,
        at=entry.at,
        actor=entry.actor,
        action=entry.action,
        resource=entry.resource,
        outcome=entry.outcome,
        detail=entry.detail_json,
        previous_mac=entry.previous_mac,
        mac=entry.mac,
    )
