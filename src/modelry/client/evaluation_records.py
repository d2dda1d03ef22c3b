"""What evaluations tell, as typed values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Metric:
    """A number, and the bounds in which it lies with 95 % confidence, where they are known."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured of a version (`name@number`) on one split of a dataset."""

    evaluation_id: str
    version: str
    dataset: str
    split: str
    rows: int
    metrics: Mapping[str, Metric]
    speed: Mapping[str, Any] = field(default_factory=dict)
    version_digest: str = ""
    dataset_digest: str = ""
    job_id: str = ""
    created_at: datetime | None = None
    created_by: str = ""


@dataclass(frozen=True, slots=True)
class EvaluationReport(Evaluation):
    """An evaluation with its report: `per_class`, `confusion`, `calibration`, `slices`, `groups`,
    `worst`.

    `worst` is missing for those who may not see rows.
    """

    report: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ComparedMetric:
    """One metric of all versions; `best` is the place of the best.

    `is_clear` says that its interval overlaps with none of the others.
    """

    name: str
    values: tuple[Metric, ...]
    best: int
    is_clear: bool


@dataclass(frozen=True, slots=True)
class ComparedSplit:
    """Versions on one split of a dataset."""

    dataset: str
    split: str
    evaluation_ids: tuple[str, ...]
    metrics: tuple[ComparedMetric, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Versions on the splits that all of them were measured on."""

    versions: tuple[str, ...]
    splits: tuple[ComparedSplit, ...]
