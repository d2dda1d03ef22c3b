"""The store of evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelry.adapters.sql.stores.assessments import SqlAssessmentStore
from modelry.adapters.sql.tables import EvaluationRow
from modelry.adapters.sql.transactions import Transactions
from modelry.domain.evaluations import Evaluation, Measured


class SqlEvaluationStore(SqlAssessmentStore[Evaluation, EvaluationRow]):
    """Implements `EvaluationStore`."""

    def __init__(self, transactions: Transactions) -> None:
        super().__init__(transactions, Evaluation, EvaluationRow, "evaluation_id")

    def _kept(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        metrics = {name: metric.to_wire() for name, metric in values["metrics"].items()}
        return {**values, "metrics": metrics, "speed": dict(values["speed"])}

    def _told(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        metrics = {name: Measured.from_wire(metric) for name, metric in values["metrics"].items()}
        return {**values, "metrics": metrics}
