"""Explanations of a dataset's rows: what a version decides by, over a whole split."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class DatasetExplanation:
    """What was found on one split.

    Attributes:
        version_digest: of the version, so that a number that comes again is not mistaken.
        dataset: `name@number` of the dataset's version; `dataset_digest` is its digest.
        rows: how many were explained.
        method: how.
        sentence: what was found, in words; names columns, and words of texts.
        report_digest: a content of the tenant: the whole report, as JSON.
        rows_digest: likewise: the explanation of each row, as lines of JSON.
    """

    tenant_id: str
    explanation_id: str
    model_name: str
    version_number: int
    version_digest: str
    task: str
    dataset: str
    dataset_digest: str
    split: str
    rows: int
    method: str
    sentence: str
    report_digest: str
    rows_digest: str
    job_id: str
    created_at: datetime
    created_by: str

    @property
    def version_ref(self) -> str:
        """`name@number`."""
        return f"{self.model_name}@{self.version_number}"
