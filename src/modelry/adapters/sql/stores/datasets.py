"""The store of datasets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import Select, delete, func, select, tuple_
from sqlalchemy.orm import Session

from modelry.adapters.sql.tables import (
    BlobRow,
    DatasetRow,
    DatasetShardRow,
    DatasetVersionRow,
)
from modelry.adapters.sql.transactions import Transactions
from modelry.domain.datasets import Dataset, DatasetVersion, Schema, Shard, Split
from modelry.domain.errors import NotFound
from modelry.services.datasets.ports import NewVersion


class SqlDatasetStore:
    """Implements `DatasetStore`."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def all(self, tenant_id: str) -> list[Dataset]:
        """See `DatasetStore.all`."""

        def work(session: Session) -> list[Dataset]:
            query = select(DatasetRow).order_by(DatasetRow.name)
            return [_dataset(row) for row in session.scalars(query)]

        return self._transactions.read(tenant_id, work)

    def newest(self, tenant_id: str) -> dict[str, DatasetVersion]:
        """See `DatasetStore.newest`."""

        def work(session: Session) -> dict[str, DatasetVersion]:
            last = select(DatasetVersionRow.dataset_name, func.max(DatasetVersionRow.number))
            query = select(DatasetVersionRow).where(
                tuple_(DatasetVersionRow.dataset_name, DatasetVersionRow.number).in_(
                    last.group_by(DatasetVersionRow.dataset_name)
                )
            )
            found = _with_shards(session, session.scalars(query).all())
            return {one.dataset_name: one for one in found}

        return self._transactions.read(tenant_id, work)

    def find(self, tenant_id: str, name: str) -> Dataset | None:
        """See `DatasetStore.find`."""

        def work(session: Session) -> Dataset | None:
            row = session.get(DatasetRow, (tenant_id, name))
            return None if row is None else _dataset(row)

        return self._transactions.read(tenant_id, work)

    def version(
        self, tenant_id: str, name: str, number: int | None = None
    ) -> DatasetVersion | None:
        """See `DatasetStore.version`."""
        query = _newest_first(name).limit(1)
        if number is not None:
            query = query.where(DatasetVersionRow.number == number)
        return self._transactions.read(tenant_id, lambda session: _first(session, query))

    def versions(self, tenant_id: str, name: str) -> list[DatasetVersion]:
        """See `DatasetStore.versions`."""
        return self._transactions.read(
            tenant_id,
            lambda session: _with_shards(session, session.scalars(_newest_first(name)).all()),
        )

    def with_digest(self, tenant_id: str, name: str, digest: str) -> DatasetVersion | None:
        """See `DatasetStore.with_digest`."""
        query = _newest_first(name).where(DatasetVersionRow.digest == digest)
        return self._transactions.read(tenant_id, lambda session: _first(session, query))

    def add(self, version: NewVersion) -> tuple[DatasetVersion, bool]:
        """See `DatasetStore.add`."""

        def work(session: Session) -> tuple[DatasetVersion, bool]:
            name = version.dataset_name
            same = _first(
                session, _newest_first(name).where(DatasetVersionRow.digest == version.digest)
            )
            if same is not None:
                return same, False
            _check_kept(session, version)
            made = version.numbered(_take_number(session, version))
            session.add(_version_row(made))
            session.flush()
            session.add_all(_shard_rows(made))
            session.flush()
            return made, True

        return self._transactions.write(version.tenant_id, work)

    def delete_version(self, tenant_id: str, name: str, number: int) -> bool:
        """See `DatasetStore.delete_version`."""

        def work(session: Session) -> bool:
            row = session.get(DatasetVersionRow, (tenant_id, name, number))
            if row is None:
                return False
            session.execute(
                delete(DatasetShardRow).where(
                    DatasetShardRow.dataset_name == name, DatasetShardRow.number == number
                )
            )
            session.delete(row)
            session.flush()
            return True

        return self._transactions.write(tenant_id, work)

    def delete(self, tenant_id: str, name: str) -> bool:
        """See `DatasetStore.delete`."""

        def work(session: Session) -> bool:
            row = session.get(DatasetRow, (tenant_id, name))
            if row is None:
                return False
            for table in (DatasetShardRow, DatasetVersionRow):
                session.execute(delete(table).where(table.dataset_name == name))
            session.delete(row)
            session.flush()
            return True

        return self._transactions.write(tenant_id, work)


