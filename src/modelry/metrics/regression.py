"""How good answers are that are numbers.

`truth` and `answers` are float arrays of the same shape, (n,) or (n, targets); several targets are
averaged, each counting alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from modelry.domain.errors import InvalidInput

Floats = npt.NDArray[np.floating[Any]]


def mean_squared_error(truth: Floats, answers: Floats) -> float:
    """The mean of (answer - truth)², in squared units of the target.

    Raises:
        InvalidInput: there are no rows, or the shapes differ.
    """
    return float((_errors(truth, answers) ** 2).mean())


def root_mean_squared_error(truth: Floats, answers: Floats) -> float:
    """The root of `mean_squared_error`, in units of the target."""
    return float(np.sqrt(mean_squared_error(truth, answers)))


def mean_absolute_error(truth: Floats, answers: Floats) -> float:
    """The mean of |answer - truth|, in units of the target."""
    return float(np.abs(_errors(truth, answers)).mean())


def median_absolute_error(truth: Floats, answers: Floats) -> float:
    """The median of |answer - truth|: what one half of the answers is nearer than."""
    return float(np.median(np.abs(_errors(truth, answers))))


def r_squared(truth: Floats, answers: Floats) -> float | None:
    """1 - squared error / variance of the truth; 0 is what answering the mean would reach.

    None when the truth does not vary, so that there is nothing to explain.
    """
    errors = _errors(truth, answers)
    spread = ((truth - truth.mean(axis=0)) ** 2).sum(axis=0, dtype=np.float64)
    if not np.all(spread > 0):
        return None
    return float((1 - (errors**2).sum(axis=0) / spread).mean())


def summary(truth: Floats, answers: Floats) -> dict[str, float]:
    """What training tells after every epoch, and at its end."""
    told = {
        "mean_squared_error": mean_squared_error(truth, answers),
        "root_mean_squared_error": root_mean_squared_error(truth, answers),
        "mean_absolute_error": mean_absolute_error(truth, answers),
    }
    explained = r_squared(truth, answers)
    if explained is not None:
        told["r_squared"] = explained
    return told


def _errors(truth: Floats, answers: Floats) -> npt.NDArray[np.float64]:
    if truth.shape != answers.shape or len(truth) == 0:
        raise InvalidInput(
            f"The truth has the shape {list(truth.shape)} and the answers {list(answers.shape)}; "
            "expected the same, and at least one row."
        )
    return answers.astype(np.float64) - truth.astype(np.float64)
