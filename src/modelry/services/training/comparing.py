"""Whether a run that was done again came to the same, and what was different around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelry.domain.lineage import Lineage
from modelry.services.training.result import TrainingResult


def compared(first: Lineage, again: TrainingResult) -> dict[str, Any]:
    """Weights and metrics of both, and each part of the environment that is another now."""
    return {
        "has_same_weights": first.weights_digest == again.weights_digest,
        "expected_weights_digest": first.weights_digest,
        "metrics_compared": {
            name: {"first": value, "again": again.metrics.get(name)}
            for name, value in first.metrics.items()
        },
        "changed": _changed(first.environment, again.environment),
    }


def _changed(
    first: Mapping[str, Any], again: Mapping[str, Any], place: str = ""
) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name in sorted(first.keys() | again.keys()):
        before, now = first.get(name), again.get(name)
        where = f"{place}{name}"
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            found |= _changed(before, now, f"{where}.")
        elif before != now:
            found[where] = {"first": before, "again": now}
    return found
