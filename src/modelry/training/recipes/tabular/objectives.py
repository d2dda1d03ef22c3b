"""What boosting makes small: losses with their derivatives, of answers (rows, outputs)."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from modelry.training.recipes.tabular.trees import Floats

HUBER_DEVIATIONS = 1.345
"""Beyond so many (robust) standard deviations an error counts linearly."""
DEVIATION_OF_MEDIAN = 1.4826
"""Standard deviations in a median absolute deviation of normal values."""


class ClassObjective:
    """Cross entropy of scores, in nats. With two classes the first one's score stays 0.

    Args:
        numbers: the classes of the rows that are learnt from.
        count: how many classes there are.
        weights: of each class.
    """

    def __init__(
        self, numbers: npt.NDArray[np.int64], count: int, weights: npt.NDArray[np.float32]
    ) -> None:
        self._numbers = numbers
        self._weights = weights[numbers].astype(np.float64)
        self._wanted = np.zeros((len(numbers), count))
        self._wanted[np.arange(len(numbers)), numbers] = 1.0
        self.first_output = 1 if count == 2 else 0
        rows = np.bincount(numbers, self._weights, count)
        share = np.log(np.maximum(rows, 0.5) / rows.sum())
        self.base: Floats = (share - share[0] if count == 2 else share).astype(np.float64)

    def slopes(self, answers: Floats) -> tuple[Floats, Floats]:
        """See `boosting.Objective`."""
        likely = _softmax(answers)
        weights = self._weights[:, None]
        slope = (likely - self._wanted) * weights
        curvature = np.maximum(likely * (1 - likely), 1e-6) * weights
        return slope[:, self.first_output :], curvature[:, self.first_output :]

    def loss(self, answers: Floats, targets: npt.NDArray[np.float64]) -> float:
        """The mean of -ln(probability of the true class)."""
        likely = _softmax(answers)[np.arange(len(targets)), targets.astype(np.int64)]
        return float(-np.log(np.maximum(likely, 1e-15)).mean())


class NumberObjective:
    """Squared, absolute or Huber's error of one output."""

    first_output = 0

    def __init__(
        self, targets: npt.NDArray[np.float64], loss: Literal["squared", "absolute", "huber"]
    ) -> None:
        self._targets, self._loss = targets, loss
        middle = targets.mean() if loss == "squared" else np.median(targets)
        self.base: Floats = np.array([middle], np.float64)
        spread = float(np.median(np.abs(targets - np.median(targets)))) * DEVIATION_OF_MEDIAN
        self.reach = HUBER_DEVIATIONS * (spread or float(targets.std()) or 1.0)
        """How large an error is that counts linearly from there on, in units of the target."""

    def slopes(self, answers: Floats) -> tuple[Floats, Floats]:
        """See `boosting.Objective`; a step of an absolute error is as large as `reach`."""
        errors = answers[:, 0] - self._targets
        if self._loss == "absolute":
            errors = np.sign(errors) * self.reach
        elif self._loss == "huber":
            errors = np.clip(errors, -self.reach, self.reach)
        return errors[:, None], np.ones((len(errors), 1))

    def loss(self, answers: Floats, targets: npt.NDArray[np.float64]) -> float:
        """The mean error, squared, absolute or Huber's, in (squared) units of the target."""
        errors = np.abs(answers[:, 0] - targets)
        if self._loss == "absolute":
            return float(errors.mean())
        if self._loss == "squared":
            return float((errors**2).mean())
        linear = self.reach * (errors - self.reach / 2)
        return float(np.where(errors <= self.reach, errors**2 / 2, linear).mean())


def _softmax(answers: Floats) -> Floats:
    powers = np.exp(answers - answers.max(axis=1, keepdims=True))
    likely: Floats = powers / powers.sum(axis=1, keepdims=True)
    return likely
