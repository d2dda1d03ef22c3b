"""The store of evaluations."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from modelry.adapters.sql.tables import EvaluationRow, VersionRow
from modelry.adapters.sql.transactions import Transactions
from modelry.domain.errors import NotFound
from modelry.domain.evaluations import Evaluation, Measured


class SqlEvaluationStore:
    """Implements `EvaluationStore`."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def add(self, evaluation: Evaluation) -> None:
        """See `EvaluationStore.add`."""

        def work(session: Session) -> None:
            tenant_id = evaluation.tenant_id
            if session.get(EvaluationRow, (tenant_id, evaluation.evaluation_id)) is not None:
                return
            version = (tenant_id, evaluation.model_name, evaluation.version_number)
            if session.get(VersionRow, version) is None:
                raise NotFound(
                    f"Version {evaluation.version_ref} is gone: its evaluation is not kept.",
                    param="version",
                )
            session.add(_row(evaluation))

        self._transactions.write(evaluation.tenant_id, work)

    def find(self, tenant_id: str, evaluation_id: str) -> Evaluation | None:
        """See `EvaluationStore.find`."""

        def work(session: Session) -> Evaluation | None:
            row = session.get(EvaluationRow, (tenant_id, evaluation_id))
            return None if row is None else _evaluation(row)

        return self._transactions.read(tenant_id, work)

    def of_version(self, tenant_id: str, model: str, number: int) -> Sequence[Evaluation]:
        """See `EvaluationStore.of_version`."""
        row = EvaluationRow
        return self._all(
            tenant_id,
            select(row).where(row.model_name == model, row.version_number == number),
        )

    def of_model(self, tenant_id: str, model: str, limit: int) -> Sequence[Evaluation]:
        """See `EvaluationStore.of_model`."""
        query = select(EvaluationRow).where(EvaluationRow.model_name == model)
        return self._all(tenant_id, query.limit(limit))

    def _all(self, tenant_id: str, query: Select[EvaluationRow]) -> Sequence[Evaluation]:
        ordered = query.order_by(
            EvaluationRow.created_at.desc(), EvaluationRow.evaluation_id.desc()
        )

        def work(session: Session) -> list[Evaluation]:
            return [_evaluation(row) for row in session.scalars(ordered)]

        return self._transactions.read(tenant_id, work)

    def delete(self, tenant_id: str, evaluation_id: str) -> bool:
        """See `EvaluationStore.delete`."""

        def work(session: Session) -> bool:
            row = session.get(EvaluationRow, (tenant_id, evaluation_id))
            if row is not None:
                session.delete(row)
            return row is not None

        return self._transactions.write(tenant_id, work)


def _row(one: Evaluation) -> EvaluationRow:
    return EvaluationRow(
        tenant_id=one.tenant_id,
        evaluation_id=one.evaluation_id,
        model_name=one.model_name,
        version_number=one.version_number,
        version_digest=one.version_digest,
        dataset=one.dataset,
        dataset_digest=one.dataset_digest,
        split=one.split,
        rows=one.rows,
        metrics={name: metric.to_wire() for name, metric in one.metrics.items()},
        speed=dict(one.speed),
        report_digest=one.report_digest,
        job_id=one.job_id,
        created_at=one.created_at,
        created_by=one.created_by,
    )


def _evaluation(row: EvaluationRow) -> Evaluation:
    return Evaluation(
        tenant_id=row.tenant_id,
        evaluation_id=row.evaluation_id,
        model_name=row.model_name,
        version_number=row.version_number,
        version_digest=row.version_digest,
        dataset=row.dataset,
        dataset_digest=row.dataset_digest,
        split=row.split,
        rows=row.rows,
        metrics={name: Measured.from_wire(metric) for name, metric in row.metrics.items()},
        speed=row.speed,
        report_digest=row.report_digest,
        job_id=row.job_id,
        created_at=row.created_at,
        created_by=row.created_by,
    )
