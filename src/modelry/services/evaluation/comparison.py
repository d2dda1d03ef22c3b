"""Versions side by side, on what all of them were measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modelry.domain.catalog import Version
from modelry.domain.evaluations import Evaluation, Measured

LOWER_IS_BETTER = frozenset(
    {
        "answer_difference",
        "demographic_parity_difference",
        "ece",
        "equalised_odds_difference",
        "error_difference",
        "log_loss",
        "mean_absolute_error",
        "mean_squared_error",
        "root_mean_squared_error",
    }
)


@dataclass(frozen=True, slots=True)
class ComparedMetric:
    """One metric of all versions.

    `best` is the place of the best one. `is_clear` says that its interval touches that of no
    other, so that the difference is more than chance of which rows were drawn.
    """

    name: str
    values: tuple[Measured, ...]
    best: int
    is_clear: bool


@dataclass(frozen=True, slots=True)
class ComparedSplit:
    """The metrics of all versions on one split of a dataset."""

    dataset: str
    split: str
    evaluation_ids: tuple[str, ...]
    metrics: tuple[ComparedMetric, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Versions, and the splits on which all of them were measured."""

    versions: tuple[str, ...]
    splits: tuple[ComparedSplit, ...]


def compared(measured: Sequence[tuple[Version, Sequence[Evaluation]]]) -> Comparison:
    """Compare versions by their newest evaluations; rows are told apart by content, not by name."""
    by_split = [_by_split(evaluations) for _, evaluations in measured]
    common = [key for key in by_split[0] if all(key in one for one in by_split)]
    return Comparison(
        versions=tuple(version.ref for version, _ in measured),
        splits=tuple(_split([one[key] for one in by_split]) for key in common),
    )


def _by_split(evaluations: Sequence[Evaluation]) -> Mapping[tuple[str, str], Evaluation]:
    found: dict[tuple[str, str], Evaluation] = {}
    for one in evaluations:
        found.setdefault((one.dataset_digest, one.split), one)
    return found


def _split(evaluations: Sequence[Evaluation]) -> ComparedSplit:
    names = [
        name for name in evaluations[0].metrics if all(name in one.metrics for one in evaluations)
    ]
    return ComparedSplit(
        dataset=evaluations[0].dataset,
        split=evaluations[0].split,
        evaluation_ids=tuple(one.evaluation_id for one in evaluations),
        metrics=tuple(_metric(name, [one.metrics[name] for one in evaluations]) for name in names),
    )


def _metric(name: str, values: Sequence[Measured]) -> ComparedMetric:
    sign = -1 if name.partition("[")[0] in LOWER_IS_BETTER else 1
    best = max(range(len(values)), key=lambda at: sign * values[at].value)
    others = [one for at, one in enumerate(values) if at != best]
    clear = all(_apart(values[best], other) for other in others)
    return ComparedMetric(name, tuple(values), best, clear)


def _apart(one: Measured, other: Measured) -> bool:
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return False
    return one.low > other.high or other.low > one.high
