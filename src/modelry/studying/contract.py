"""What is studied, and what is known of one row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelry.runtime_api.work import Json
from modelry.scoring.contract import Subject
from modelry.scoring.work import subject_from_wire, subject_to_wire

TASKS = ("image-classification", "tabular", "text-classification")
"""Tasks whose answers are explained row by row."""
TABULAR = "tabular"
MOST_ROWS = 5000
MOST_CHECKED = 500
MOST_BACKGROUND = 100
MOST_PERMUTATIONS = 50
MOST_COLUMNS = 10
"""Whose partial dependence is told."""
MOST_RANDOMISATIONS = 10
LEAST_SECONDS, MOST_SECONDS = 1.0, 7 * 86_400.0
"""That a study may be given."""

PREDICT, EXPLAIN, LOAD = "predict", "explain", "load"
"""What the server is asked. `explain` takes an item, a wish and a stage: 0 is the version itself,
n is its copy with the weights of `load`'s stage n."""
ROWS, REPORT, CHECKPOINT = "explanations.jsonl", "report.json", "checkpoint"
RANDOMISED = "randomised/"
"""Begins the names of model files whose weights were drawn anew; the stage follows."""
MODEL = "model"
"""The input that is the version's model file."""


@dataclass(frozen=True, slots=True)
class Shards:
    """A split: the digest of each shard and how many rows it has."""

    split: str
    shards: tuple[tuple[str, int], ...]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(rows for _, rows in self.shards)


@dataclass(frozen=True, slots=True)
class Plan:
    """A study.

    Attributes:
        subject: version and rows, as evaluations know them; with the slices.
        data: the rows.
        background: where the rows come from that stand for what is usual, for tables.
        rows: how many are explained.
        checked: of how many of these it is measured how far the explanation can be trusted.
        method: see `explaining.contract.Wish`; like `target` and `calls`.
        seed: of all that is random.
        background_rows: how many stand for what is usual.
        permutations: how often each column is shuffled; 0 for no permutation importance.
        dependence: columns whose partial dependence is told.
        randomisations: in how many steps the weights are drawn anew; 0 for not at all.
        seconds: that all of it may take; None for as long as it takes.
    """

    subject: Subject
    data: Shards
    background: Shards
    rows: int
    checked: int
    method: str | None = None
    target: str | None = None
    calls: int | None = None
    seed: int = 0
    background_rows: int = 0
    permutations: int = 0
    dependence: tuple[str, ...] = ()
    randomisations: int = 0
    seconds: float | None = None

    def to_wire(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "subject": subject_to_wire(self.subject),
            "data": [self.data.split, [list(one) for one in self.data.shards]],
            "background": [self.background.split, [list(one) for one in self.background.shards]],
            "rows": self.rows,
            "checked": self.checked,
            "method": self.method,
            "target": self.target,
            "calls": self.calls,
            "seed": self.seed,
            "background_rows": self.background_rows,
            "permutations": self.permutations,
            "dependence": list(self.dependence),
            "randomisations": self.randomisations,
            "seconds": self.seconds,
        }

    @classmethod
    def from_wire(cls, wire: Json) -> Plan:
        """The plan that `to_wire` wrote."""
        known = dict(wire)
        subject = subject_from_wire(known.pop("subject"))
        data, background = (_shards(known.pop(name)) for name in ("data", "background"))
        dependence = tuple(known.pop("dependence"))
        return cls(subject, data, background, dependence=dependence, **known)


@dataclass(frozen=True, slots=True)
class StudiedRow:
    """One row: its place in the split, what is asked, what is right (the name of a class, a number,
    or None where it is not said), and the values of the columns that tell rows apart.
    """

    row: int
    item: Mapping[str, Any]
    label: str | float | None
    slices: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer: a class with its score, or a number as `score`; all `scores` that were told."""

    label: str | None
    score: float | None
    scores: Mapping[str, float]

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> Answered:
        """From a result of a task."""
        ranked: Sequence[Mapping[str, Any]] | None = result.get("labels")
        if ranked is None:
            value = result.get("value")
            number = float(value) if isinstance(value, int | float) else None
            return cls(None, number, {})
        if not ranked:
            return cls(None, None, {})
        best = ranked[0]
        scores = {str(one["label"]): float(one["score"]) for one in ranked if "score" in one}
        return cls(str(best["label"]), scores.get(str(best["label"])), scores)

    def right(self, label: str | float | None) -> str | float | None:
        """What is right, in the answer's terms: whole numbers may be names of classes."""
        return label if label is None or self.label is None else str(label)


def _shards(wire: Sequence[Any]) -> Shards:
    split, shards = wire
    return Shards(split, tuple((digest, int(rows)) for digest, rows in shards))
