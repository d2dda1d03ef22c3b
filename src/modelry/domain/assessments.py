"""What jobs find of versions on splits of datasets: evaluations, explanations."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """What was found of a version on one split.

    Attributes:
        version_digest: of the version, so that a number that comes again is not mistaken.
        dataset: `name@number` of the dataset's version; `dataset_digest` is its digest.
        rows: how many were looked at.
        report_digest: a content of the tenant: the whole report, as JSON.
    """

    tenant_id: str
    model_name: str
    version_number: int
    version_digest: str
    dataset: str
    dataset_digest: str
    split: str
    rows: int
    report_digest: str
    job_id: str
    created_at: datetime
    created_by: str

    @property
    def version_ref(self) -> str:
        """`name@number`."""
        return f"{self.model_name}@{self.version_number}"
