"""How good answers are that choose one of several classes.

Classes are numbered from 0; `truth` and `chosen` are integer arrays (n,), `probabilities` is a
float array (n, classes) whose rows sum to 1. Definitions follow scikit-learn's where it has them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from modelry.domain.errors import InvalidInput

Integers = npt.NDArray[np.integer[Any]]
Floats = npt.NDArray[np.floating[Any]]

SMALLEST = 1e-15
"""The least probability that log loss reckons with; no answer costs infinitely much."""


def accuracy(truth: Integers, chosen: Integers) -> float:
    """The share of right answers.

    Raises:
        InvalidInput: there are no rows, or not one answer for each.
    """
    _check(truth, chosen)
    return float(np.mean(truth == chosen))


def top_k_accuracy(truth: Integers, probabilities: Floats, k: int) -> float:
    """The share of rows whose class is among the `k` likeliest; equal ones by class number."""
    _check(truth, probabilities)
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float(np.mean((best == truth[:, None]).any(axis=1)))


def log_loss(truth: Integers, probabilities: Floats) -> float:
    """The mean of -ln(probability of the true class), in nats."""
    _check(truth, probabilities)
    given = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    return float(-np.log(np.clip(given, SMALLEST, 1.0)).mean())


def brier_score(truth: Integers, probabilities: Floats) -> float:
    """The mean squared distance to certainty of the true class, summed over classes: 0 to 2."""
    _check(truth, probabilities)
    wanted = np.zeros(probabilities.shape)
    wanted[np.arange(len(truth)), truth] = 1.0
    return float(((probabilities - wanted) ** 2).sum(axis=1).mean())


def confusion_matrix(truth: Integers, chosen: Integers, classes: int) -> npt.NDArray[np.int64]:
    """Counts (classes, classes): rows are true classes, columns chosen ones."""
    _check(truth, chosen)
    places = truth.astype(np.int64) * classes + chosen
    return np.bincount(places, minlength=classes * classes).reshape(classes, classes)


def precision_recall_f1(confusion: npt.NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
    """Precision, recall and F1 of each class; 0 where there is nothing to divide by."""
    hits = np.diag(confusion).astype(np.float64)
    precision = _share(hits, confusion.sum(axis=0))
    recall = _share(hits, confusion.sum(axis=1))
    return precision, recall, _share(2 * precision * recall, precision + recall)


def macro_f1(confusion: npt.NDArray[np.int64]) -> float:
    """The mean F1 of the classes that occur, each counting alike."""
    occurs = (confusion.sum(axis=0) + confusion.sum(axis=1)) > 0
    return float(precision_recall_f1(confusion)[2][occurs].mean())


def roc_auc(is_positive: npt.NDArray[np.bool_], scores: Floats) -> float | None:
    """How likely a positive row scores over a negative one (half, when equal).

    None when there are only positive or only negative rows. By ranks, so O(n log n).
    """
    _check(is_positive, scores)
    positives = int(is_positive.sum())
    negatives = len(is_positive) - positives
    if not positives or not negatives:
        return None
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ends = counts.cumsum()
    ranks = (ends - (counts - 1) / 2)[places]  # equal scores share the mean of their ranks
    above = float(ranks[is_positive].sum()) - positives * (positives + 1) / 2
    return above / (positives * negatives)


def summary(truth: Integers, probabilities: Floats) -> dict[str, float]:
    """What training tells after every epoch, and at its end."""
    classes = probabilities.shape[1]
    chosen = probabilities.argmax(axis=1)
    told = {
        "accuracy": accuracy(truth, chosen),
        "macro_f1": macro_f1(confusion_matrix(truth, chosen, classes)),
        "log_loss": log_loss(truth, probabilities),
    }
    if classes > 5:
        told["top_5_accuracy"] = top_k_accuracy(truth, probabilities, 5)
    if classes == 2:
        area = roc_auc(truth == 1, probabilities[:, 1])
        if area is not None:
            told["roc_auc"] = area
    return told


def _share(part: Floats, whole: Any) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = np.nan_to_num(part / whole, nan=0.0, posinf=0.0)
    return found


def _check(truth: npt.NDArray[Any], answers: npt.NDArray[Any]) -> None:
    if len(truth) == 0 or len(truth) != len(answers):
        raise InvalidInput(
            f"There are {len(truth)} rows and {len(answers)} answers; expected as many of each, "
            "and at least one."
        )
