"""The store of files under ids."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, or_, select, tuple_
from sqlalchemy.orm import Session

from modelry.adapters.sql.tables import BlobRow, FileRow
from modelry.adapters.sql.transactions import Transactions
from modelry.domain.errors import NotFound
from modelry.domain.files import FilePurpose, TenantFile
from modelry.services.files.ports import FileFilter


class SqlFileStore:
    """Implements `services.files.ports.FileStore`."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def add(self, file: TenantFile) -> TenantFile:
        """See `FileStore.add`."""

        def work(session: Session) -> TenantFile:
            known = session.get(FileRow, (file.tenant_id, file.file_id))
            if known is not None:
                return _file(known)
            if session.get(BlobRow, (file.tenant_id, file.digest)) is None:
                raise NotFound("The content of the file is not kept (any more); send it again.")
            session.add(_row(file))
            return file

        return self._transactions.write(file.tenant_id, work)

    def find(self, tenant_id: str, file_id: str, now: datetime) -> TenantFile | None:
        """See `FileStore.find`."""

        def work(session: Session) -> TenantFile | None:
            row = session.get(FileRow, (tenant_id, file_id))
            return None if row is None or _is_over(row, now) else _file(row)

        return self._transactions.read(tenant_id, work)

    def list(
        self, tenant_id: str, wanted: FileFilter, now: datetime, limit: int
    ) -> Sequence[TenantFile]:
        """See `FileStore.list`."""
        row = FileRow
        place = tuple_(row.created_at, row.file_id)
        query = select(row).where(or_(row.expires_at.is_(None), row.expires_at > now))
        if wanted.purpose is not None:
            query = query.where(row.purpose == wanted.purpose.value)
        if wanted.after is not None:
            last = tuple_(wanted.after.created_at, wanted.after.file_id)
            query = query.where(place < last if wanted.newest_first else place > last)
        if wanted.newest_first:
            query = query.order_by(row.created_at.desc(), row.file_id.desc())
        else:
            query = query.order_by(row.created_at, row.file_id)

        def work(session: Session) -> list[TenantFile]:
            return [_file(one) for one in session.scalars(query.limit(limit))]

        return self._transactions.read(tenant_id, work)

    def delete(self, tenant_id: str, file_id: str) -> bool:
        """See `FileStore.delete`."""

        def work(session: Session) -> bool:
            row = session.get(FileRow, (tenant_id, file_id))
            if row is not None:
                session.delete(row)
            return row is not None

        return self._transactions.write(tenant_id, work)

    def delete_expired(self, now: datetime) -> int:
        """See `FileStore.delete_expired`."""

        def work(session: Session) -> int:
            found = session.execute(delete(FileRow).where(FileRow.expires_at <= now))
            return int(found.rowcount)  # type: ignore[attr-defined] # of a cursor

        return self._transactions.write_all_tenants("forget expired files", work)


def _is_over(row: FileRow, now: datetime) -> bool:
    return row.expires_at is not None and row.expires_at <= now


def _row(value: TenantFile) -> FileRow:
    return FileRow(
        tenant_id=value.tenant_id,
        file_id=value.file_id,
        name=value.name,
        purpose=value.purpose.value,
        digest=value.digest,
        size_bytes=value.size_bytes,
        created_at=value.created_at,
        created_by=value.created_by,
        expires_at=value.expires_at,
    )


def _file(row: FileRow) -> TenantFile:
    return TenantFile(
        tenant_id=row.tenant_id,
        file_id=row.file_id,
        name=row.name,
        purpose=FilePurpose(row.purpose),
        digest=row.digest,
        size_bytes=row.size_bytes,
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=row.expires_at,
    )
