"""The store of explanations of datasets."""

from __future__ import annotations

from modelry.adapters.sql.stores.assessments import SqlAssessmentStore
from modelry.adapters.sql.tables import ExplanationRow
from modelry.adapters.sql.transactions import Transactions
from modelry.domain.explanations import DatasetExplanation


class SqlExplanationStore(SqlAssessmentStore[DatasetExplanation, ExplanationRow]):
    """Implements `ExplanationStore`."""

    def __init__(self, transactions: Transactions) -> None:
        super().__init__(transactions, DatasetExplanation, ExplanationRow, "explanation_id")
