"""The store of explanations of datasets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from modelry.adapters.sql.tables import ExplanationRow, VersionRow
from modelry.adapters.sql.transactions import Transactions
from modelry.domain.errors import NotFound
from modelry.domain.explanations import DatasetExplanation

_FIELDS = tuple(one.name for one in fields(DatasetExplanation))


class SqlExplanationStore:
    """Implements `ExplanationStore`."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def add(self, explanation: DatasetExplanation) -> None:
        """See `ExplanationStore.add`."""

        def work(session: Session) -> None:
            tenant_id = explanation.tenant_id
            if session.get(ExplanationRow, (tenant_id, explanation.explanation_id)) is not None:
                return
            version = (tenant_id, explanation.model_name, explanation.version_number)
            if session.get(VersionRow, version) is None:
                raise NotFound(
                    f"Version {explanation.version_ref} is gone: its explanations are not kept.",
                    param="version",
                )
            session.add(ExplanationRow(**{name: getattr(explanation, name) for name in _FIELDS}))

        self._transactions.write(explanation.tenant_id, work)

    def find(self, tenant_id: str, explanation_id: str) -> DatasetExplanation | None:
        """See `ExplanationStore.find`."""

        def work(session: Session) -> DatasetExplanation | None:
            row = session.get(ExplanationRow, (tenant_id, explanation_id))
            return None if row is None else _explanation(row)

        return self._transactions.read(tenant_id, work)

    def of_version(self, tenant_id: str, model: str, number: int) -> Sequence[DatasetExplanation]:
        """See `ExplanationStore.of_version`."""
        row = ExplanationRow
        return self._all(
            tenant_id, select(row).where(row.model_name == model, row.version_number == number)
        )

    def of_model(self, tenant_id: str, model: str, limit: int) -> Sequence[DatasetExplanation]:
        """See `ExplanationStore.of_model`."""
        query = select(ExplanationRow).where(ExplanationRow.model_name == model)
        return self._all(tenant_id, query.limit(limit))

    def _all(self, tenant_id: str, query: Select[ExplanationRow]) -> Sequence[DatasetExplanation]:
        ordered = query.order_by(
            ExplanationRow.created_at.desc(), ExplanationRow.explanation_id.desc()
        )

        def work(session: Session) -> list[DatasetExplanation]:
            return [_explanation(row) for row in session.scalars(ordered)]

        return self._transactions.read(tenant_id, work)

    def delete(self, tenant_id: str, explanation_id: str) -> bool:
        """See `ExplanationStore.delete`."""

        def work(session: Session) -> bool:
            row = session.get(ExplanationRow, (tenant_id, explanation_id))
            if row is not None:
                session.delete(row)
            return row is not None

        return self._transactions.write(tenant_id, work)


def _explanation(row: ExplanationRow) -> DatasetExplanation:
    told: dict[str, Any] = {name: getattr(row, name) for name in _FIELDS}
    return DatasetExplanation(**told)
