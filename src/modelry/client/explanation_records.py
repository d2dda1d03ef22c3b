"""What versions decide by, as typed values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class DatasetExplanation:
    """Explanations of a version (`name@number`) on one split of a dataset."""

    explanation_id: str
    version: str
    dataset: str
    split: str
    rows: int
    method: str
    sentence: str = ""
    task: str = ""
    version_digest: str = ""
    dataset_digest: str = ""
    job_id: str = ""
    created_at: datetime | None = None
    created_by: str = ""


@dataclass(frozen=True, slots=True)
class ExplanationReport(DatasetExplanation):
    """With their report: `sentence`, `importance`, `per_class`, `confusions`, `slices`, `trust`,
    and, where they were asked for, `permutation`, `dependence` and `randomisation`.

    What tells of single rows is missing for those who may not see rows.
    """

    report: Mapping[str, Any] = field(default_factory=dict)
