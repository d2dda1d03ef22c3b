"""Evaluations: how good a version was on a split of a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric, and the interval in which it lies with 95 % confidence where that is told."""

    value: float
    low: float | None = None
    high: float | None = None

    def to_wire(self) -> dict[str, float]:
        """As JSON types."""
        if self.low is None or self.high is None:
            return {"value": self.value}
        return {"value": self.value, "low": self.low, "high": self.high}

    @classmethod
    def from_wire(cls, wire: Mapping[str, float]) -> Measured:
        """The metric that `to_wire` wrote."""
        return cls(wire["value"], wire.get("low"), wire.get("high"))


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One evaluation.

    Attributes:
        version_digest: of the version, so that a number that comes again is not mistaken.
        dataset: `name@number` of the dataset's version; `dataset_digest` is its digest.
        metrics: by name.
        speed: what the engine took, as `scoring` reports it.
        report_digest: a content of the tenant: the whole report, as JSON.
    """

    tenant_id: str
    evaluation_id: str
    model_name: str
    version_number: int
    version_digest: str
    dataset: str
    dataset_digest: str
    split: str
    rows: int
    metrics: Mapping[str, Measured]
    speed: Mapping[str, Any]
    report_digest: str
    job_id: str
    created_at: datetime
    created_by: str

    @property
    def version_ref(self) -> str:
        """`name@number`."""
        return f"{self.model_name}@{self.version_number}"
