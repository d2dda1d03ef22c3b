"""All checks in one pass."""

from __future__ import annotations

from typing import Any, Protocol

import pyarrow as pa

from modelry.datasets.validation.boxes import BoxChecks
from modelry.datasets.validation.columns import ColumnChecks
from modelry.datasets.validation.contents import ContentChecks
from modelry.datasets.validation.findings import Finding, Severity
from modelry.datasets.validation.labels import LabelChecks
from modelry.datasets.validation.pairs import PairChecks
from modelry.domain.datasets import Schema

_ORDER = list(Severity)


class Check(Protocol):
    """One kind of check."""

    def add(self, split: str, row: int, batch: pa.RecordBatch) -> None:
        """Take rows; the first is number `row` of `split`."""
        ...

    def findings(self) -> list[Finding]:
        """What was found; all rows were seen."""
        ...


CHECKS = (ColumnChecks, LabelChecks, BoxChecks, PairChecks, ContentChecks)


class Validator:
    """Looks at every row once; needs at most about 0.5 GB, whatever the number of rows.

    Args:
        schema: the columns of all batches.
    """

    def __init__(self, schema: Schema) -> None:
        self._checks: list[Check] = [one(schema) for one in CHECKS]
        self._rows: dict[str, int] = {}

    def add(self, split: str, batch: pa.RecordBatch) -> None:
        """Take the next rows of a split, in the forms of `datasets.forms`."""
        row = self._rows.get(split, 0) + 1
        for check in self._checks:
            check.add(split, row, batch)
        self._rows[split] = row - 1 + len(batch)

    def report(self) -> dict[str, Any]:
        """What was found, the worst first.

        Returns:
            `rows` by split, how many findings of each severity, and `findings`: each a `severity`,
            `code`, `message`, `count`, and where it applies `column`, `first` (rows by `split` and
            `row` from 1) and `is_estimated`.
        """
        findings = [found for check in self._checks for found in check.findings()]
        findings.sort(key=lambda one: _ORDER.index(one.severity))
        counts = {
            f"{severity.value}s": sum(one.severity is severity for one in findings)
            for severity in _ORDER
        }
        return {
            "rows": dict(self._rows),
            **counts,
            "findings": [one.to_wire() for one in findings],
        }
