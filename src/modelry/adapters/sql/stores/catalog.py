"""The catalogue's store."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Select, and_, delete, exists, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from modelry.adapters.sql.stores import rows
from modelry.adapters.sql.tables import (
    AliasMoveRow,
    AliasRow,
    Base,
    BlobRow,
    LineageRow,
    ModelRow,
    TenantRow,
    TenantScoped,
    TrafficShareRow,
    UploadRow,
    VersionFileRow,
    VersionRow,
)
from modelry.adapters.sql.transactions import Transactions
from modelry.domain.catalog import Alias, AliasMove, Model, Version
from modelry.services.catalog.ports import BlobRecord, CatalogRecords, UploadRecord

T = TypeVar("T")


class SqlCatalogStore:
    """Implements `CatalogStore`."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def read(self, tenant_id: str, work: Callable[[CatalogRecords], T]) -> T:
        """See `CatalogStore.read`."""
        return self._transactions.read(tenant_id, lambda session: work(_records(session)))

    def write(self, tenant_id: str, work: Callable[[CatalogRecords], T]) -> T:
        """See `CatalogStore.write`."""
        return self._transactions.write(tenant_id, lambda session: work(_records(session)))

    def tenant_ids(self) -> list[str]:
        """See `CatalogStore.tenant_ids`."""
        return self._transactions.read_all_tenants(
            "sweep", lambda session: sorted(session.scalars(select(TenantRow.tenant_id)))
        )


@dataclass(frozen=True, slots=True)
class SqlCatalogRecords:
    """Implements `CatalogRecords`."""

    models: SqlModelRecords
    aliases: SqlAliasRecords
    blobs: SqlBlobRecords
    uploads: SqlUploadRecords


@functools.cache
def _uses_of_contents() -> tuple[tuple[type[TenantScoped], InstrumentedAttribute[str]], ...]:
    """The rows that refer to contents, and by which attribute: whatever has such a foreign key."""
    contents = Base.metadata.tables[BlobRow.__tablename__]
    found = []
    for mapper in Base.registry.mappers:
        table = Base.metadata.tables[mapper.class_.__tablename__]
        for key in table.foreign_key_constraints:
            if key.referred_table is contents:
                column = next(one.parent for one in key.elements if one.column is contents.c.digest)
                attribute = mapper.get_property_by_column(column).class_attribute
                found.append((mapper.class_, attribute))
    return tuple(found)


def _records(session: Session) -> SqlCatalogRecords:
    tenant_id: str = session.info["tenant_id"]
    return SqlCatalogRecords(
        SqlModelRecords(session, tenant_id),
        SqlAliasRecords(session, tenant_id),
        SqlBlobRecords(session, tenant_id),
        SqlUploadRecords(session, tenant_id),
    )


class _Records:
    def __init__(self, session: Session, tenant_id: str) -> None:
        self._session = session
        self._tenant_id = tenant_id


