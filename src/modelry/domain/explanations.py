"""Explanations of datasets: what a version decides by, over many rows."""

from __future__ import annotations

from dataclasses import dataclass

from modelry.domain.assessments import Assessment


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetExplanation(Assessment):
    """What was found on one split.

    Attributes:
        task: of the version.
        method: how the rows were explained.
        sentence: what was found, in words; names columns, and words of texts.
        rows_digest: a content of the tenant: the explanation of each row, as lines of JSON.
    """

    explanation_id: str
    task: str
    method: str
    sentence: str
    rows_digest: str