def _newest_first(name: str) -> Select[DatasetVersionRow]:
    return (
        select(DatasetVersionRow)
        .where(DatasetVersionRow.dataset_name == name)
        .order_by(DatasetVersionRow.number.desc())
    )


def _first(session: Session, query: Select[DatasetVersionRow]) -> DatasetVersion | None:
    found = _with_shards(session, session.scalars(query).all())
    return found[0] if found else None


def _with_shards(session: Session, found: Sequence[DatasetVersionRow]) -> list[DatasetVersion]:
    shards: dict[tuple[str, int], dict[str, list[Shard]]] = defaultdict(lambda: defaultdict(list))
    keys = [(one.dataset_name, one.number) for one in found]
    query = (
        select(DatasetShardRow)
        .where(tuple_(DatasetShardRow.dataset_name, DatasetShardRow.number).in_(keys))
        .order_by(DatasetShardRow.position)
    )
    for row in session.scalars(query) if keys else ():
        shards[row.dataset_name, row.number][row.split].append(
            Shard(row.digest, row.rows, row.size_bytes)
        )
    return [_version(row, shards[row.dataset_name, row.number]) for row in found]


def _take_number(session: Session, version: NewVersion) -> int:
    row = session.get(DatasetRow, (version.tenant_id, version.dataset_name))
    if row is None:
        row = DatasetRow(
            tenant_id=version.tenant_id,
            name=version.dataset_name,
            last_number=0,
            created_at=version.created_at,
            created_by=version.created_by,
        )
        session.add(row)
    row.last_number += 1
    session.flush()
    return row.last_number


def _check_kept(session: Session, version: NewVersion) -> None:
    for split in version.splits:
        for shard in split.shards:
            if session.get(BlobRow, (version.tenant_id, shard.digest)) is None:
                raise NotFound(f"The content {shard.digest} of a shard is not there.")


def _dataset(row: DatasetRow) -> Dataset:
    return Dataset(row.tenant_id, row.name, row.created_at, row.created_by)


def _version(row: DatasetVersionRow, shards: dict[str, list[Shard]]) -> DatasetVersion:
    return DatasetVersion(
        tenant_id=row.tenant_id,
        dataset_name=row.dataset_name,
        number=row.number,
        digest=row.digest,
        schema=Schema.from_wire(row.columns),
        splits=tuple(Split(name, tuple(shards.get(name, ()))) for name in row.split_names),
        created_at=row.created_at,
        created_by=row.created_by,
        statistics=row.statistics,
        report=row.report,
        origin=row.origin,
    )


def _version_row(value: DatasetVersion) -> DatasetVersionRow:
    return DatasetVersionRow(
        tenant_id=value.tenant_id,
        dataset_name=value.dataset_name,
        number=value.number,
        digest=value.digest,
        columns=value.schema.to_wire(),
        split_names=[one.name for one in value.splits],
        statistics=dict(value.statistics),
        report=dict(value.report),
        origin=dict(value.origin),
        created_at=value.created_at,
        created_by=value.created_by,
    )


def _shard_rows(value: DatasetVersion) -> list[DatasetShardRow]:
    return [
        DatasetShardRow(
            tenant_id=value.tenant_id,
            dataset_name=value.dataset_name,
            number=value.number,
            split=split.name,
            position=position,
            digest=shard.digest,
            rows=shard.rows,
            size_bytes=shard.size_bytes,
        )
        for split in value.splits
        for position, shard in enumerate(split.shards)
    ]