class SqlModelRecords(_Records):
    """Implements `ModelRecords`."""

    def find(self, name: str) -> Model | None:
        """See `ModelRecords.find`."""
        row = self._session.get(ModelRow, (self._tenant_id, name))
        return None if row is None else rows.model(row)

    def all(self) -> list[Model]:
        """See `ModelRecords.all`."""
        return [
            rows.model(row)
            for row in self._session.scalars(select(ModelRow).order_by(ModelRow.name))
        ]

    def add(self, model: Model) -> None:
        """See `ModelRecords.add`."""
        self._session.add(
            ModelRow(
                tenant_id=model.tenant_id,
                name=model.name,
                task=model.task,
                last_number=0,
                created_at=model.created_at,
            )
        )
        self._session.flush()

    def delete(self, name: str) -> None:
        """See `ModelRecords.delete`."""
        self._session.execute(delete(AliasMoveRow).where(AliasMoveRow.model_name == name))
        self._session.execute(delete(ModelRow).where(ModelRow.name == name))

    def take_number(self, name: str) -> int:
        """See `ModelRecords.take_number`."""
        row = self._session.get_one(ModelRow, (self._tenant_id, name))
        row.last_number += 1
        self._session.flush()
        return row.last_number

    def add_version(self, version: Version) -> None:
        """See `ModelRecords.add_version`."""
        self._session.add(rows.version_row(version))
        self._session.flush()
        self._session.add_all(rows.version_file_rows(version))
        self._session.flush()

    def find_version(self, name: str, number: int) -> Version | None:
        """See `ModelRecords.find_version`."""
        row = self._session.get(VersionRow, (self._tenant_id, name, number))
        return None if row is None else self._with_files([row])[0]

    def find_digest(self, name: str, digest: str) -> Version | None:
        """See `ModelRecords.find_digest`."""
        found = self._session.scalars(
            select(VersionRow).where(VersionRow.model_name == name, VersionRow.digest == digest)
        ).all()
        return self._with_files(found)[0] if found else None

    def newest_version(self, name: str) -> Version | None:
        """See `ModelRecords.newest_version`."""
        found = self._session.scalars(_newest_first(name).limit(1)).all()
        return self._with_files(found)[0] if found else None

    def list_versions(self, name: str) -> list[Version]:
        """See `ModelRecords.list_versions`."""
        return self._with_files(self._session.scalars(_newest_first(name)).all())

    def delete_version(self, name: str, number: int) -> None:
        """See `ModelRecords.delete_version`."""
        for owned in (VersionFileRow, LineageRow):
            self._session.execute(
                delete(owned).where(owned.model_name == name, owned.number == number)
            )
        self._session.execute(
            delete(VersionRow).where(VersionRow.model_name == name, VersionRow.number == number)
        )

    def deployments_of(self, name: str, number: int | None = None) -> list[str]:
        """See `ModelRecords.deployments_of`."""
        query = select(TrafficShareRow.deployment_name).where(TrafficShareRow.model_name == name)
        if number is not None:
            query = query.where(TrafficShareRow.version_number == number)
        return sorted(set(self._session.scalars(query)))

    def _with_files(self, found: Sequence[VersionRow]) -> list[Version]:
        if not found:
            return []
        files: dict[int, list[VersionFileRow]] = defaultdict(list)
        damages: dict[int, list[datetime]] = defaultdict(list)
        query = (
            select(VersionFileRow, BlobRow.damaged_at)
            .join(
                BlobRow,
                and_(
                    BlobRow.tenant_id == VersionFileRow.tenant_id,
                    BlobRow.digest == VersionFileRow.digest,
                ),
            )
            .where(VersionFileRow.model_name == found[0].model_name)
        )
        if len(found) == 1:
            query = query.where(VersionFileRow.number == found[0].number)
        for file, damaged_at in self._session.execute(query):
            files[file.number].append(file)
            if damaged_at is not None:
                damages[file.number].append(damaged_at)
        return [
            rows.version(row, files[row.number], min(damages[row.number], default=None))
            for row in found
        ]


def _newest_first(model_name: str) -> Select[VersionRow]:
    return (
        select(VersionRow)
        .where(VersionRow.model_name == model_name)
        .order_by(VersionRow.number.desc())
    )


