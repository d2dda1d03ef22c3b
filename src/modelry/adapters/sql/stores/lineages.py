"""The store of lineages."""

from __future__ import annotations

from sqlalchemy.orm import Session

from modelry.adapters.sql.tables import LineageRow
from modelry.adapters.sql.transactions import Transactions
from modelry.domain.lineage import Lineage

_DETAILS = (
    "parameters",
    "seed",
    "base",
    "base_files",
    "threads",
    "metrics",
    "parity",
    "environment",
)


class SqlLineageStore:
    """Implements `services.training.ports.LineageStore`."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def add(self, lineage: Lineage) -> None:
        """See `LineageStore.add`."""

        def work(session: Session) -> None:
            key = (lineage.tenant_id, lineage.model_name, lineage.number)
            if session.get(LineageRow, key) is None:
                session.add(_row(lineage))

        self._transactions.write(lineage.tenant_id, work)

    def find(self, tenant_id: str, model_name: str, number: int) -> Lineage | None:
        """See `LineageStore.find`."""

        def work(session: Session) -> Lineage | None:
            row = session.get(LineageRow, (tenant_id, model_name, number))
            return None if row is None else _lineage(row)

        return self._transactions.read(tenant_id, work)


def _row(value: Lineage) -> LineageRow:
    return LineageRow(
        tenant_id=value.tenant_id,
        model_name=value.model_name,
        number=value.number,
        job_id=value.job_id,
        recipe=value.recipe,
        dataset=value.dataset,
        dataset_digest=value.dataset_digest,
        weights_digest=value.weights_digest,
        created_at=value.created_at,
        created_by=value.created_by,
        details={name: getattr(value, name) for name in _DETAILS},
    )


def _lineage(row: LineageRow) -> Lineage:
    return Lineage(
        tenant_id=row.tenant_id,
        model_name=row.model_name,
        number=row.number,
        job_id=row.job_id,
        recipe=row.recipe,
        dataset=row.dataset,
        dataset_digest=row.dataset_digest,
        weights_digest=row.weights_digest,
        created_at=row.created_at,
        created_by=row.created_by,
        **row.details,
    )
