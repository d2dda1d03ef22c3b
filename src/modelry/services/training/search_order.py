"""The parameters of a job `search`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modelry.domain.errors import InvalidInput, UnsupportedField

MAX_TRIALS = 1000
_KEYS = frozenset({"training", "space", "trials", "metric", "goal", "prune", "register"})
_RISING = ("accuracy", "auc", "f1", "precision", "recall", "map", "bleu", "chrf", "rouge", "r2")


@dataclass(frozen=True, slots=True)
class SearchOrder:
    """What to try, and what is good.

    Attributes:
        training: as the parameters of a job `train`.
        space: values to try by parameter; see `search_space`.
        trials: how many trainings at most.
        metric: the curve that tells how good one is, such as `val_loss`.
        goal: `minimize` or `maximize` it.
        prune: end trials early that are worse than half of the others were at that point.
        register: train with the best parameters in the end and make it a version.
    """

    training: Mapping[str, Any]
    space: Mapping[str, Any]
    trials: int
    metric: str
    goal: str
    prune: bool = True
    register: bool = True

    def to_wire(self) -> dict[str, Any]:
        """As JSON types."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> SearchOrder:
        """The order that `to_wire` wrote."""
        return cls(**wire)

    @property
    def rises(self) -> bool:
        """Whether more is better."""
        return self.goal == "maximize"


@dataclass(slots=True)
class Trial:
    """One training of a search.

    Attributes:
        number: from 0.
        parameters: those that were tried.
        state: `complete`, `pruned` or `failed`.
        value: the best of its curve; None where there is none.
        curve: what was watched, point by point.
        choices: what Optuna chose, by parameter.
        reason: why it failed.
    """

    number: int
    parameters: dict[str, Any]
    choices: dict[str, Any] = field(default_factory=dict)
    state: str = "failed"
    value: float | None = None
    curve: list[float] = field(default_factory=list)
    reason: str = ""


def read_search(given: Mapping[str, Any]) -> SearchOrder:
    """The order that a caller sent; its parts are not checked yet.

    Raises:
        InvalidInput: something is missing, or not of the type expected.
        UnsupportedField: there is more than is known.
    """
    unknown = sorted(given.keys() - _KEYS)
    if unknown:
        raise UnsupportedField(
            f"'{unknown[0][:80]}' is not known; a job 'search' takes: {', '.join(sorted(_KEYS))}.",
            param=unknown[0][:80],
        )
    metric = given.get("metric")
    if not isinstance(metric, str) or not 0 < len(metric) <= 100:
        raise InvalidInput(
            "'metric' should name the curve that tells how good a training is, such as "
            "'val_loss' (keras) or 'validation_accuracy'.",
            param="metric",
        )
    rises = any(word in metric.lower() for word in _RISING)
    goal = given.get("goal", "maximize" if rises else "minimize")
    if goal not in ("minimize", "maximize"):
        raise InvalidInput("'goal' should be 'minimize' or 'maximize'.", param="goal")
    training = given.get("training")
    if not isinstance(training, Mapping):
        raise InvalidInput("'training' should be an object: what a job 'train' takes.",
                           param="training")  # fmt: skip
    return SearchOrder(
        training=dict(training),
        space=given.get("space") or {},
        trials=_trials(given.get("trials", 20)),
        metric=metric,
        goal=goal,
        prune=_truth(given, "prune"),
        register=_truth(given, "register"),
    )


def _trials(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_TRIALS:
        raise InvalidInput(
            f"'trials' is {str(value)[:40]!r}; expected a whole number from 1 to {MAX_TRIALS}.",
            param="trials",
        )
    return value


def _truth(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name, True)
    if not isinstance(value, bool):
        raise InvalidInput(f"'{name}' should be true or false.", param=name)
    return value
