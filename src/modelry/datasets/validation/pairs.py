"""Checks of pairs of texts."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from modelry.datasets.validation.findings import Finding, Severity, Tally
from modelry.domain.datasets import ColumnRole, ColumnType, Schema

MAX_RATIO = 5
"""How many times as long as its counterpart a text may be unremarked, in characters."""

SHORT = 20
"""Texts of no more characters are not compared in length."""


class PairChecks:
    """Compares the texts of each pair."""

    def __init__(self, schema: Schema) -> None:
        self._pair = [
            at
            for role in (ColumnRole.SOURCE, ColumnRole.TARGET)
            for at, one in enumerate(schema.columns)
            if one.role is role and one.type is ColumnType.TEXT
        ]
        self._same = Tally()
        self._uneven = Tally()

    def add(self, split: str, row: int, batch: pa.RecordBatch) -> None:
        """Take rows; the first is number `row` of `split`."""
        if len(self._pair) != 2:
            return
        source, target = (batch.column(at).fill_null("") for at in self._pair)
        self._same.add(split, row, pc.equal(source, target).to_numpy(zero_copy_only=False))
        lengths = [pc.utf8_length(one).to_numpy(zero_copy_only=False) for one in (source, target)]
        short, long = (
            lengths[0].clip(max=lengths[1]),
            lengths[0].clip(min=lengths[1]),
        )
        self._uneven.add(split, row, (long > SHORT) & (long > MAX_RATIO * short))

    def findings(self) -> list[Finding]:
        """What was found."""
        return [
            *self._same.finding(
                Severity.INFO,
                "same-texts",
                f"{self._same.count} pairs have the same text twice; many such teach to copy.",
            ),
            *self._uneven.finding(
                Severity.INFO,
                "uneven-texts",
                f"In {self._uneven.count} pairs one text is more than {MAX_RATIO} times as long as "
                "the other; they may not belong together.",
            ),
        ]