class SqlAliasRecords(_Records):
    """Implements `AliasRecords`."""

    def find(self, model_name: str, name: str) -> Alias | None:
        """See `AliasRecords.find`."""
        row = self._session.get(AliasRow, (self._tenant_id, model_name, name))
        return None if row is None else rows.alias(row)

    def all(self, model_name: str) -> list[Alias]:
        """See `AliasRecords.all`."""
        query = select(AliasRow).where(AliasRow.model_name == model_name).order_by(AliasRow.name)
        return [rows.alias(row) for row in self._session.scalars(query)]

    def put(self, alias: Alias) -> None:
        """See `AliasRecords.put`."""
        self._session.merge(rows.alias_row(alias))
        self._session.flush()

    def delete(self, model_name: str, name: str) -> None:
        """See `AliasRecords.delete`."""
        self._session.execute(
            delete(AliasRow).where(AliasRow.model_name == model_name, AliasRow.name == name)
        )

    def add_move(self, move: AliasMove) -> None:
        """See `AliasRecords.add_move`."""
        last = self._session.scalar(
            select(func.max(AliasMoveRow.sequence)).where(
                AliasMoveRow.model_name == move.model_name
            )
        )
        self._session.add(rows.alias_move_row(move, (last or 0) + 1))
        self._session.flush()

    def list_moves(self, model_name: str, name: str | None, limit: int) -> list[AliasMove]:
        """See `AliasRecords.list_moves`."""
        query = select(AliasMoveRow).where(AliasMoveRow.model_name == model_name)
        if name is not None:
            query = query.where(AliasMoveRow.name == name)
        query = query.order_by(AliasMoveRow.sequence.desc()).limit(limit)
        return [rows.alias_move(row) for row in self._session.scalars(query)]


class SqlBlobRecords(_Records):
    """Implements `BlobRecords`."""

    def find(self, digest: str) -> BlobRecord | None:
        """See `BlobRecords.find`."""
        row = self._session.get(BlobRow, (self._tenant_id, digest))
        return None if row is None else rows.blob(row)

    def add(self, blob: BlobRecord) -> None:
        """See `BlobRecords.add`."""
        self._session.merge(
            BlobRow(
                tenant_id=self._tenant_id,
                digest=blob.digest,
                size_bytes=blob.size_bytes,
                created_at=blob.created_at,
                damaged_at=blob.damaged_at,
            )
        )
        self._session.flush()

    def note_damage(self, digest: str, at: datetime) -> bool:
        """See `BlobRecords.note_damage`."""
        row = self._session.get(BlobRow, (self._tenant_id, digest))
        if row is None or row.damaged_at is not None:
            return False
        row.damaged_at = at
        self._session.flush()
        return True

    def digests(self) -> set[str]:
        """See `BlobRecords.digests`."""
        return set(self._session.scalars(select(BlobRow.digest)))

    def total_bytes(self) -> int:
        """See `BlobRecords.total_bytes`."""
        return int(self._session.scalar(select(func.sum(BlobRow.size_bytes))) or 0)

    def delete_unused(self, created_before: datetime, digest: str | None = None) -> list[str]:
        """See `BlobRecords.delete_unused`."""
        used = [
            exists().where(referring.tenant_id == BlobRow.tenant_id, used_digest == BlobRow.digest)
            for referring, used_digest in _uses_of_contents()
        ]
        query = select(BlobRow).where(BlobRow.created_at < created_before, *(~one for one in used))
        if digest is not None:
            query = query.where(BlobRow.digest == digest)
        unused = self._session.scalars(query).all()
        for row in unused:
            self._session.delete(row)
        self._session.flush()
        return [row.digest for row in unused]


class SqlUploadRecords(_Records):
    """Implements `UploadRecords`."""

    def find(self, upload_id: str) -> UploadRecord | None:
        """See `UploadRecords.find`."""
        row = self._session.get(UploadRow, (self._tenant_id, upload_id))
        return None if row is None else rows.upload(row)

    def all(self) -> list[UploadRecord]:
        """See `UploadRecords.all`."""
        query = select(UploadRow).order_by(UploadRow.created_at, UploadRow.upload_id)
        return [rows.upload(row) for row in self._session.scalars(query)]

    def put(self, upload: UploadRecord) -> None:
        """See `UploadRecords.put`."""
        self._session.merge(rows.upload_row(self._tenant_id, upload))
        self._session.flush()

    def delete(self, upload_id: str) -> bool:
        """See `UploadRecords.delete`."""
        row = self._session.get(UploadRow, (self._tenant_id, upload_id))
        if row is None:
            return False
        self._session.delete(row)
        self._session.flush()
        return True
