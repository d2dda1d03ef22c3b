"""Groups of people, or of what else should be treated alike: whether their rows are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from modelry.domain.errors import InvalidInput, NotSupported
from modelry.metrics import fairness
from modelry.metrics.calibration import expected_calibration_error
from modelry.runtime_api.tensors import Array
from modelry.scoring.contract import Json, Rows, Subject
from modelry.scoring.measuring import mean, measured
from modelry.scoring.slicing import MISSING, REST, Slices

LEAST_ROWS = 10
"""A smaller group is told and not compared: its rates are chance."""
MOST_CLASSES = 100
"""Of so many each is looked at, where none is called favourable."""
_STATISTICS: Mapping[str, Callable[[Array], Array]] = {
    "demographic_parity_difference": fairness.demographic_parity_difference,
    "demographic_parity_ratio": fairness.demographic_parity_ratio,
    "equalised_odds_difference": fairness.equalised_odds_difference,
}


class Groups:
    """Compares the values of the subject's sensitive columns.

    Args:
        subject: what is scored.

    Raises:
        InvalidInput: the values of a column cannot be told apart.
    """

    def __init__(self, subject: Subject) -> None:
        self._slices = Slices(subject, subject.groups, "groups")
        self._favourable = subject.favourable
        self.columns = self._slices.columns

    def check_classes(self, classes: Sequence[str]) -> None:
        """See that the favourable class is one of those that a schema tells.

        Raises:
            InvalidInput: it is not, or answers are no classes.
        """
        if self._favourable and self._favourable not in classes:
            shown = ", ".join(classes[:10]) + (", …" if len(classes) > 10 else "")
            raise InvalidInput(
                f"favourable is '{self._favourable[:80]}'; "
                + (f"the classes are {shown}." if classes else "the answers are no classes."),
                param="favourable",
            )

    def add(self, rows: Rows) -> None:
        """Take the rows of a batch."""
        self._slices.add(rows)

    def of_classes(
        self, true: Array, said: Array, score: Array, names: Sequence[str]
    ) -> tuple[Json, Json]:
        """What is told of each column, and the metrics that compare its groups.

        Args:
            true: the number of each row's class, shape (rows,).
            said: that of its answer.
            score: the answer's score; NaN where a version tells none.
            names: of the classes.

        Raises:
            InvalidInput: the favourable class is none of them.
        """
        told: Json = {}
        metrics: Json = {}
        for column in self.columns:
            values, places = self._slices.members(column)
            compared = _compared(values, places)
            looked_at = self._looked_at(names)
            by_class = [
                {"label": names[one], **_metrics(places, true == one, said == one, compared)}
                for one in looked_at
            ]
            chosen = _worst(by_class)
            told[column] = {
                "favourable": None if len(looked_at) > 1 else names[looked_at[0]],
                "groups": [
                    {
                        "value": value,
                        "rows": int((places == at).sum()),
                        "is_compared": at in compared,
                        **_quality(true == said, score, places == at),
                    }
                    for at, value in enumerate(values)
                ],
                "metrics": chosen,
            }
            if len(looked_at) == 1:
                _add_rates(told[column]["groups"], places, true, said, looked_at[0])
            else:
                told[column]["by_class"] = by_class
            metrics |= {f"{name}[{column}]": one for name, one in chosen.items()}
        return told, metrics

    def of_values(self, true: Array, said: Array) -> tuple[Json, Json]:
        """The same for answers that are numbers: their means and their errors by group."""
        told: Json = {}
        metrics: Json = {}
        errors = np.abs(said - true)
        for column in self.columns:
            values, places = self._slices.members(column)
            compared = _compared(values, places)
            within = np.isin(places, compared)
            chosen = {
                name: measured(_apart(len(values)), numbers[within], places[within])
                for name, numbers in (("answer_difference", said), ("error_difference", errors))
                if len(compared) > 1
            }
            told[column] = {
                "groups": [
                    {
                        "value": value,
                        "rows": int((places == at).sum()),
                        "is_compared": at in compared,
                        "mean_answer": measured(mean, said[places == at]),
                        "mean_absolute_error": measured(mean, errors[places == at]),
                    }
                    for at, value in enumerate(values)
                ],
                "metrics": chosen,
            }
            metrics |= {f"{name}[{column}]": one for name, one in chosen.items()}
        return told, metrics

    def _looked_at(self, names: Sequence[str]) -> list[int]:
        if self._favourable:
            self.check_classes(names)
            return [list(names).index(self._favourable)]
        if len(names) <= 2:
            return [len(names) - 1]
        return list(range(min(len(names), MOST_CLASSES)))


def refuse_groups(subject: Subject) -> None:
    """For tasks whose answers cannot be compared by group.

    Raises:
        NotSupported: some are asked for.
    """
    if subject.groups:
        raise NotSupported(
            f"Groups are compared by classes or numbers; versions of the task '{subject.task}' "
            "give neither.",
            param="groups",
        )


def _compared(values: Sequence[str], places: Array) -> list[int]:
    """The groups that are large enough, and are one."""
    rows = np.bincount(places, minlength=len(values))
    return [
        at
        for at, value in enumerate(values)
        if rows[at] >= LEAST_ROWS and value not in (MISSING, REST)
    ]


def _metrics(places: Array, is_of: Array, is_said: Array, compared: Sequence[int]) -> Json:
    if len(compared) < 2:
        return {}
    highest = int(places.max()) + 1
    counts = fairness.group_counts(places, is_of, is_said, highest)[list(compared)]
    found: Json = {}
    for name, statistic in _STATISTICS.items():
        value = float(statistic(counts))
        if not np.isnan(value):
            low, high = fairness.interval(statistic, counts)
            found[name] = {"value": value, "low": low, "high": high}
    return found


def _worst(by_class: Sequence[Json]) -> Json:
    """Each metric of the class for which it is worst."""
    chosen: Json = {}
    for name in _STATISTICS:
        known = [one[name] for one in by_class if name in one]
        if known:
            best_first = sorted(known, key=lambda one: one["value"])
            chosen[name] = best_first[0 if name.endswith("ratio") else -1]
    return chosen


def _quality(is_right: Array, score: Array, within: Array) -> Json:
    """How right a group's answers are, and whether their scores say so."""
    right = is_right[within].astype(np.float64)
    told = {"accuracy": measured(mean, right)}
    scores = score[within]
    if len(scores) and not np.isnan(scores).any():
        told["ece"] = measured(expected_calibration_error, scores, right)
    return told


def _add_rates(
    groups: Sequence[Json], places: Array, true: Array, said: Array, favourable: int
) -> None:
    counts = fairness.group_counts(places, true == favourable, said == favourable, len(groups))
    found = fairness.rates(counts)
    for at, told in enumerate(groups):
        for name, values in (
            ("selection_rate", found.selection),
            ("true_positive_rate", found.true_positive),
            ("false_positive_rate", found.false_positive),
        ):
            told[name] = None if np.isnan(values[at]) else float(values[at])


def _apart(groups: int) -> Callable[[Array, Array], float | None]:
    """How far apart the groups' means are."""

    def difference(values: Array, places: Array) -> float | None:
        rows = np.bincount(places, minlength=groups)
        there = rows > 0
        if there.sum() < 2:
            return None
        means = np.bincount(places, values, minlength=groups)[there] / rows[there]
        return float(means.max() - means.min())

    return difference
