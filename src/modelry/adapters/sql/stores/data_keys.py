"""The store of wrapped data keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelry.adapters.sql.tables import DataKeyRow
from modelry.adapters.sql.transactions import Transactions
from modelry.services.encryption.ports import DataKeyRecord

_OLDEST_FIRST = select(DataKeyRow).order_by(DataKeyRow.created_at, DataKeyRow.key_id)


class SqlDataKeyStore:
    """Implements `DataKeyStore`."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def keys(self, tenant_id: str) -> Sequence[DataKeyRecord]:
        """See `DataKeyStore.keys`."""
        return self._transactions.read(tenant_id, _records)

    def all_keys(self) -> Sequence[DataKeyRecord]:
        """See `DataKeyStore.all_keys`."""
        return self._transactions.read_all_tenants("wrap data keys", _records)

    def add_first(self, record: DataKeyRecord) -> DataKeyRecord:
        """See `DataKeyStore.add_first`."""

        def work(session: Session) -> DataKeyRecord:
            known = _records(session)
            if known:
                return known[-1]
            session.add(
                DataKeyRow(
                    tenant_id=record.tenant_id,
                    key_id=record.key_id,
                    fingerprint=record.fingerprint,
                    kek_id=record.kek_id,
                    wrapped=record.wrapped,
                    created_at=record.created_at,
                    wrapped_at=record.wrapped_at,
                    destroyed_at=record.destroyed_at,
                )
            )
            session.flush()
            return record

        return self._transactions.write(record.tenant_id, work)

    def rewrap(self, record: DataKeyRecord, before: bytes) -> bool:
        """See `DataKeyStore.rewrap`."""

        def work(session: Session) -> bool:
            row = session.get(DataKeyRow, (record.tenant_id, record.key_id))
            if row is None or row.wrapped != before:
                return False
            row.kek_id = record.kek_id
            row.wrapped = record.wrapped
            row.wrapped_at = record.wrapped_at
            return True

        return self._transactions.write(record.tenant_id, work)

    def destroy(self, tenant_id: str, at: datetime) -> Sequence[DataKeyRecord]:
        """See `DataKeyStore.destroy`."""

        def work(session: Session) -> list[DataKeyRecord]:
            destroyed = []
            for row in session.scalars(_OLDEST_FIRST):
                if row.wrapped is not None:
                    row.wrapped = None
                    row.destroyed_at = at
                    destroyed.append(_record(row))
            return destroyed

        return self._transactions.write(tenant_id, work)


def _records(session: Session) -> list[DataKeyRecord]:
    return [_record(row) for row in session.scalars(_OLDEST_FIRST)]


def _record(row: DataKeyRow) -> DataKeyRecord:
    return DataKeyRecord(
        tenant_id=row.tenant_id,
        key_id=row.key_id,
        fingerprint=row.fingerprint,
        kek_id=row.kek_id,
        wrapped=row.wrapped,
        created_at=row.created_at,
        wrapped_at=row.wrapped_at,
        destroyed_at=row.destroyed_at,
    )
