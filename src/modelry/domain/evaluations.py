"""Evaluations: how good a version was on a split of a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelry.domain.assessments import Assessment


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation(Assessment):
    """One evaluation.

    Attributes:
        metrics: by name.
        speed: what the engine took, as `scoring` reports it.
    """

    evaluation_id: str
    metrics: Mapping[str, Measured]
    speed: Mapping[str, Any]
