"""What scores the answers of one kind of task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from modelry.domain.datasets import Schema

if TYPE_CHECKING:
    import pyarrow as pa

    from modelry.runtime_api.tensors import Array

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Subject:
    """What is scored, on what.

    Attributes:
        task: of the version.
        schema: of the dataset.
        features: names of the columns that the version takes, for tables; empty for all features.
        inputs: names and datatypes of the tensors that the version takes, for those that take
            tensors.
        slices: columns by whose values the metrics are told apart.
        groups: sensitive columns, whose values are compared: do all get the same answers?
        favourable: the class that is looked at in doing so; empty for the usual one.
        steps: names of the version's steps behind its engine; empty where they are not known.
    """

    task: str
    schema: Schema
    features: tuple[str, ...] = ()
    inputs: tuple[tuple[str, str], ...] = ()
    slices: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    favourable: str = ""
    steps: tuple[str, ...] = ()

    @property
    def ranks(self) -> bool:
        """Whether the version ranks classes, and requests say how many it tells."""
        return "top_k" in self.steps

    @property
    def answers_classes(self) -> bool:
        """Whether the version answers with classes."""
        return self.ranks or "classes" in self.steps


def all_classes(most: int) -> dict[str, Any]:
    """The options of a prediction that tells up to so many classes, whatever they score.

    Scores need not be probabilities: those of networks without a softmax lie below 0, too.
    """
    return {"top_k": most, "min_score": -1e9}


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a split: `first` is the place of the first one within the split."""

    batch: pa.RecordBatch
    first: int

    def column(self, name: str) -> list[Any]:
        """A column as Python values."""
        values: list[Any] = self.batch.column(name).to_pylist()
        return values


@dataclass(frozen=True, slots=True)
class Question:
    """What some rows ask of a version: items of its task, or tensors with a row for each."""

    items: Sequence[Mapping[str, Any]] = ()
    tensors: Mapping[str, Array] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answers:
    """What a version answered: a JSON result per item, arrays with a row per item, or both."""

    items: Sequence[Mapping[str, Any]] = ()
    arrays: Mapping[str, Array] = field(default_factory=dict)


class Scorer(Protocol):
    """Scores one version on one split; holds numbers of rows, and little of their contents."""

    @property
    def columns(self) -> Sequence[str]:
        """What it needs of each row."""
        ...

    def question(self, rows: Rows) -> Question:
        """What the rows ask.

        Raises:
            RowsInvalid: a row asks nothing, or does not say what is right; names it.
        """
        ...

    def add(self, rows: Rows, answers: Answers) -> None:
        """Take the answers to `question(rows)`."""
        ...

    def report(self) -> Json:
        """What came of it: `metrics` by name, each `{value, low?, high?}`, and what else there is
        to tell.
        """
        ...
