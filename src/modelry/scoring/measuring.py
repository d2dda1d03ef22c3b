"""Metrics with their intervals, as reports tell them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from modelry.metrics.intervals import bootstrap
from modelry.runtime_api.tensors import Array

Statistic = Callable[..., float | None]
"""Gives a number for columns of rows, or None where they have none (such as no variance)."""


def measured(statistic: Statistic, *columns: Array) -> dict[str, float]:
    """`{value, low, high}` of a statistic over rows; the value is NaN where it has none."""
    value = _number(statistic(*columns))
    low, high = bootstrap(columns, lambda *drawn: _number(statistic(*drawn)))
    if any(map(math.isnan, (low, high))):
        return {"value": value}
    return {"value": value, "low": low, "high": high}


def with_values(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, Mapping[str, float]]:
    """Those that have a value on these rows: R² has none where all labels are the same."""
    return {name: one for name, one in metrics.items() if not math.isnan(one["value"])}


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def mean(values: Array) -> float:
    """The mean of all rows."""
    return float(values.mean())
