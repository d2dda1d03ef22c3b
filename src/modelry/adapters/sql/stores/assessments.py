"""What the stores of assessments have in common; each kind has its own table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Generic, TypeVar

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from modelry.adapters.sql.tables import VersionRow
from modelry.adapters.sql.tables.assessments import AssessmentRow
from modelry.adapters.sql.transactions import Transactions
from modelry.domain.assessments import Assessment
from modelry.domain.errors import NotFound

A = TypeVar("A", bound=Assessment)
R = TypeVar("R", bound=AssessmentRow)


class SqlAssessmentStore(Generic[A, R]):
    """Implements `AssessmentStore`; a subclass says how values of its own are kept.

    Args:
        transactions: run the work.
        assessment: what is kept.
        row: the row of its table; its columns are called as the fields are.
        key: the field that tells them apart.
    """

    def __init__(
        self, transactions: Transactions, assessment: type[A], row: type[R], key: str
    ) -> None:
        self._transactions = transactions
        self._assessment = assessment
        self._row = row
        self._key = key
        self._fields = tuple(one.name for one in fields(assessment))

    def add(self, assessment: A) -> None:
        """See `AssessmentStore.add`."""

        def work(session: Session) -> None:
            tenant_id = assessment.tenant_id
            if session.get(self._row, (tenant_id, getattr(assessment, self._key))) is not None:
                return
            version = (tenant_id, assessment.model_name, assessment.version_number)
            if session.get(VersionRow, version) is None:
                raise NotFound(
                    f"Version {assessment.version_ref} is gone: what was found of it is not kept.",
                    param="version",
                )
            values = {name: getattr(assessment, name) for name in self._fields}
            session.add(self._row(**self._kept(values)))

        self._transactions.write(assessment.tenant_id, work)

    def find(self, tenant_id: str, assessment_id: str) -> A | None:
        """See `AssessmentStore.find`."""

        def work(session: Session) -> A | None:
            row = session.get(self._row, (tenant_id, assessment_id))
            return None if row is None else self._made(row)

        return self._transactions.read(tenant_id, work)

    def of_version(self, tenant_id: str, model: str, number: int) -> Sequence[A]:
        """See `AssessmentStore.of_version`."""
        row = self._row
        return self._all(
            tenant_id, select(row).where(row.model_name == model, row.version_number == number)
        )

    def of_model(self, tenant_id: str, model: str, limit: int) -> Sequence[A]:
        """See `AssessmentStore.of_model`."""
        query = select(self._row).where(self._row.model_name == model)
        return self._all(tenant_id, query.limit(limit))

    def delete(self, tenant_id: str, assessment_id: str) -> bool:
        """See `AssessmentStore.delete`."""

        def work(session: Session) -> bool:
            row = session.get(self._row, (tenant_id, assessment_id))
            if row is not None:
                session.delete(row)
            return row is not None

        return self._transactions.write(tenant_id, work)

    def _all(self, tenant_id: str, query: Select[R]) -> Sequence[A]:
        key = getattr(self._row, self._key)
        ordered = query.order_by(self._row.created_at.desc(), key.desc())

        def work(session: Session) -> list[A]:
            return [self._made(row) for row in session.scalars(ordered)]

        return self._transactions.read(tenant_id, work)

    def _made(self, row: R) -> A:
        return self._assessment(**self._told({name: getattr(row, name) for name in self._fields}))

    def _kept(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """The values of an assessment as its row has them."""
        return values

    def _told(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """The values of a row as its assessment has them."""
        return values
