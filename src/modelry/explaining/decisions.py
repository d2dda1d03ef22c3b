"""What a model decides for a row, and what would be another decision."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelry.domain.errors import InvalidInput, ModelFailed
from modelry.explaining.asking import Asking
from modelry.runtime_api.tensors import Array
from modelry.tasks.prediction import Prepared

_ABOVE, _BELOW = "above", "below"


class AskingDecisions(Asking):
    """Gives all scores of changed rows, as a decision is made between them."""

    def read(self, part: Prepared, outputs: Mapping[str, Array]) -> Array:
        """See `Asking.read`; (rows, outputs)."""
        scores = self.subject.predictor.scores(part, outputs)
        if not np.isfinite(scores).all():
            raise ModelFailed("The model gave no finite score for a changed row.")
        return scores.astype(np.float64)


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be reached: another class, or a number within bounds.

    Args:
        current: the index of the class that is decided now; None for numbers.
        target: the index of the class that shall be; None for any other, and for numbers.
        labels: of the classes.
        low: the number shall be above.
        high: the number shall be below.
    """

    current: int | None
    target: int | None = None
    labels: Sequence[str] | None = None
    low: float = -math.inf
    high: float = math.inf

    @property
    def wanted(self) -> str:
        """What is to be reached, in words."""
        if self.current is None:
            bounds = [f"above {self.low:g}"] * (self.low > -math.inf)
            bounds += [f"below {self.high:g}"] * (self.high < math.inf)
            return f"the answer {' and '.join(bounds)}"
        if self.target is None:
            return f"it another one than '{self._label(self.current)}'"
        return f"it '{self._label(self.target)}'"

    def is_flipped(self, scores: Array) -> bool:
        """Whether scores (outputs,) are what is to be reached."""
        if self.current is None:
            return bool(self.low < scores[0] < self.high)
        best = int(np.argmax(scores))
        return best != self.current if self.target is None else best == self.target

    def progress(self, scores: Array) -> float:
        """How near scores (outputs,) are to it; greater is nearer."""
        if self.current is None:
            return float(min(scores[0] - self.low, self.high - scores[0]))
        if self.target is None:
            return float(np.delete(scores, self.current).max() - scores[self.current])
        return float(scores[self.target] - np.delete(scores, self.target).max())

    def told(self, scores: Array) -> tuple[str | None, float]:
        """The label and score that scores (outputs,) decide for; no label for numbers."""
        if self.current is None:
            return None, float(scores[0])
        best = int(np.argmax(scores))
        return self._label(best), float(scores[best])

    def _label(self, index: int) -> str:
        known = self.labels is not None and index < len(self.labels)
        return self.labels[index] if known and self.labels is not None else str(index)


def decision_of(
    scores: Array, target: int | None, goal: Mapping[str, Any], labels: Sequence[str] | None
) -> Decision:
    """What shall be reached for a row.

    Args:
        scores: (outputs,) of the row as it is.
        target: the index of a class that was asked for, if one was.
        goal: `above` and `below` of a number.
        labels: of the classes.

    Raises:
        InvalidInput: it is so already, or nothing says what is to be reached.
    """
    if len(scores) > 1:
        if goal:
            raise InvalidInput(
                "goal is for models that give a number; name a target.", param="goal"
            )
        current = int(np.argmax(scores))
        decision = Decision(current, target, labels)
        if target == current:
            raise InvalidInput(
                f"The row is decided as '{decision.told(scores)[0]}' already; name another target.",
                param="target",
            )
        return decision
    if target is not None:
        raise InvalidInput(
            "target is for classes; the model gives a number, so say by goal which it shall be.",
            param="target",
        )
    decision = _within(goal)
    if decision.is_flipped(scores):
        raise InvalidInput(
            f"The answer is {float(scores[0]):g} already, within the goal.", param="goal"
        )
    return decision


def _within(goal: Mapping[str, Any]) -> Decision:
    low, high = goal.get(_ABOVE, -math.inf), goal.get(_BELOW, math.inf)
    are_numbers = all(
        isinstance(one, int | float) and not isinstance(one, bool) for one in (low, high)
    )
    if not goal or set(goal) - {_ABOVE, _BELOW} or not are_numbers or low >= high:
        raise InvalidInput(
            f"goal is {str(dict(goal))[:100]}; the model gives a number, so say which it shall be: "
            '{"above": …}, {"below": …} or both.',
            param="goal",
        )
    return Decision(None, low=low, high=high)
