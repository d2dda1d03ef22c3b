"""Checks of labels that are classes: how many rows each class has in each split."""

from __future__ import annotations

import pyarrow as pa

from modelry.datasets.validation.findings import Finding, Severity, Tally
from modelry.domain.datasets import Column, ColumnRole, ColumnType, Schema

MAX_RATIO = 20
"""How many times the rows of the rarest class the most frequent one may have unremarked."""

FEW = 5
_MAX_LISTED = 10


class LabelChecks:
    """Counts the classes of each label."""

    def __init__(self, schema: Schema) -> None:
        self._labels = [
            _OneLabel(at, one)
            for at, one in enumerate(schema.columns)
            if one.role is ColumnRole.LABEL and one.type is ColumnType.TEXT and one.classes
        ]

    def add(self, split: str, row: int, batch: pa.RecordBatch) -> None:
        """Take rows; the first is number `row` of `split`."""
        for one in self._labels:
            one.add(split, row, batch)

    def findings(self) -> list[Finding]:
        """What was found."""
        return [found for one in self._labels for found in one.findings()]


class _OneLabel:
    def __init__(self, at: int, column: Column) -> None:
        self._at = at
        self._column = column
        self._counts: dict[str, dict[str, int]] = {}
        self._unknown = Tally()

    def add(self, split: str, row: int, batch: pa.RecordBatch) -> None:
        array = batch.column(self._at)
        counts = self._counts.setdefault(split, dict.fromkeys(self._column.classes, 0))
        has_unknown = False
        for one in array.drop_null().value_counts().to_pylist():
            if one["values"] in counts:
                counts[one["values"]] += one["counts"]
            else:
                has_unknown = True
        if has_unknown:
            known = pa.array(self._column.classes, pa.utf8())
            is_known = pa.compute.is_in(array, value_set=known)
            bad = pa.compute.and_(array.is_valid(), pa.compute.invert(is_known))
            self._unknown.add(split, row, bad.to_numpy(zero_copy_only=False))

    def findings(self) -> list[Finding]:
        name = self._column.name
        found = self._unknown.finding(
            Severity.ERROR,
            "unknown-class",
            f"Label '{name}' holds values that are none of its classes.",
            name,
        )
        for split, counts in self._counts.items():
            found += self._of_split(split, counts)
        found += self._untrained()
        return found

    def _of_split(self, split: str, counts: dict[str, int]) -> list[Finding]:
        name = self._column.name
        where = f" of '{split}'" if split else ""
        present = {one: count for one, count in counts.items() if count}
        if len(present) == 1:
            return [
                Finding(
                    Severity.ERROR,
                    "one-class",
                    f"Every row{where} has the class '{next(iter(present))}': there is nothing to "
                    "tell apart.",
                    name,
                    sum(present.values()),
                )
            ]
        found = []
        absent = [one for one in counts if one not in present]
        if absent:
            found.append(
                Finding(
                    Severity.WARNING,
                    "absent-class",
                    f"No row{where} has {_listed(absent)}.",
                    name,
                    len(absent),
                )
            )
        if present:
            rare = min(present, key=lambda one: present[one])
            frequent = max(present, key=lambda one: present[one])
            if present[frequent] > MAX_RATIO * present[rare]:
                found.append(
                    Finding(
                        Severity.WARNING,
                        "imbalance",
                        f"Class '{frequent}' has {present[frequent]} rows{where}, '{rare}' has "
                        f"{present[rare]}. Weights of classes help, or more rows of the rare ones.",
                        name,
                        present[rare],
                    )
                )
            few = [one for one, count in present.items() if count < FEW]
            if few:
                found.append(
                    Finding(
                        Severity.INFO,
                        "few-rows",
                        f"Fewer than {FEW} rows{where} have {_listed(few)}.",
                        name,
                        len(few),
                    )
                )
        return found

    def _untrained(self) -> list[Finding]:
        """Classes that are measured and were never shown."""
        trained = self._counts.get("train")
        if trained is None:
            return []
        missing = [
            one
            for one in self._column.classes
            if not trained[one]
            and any(counts[one] for split, counts in self._counts.items() if split != "train")
        ]
        if not missing:
            return []
        return [
            Finding(
                Severity.ERROR,
                "untrained-class",
                f"Other splits have rows of {_listed(missing)}, 'train' has none.",
                self._column.name,
                len(missing),
            )
        ]


def _listed(classes: list[str]) -> str:
    shown = ", ".join(f"'{one}'" for one in classes[:_MAX_LISTED])
    more = f" and {len(classes) - _MAX_LISTED} more" if len(classes) > _MAX_LISTED else ""
    return f"class {shown}{more}" if len(classes) == 1 else f"the classes {shown}{more}"
