"""What explanations of datasets need from outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from modelry.domain.explanations import DatasetExplanation


class ExplanationStore(Protocol):
    """Keeps explanations of datasets; every method is one transaction."""

    def add(self, explanation: DatasetExplanation) -> None:
        """Keep a new one; again, under the same id, changes nothing.

        Raises:
            NotFound: its version is gone.
        """
        ...

    def find(self, tenant_id: str, explanation_id: str) -> DatasetExplanation | None:
        """One of them."""
        ...

    def of_version(self, tenant_id: str, model: str, number: int) -> Sequence[DatasetExplanation]:
        """Those of a version, newest first."""
        ...

    def of_model(self, tenant_id: str, model: str, limit: int) -> Sequence[DatasetExplanation]:
        """The newest of a model, newest first."""
        ...

    def delete(self, tenant_id: str, explanation_id: str) -> bool:
        """Forget one; False if it was not there."""
        ...
