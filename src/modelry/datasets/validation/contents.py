"""The same content again: duplicates, contradictions, and what leaks from one split to another.

A row's content is told by 64-bit hashes: among ten million different rows, two have the same one
with a chance of about three in a million. Of each row 24 bytes are kept, of up to `MAX_KEPT` rows.
Beyond them only rows are kept whose hash ends in a zero bit, then in two, and so on: equal rows
stay or go together, so their number can be estimated from the part that is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from modelry.datasets.row_hashes import Hashes, mixed, row_hashes
from modelry.datasets.validation.findings import MAX_NAMED, Finding, RowName, Severity
from modelry.domain.datasets import ColumnRole, Schema

MAX_KEPT = 4_000_000
"""How many rows' hashes are kept: 96 MB, and as much again two times while they are compared."""

_GIVEN = frozenset({ColumnRole.FEATURE, ColumnRole.SOURCE})
_GOALS = frozenset({ColumnRole.LABEL, ColumnRole.TARGET})


class KeptHashes:
    """Two hashes of each row, and its number, by split, as many as there is room for."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: dict[str, list[npt.NDArray[np.uint64]]] = {}
        self._kept = 0
        self._zero_bits = 0

    @property
    def factor(self) -> int:
        """How many rows each kept one stands for."""
        return 1 << self._zero_bits

    def add(self, split: str, row: int, given: Hashes, whole: Hashes) -> None:
        """Take rows; the first is number `row` of `split`."""
        rows = np.arange(row, row + len(given), dtype=np.uint64)
        part = self._fitting(np.stack([given, whole, rows]))
        self._parts.setdefault(split, []).append(part)
        self._kept += part.shape[1]
        while self._kept > self._limit:
            self._zero_bits += 1
            self._parts = {
                name: [self._fitting(np.concatenate(parts, axis=1))]
                for name, parts in self._parts.items()
            }
            self._kept = sum(part.shape[1] for (part,) in self._parts.values())

    def of(self, split: str) -> npt.NDArray[np.uint64]:
        """Rows of `given`, `whole` and number, in the order of the rows."""
        parts = self._parts[split]
        self._parts[split] = [np.concatenate(parts, axis=1)]
        return self._parts[split][0]

    @property
    def splits(self) -> Sequence[str]:
        """The splits that were seen."""
        return tuple(self._parts)

    def _fitting(self, part: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        if not self._zero_bits:
            return part
        ends = mixed(part[0]) & np.uint64(self.factor - 1)  # mixed anew: rows were shared out by it
        return part[:, ends == 0]


class ContentChecks:
    """Finds the same content in several rows."""

    def __init__(self, schema: Schema, limit: int = MAX_KEPT) -> None:
        self._given = Schema(tuple(one for one in schema.columns if one.role in _GIVEN))
        self._goals = Schema(tuple(one for one in schema.columns if one.role in _GOALS))
        self._ids = Schema(schema.with_role(ColumnRole.ID))
        self._is_contradicting = any(one.role is ColumnRole.LABEL for one in self._goals.columns)
        self._rows = KeptHashes(limit)
        self._names = KeptHashes(limit)

    def add(self, split: str, row: int, batch: pa.RecordBatch) -> None:
        """Take rows; the first is number `row` of `split`."""
        if self._given.columns:
            given = row_hashes(self._given, batch)
            whole = mixed(given ^ row_hashes(self._goals, batch)) if self._goals.columns else given
            self._rows.add(split, row, given, whole)
        if self._ids.columns:
            names = row_hashes(self._ids, batch)
            self._names.add(split, row, names, names)

    def findings(self) -> list[Finding]:
        """What was found."""
        found: list[Finding] = []
        for split in self._rows.splits:
            found += self._within(split)
        for first, second in combinations(self._rows.splits, 2):
            found += self._between(first, second)
        for split in self._names.splits:
            again = _again(self._names.of(split)[0])
            found += _told(
                Severity.WARNING,
                "duplicate-id",
                "Rows{where} have the id of an earlier row: {count}.",
                _Rows(self._names, split, again),
            )
        return found

    def _within(self, split: str) -> list[Finding]:
        given, whole, _ = self._rows.of(split)
        again = _again(whole)
        found = _told(
            Severity.WARNING,
            "duplicate-rows",
            "Rows{where} are the same as an earlier row: {count}. They count several times.",
            _Rows(self._rows, split, again),
        )
        if self._is_contradicting:
            found += _told(
                Severity.WARNING,
                "contradicting-labels",
                "Rows{where} have the features of another row and another label: {count}. No "
                "model can be right on both.",
                _Rows(self._rows, split, _contradicting(given, whole)),
            )
        return found

    def _between(self, first: str, second: str) -> list[Finding]:
        known = np.unique(self._rows.of(first)[0])
        given = self._rows.of(second)[0]
        return _told(
            Severity.ERROR,
            "leakage",
            f"Rows{{where}} have the same features as rows of '{first}': {{count}}. What is "
            "measured on them is better than what can be expected of new rows; leave them out, or "
            "split anew.",
            _Rows(self._rows, second, np.isin(given, known)),
        )


@dataclass(frozen=True, slots=True)
class _Rows:
    """Kept rows of a split that a finding is about."""

    hashes: KeptHashes
    split: str
    mask: npt.NDArray[np.bool_]


def _told(severity: Severity, code: str, message: str, rows: _Rows) -> list[Finding]:
    """A finding; `message` has places for `where` and `count`. Nothing for no rows."""
    kept = int(np.count_nonzero(rows.mask))
    if not kept:
        return []
    factor = rows.hashes.factor
    numbers = rows.hashes.of(rows.split)[2][np.flatnonzero(rows.mask)[:MAX_NAMED]]
    about = f"about {kept * factor}" if factor > 1 else str(kept)
    where = f" of '{rows.split}'" if rows.split else ""
    return [
        Finding(
            severity,
            code,
            message.format(where=where, count=about),
            count=kept * factor,
            first=tuple(RowName(rows.split, int(one)) for one in numbers),
            is_estimated=factor > 1,
        )
    ]


def _again(values: Hashes) -> npt.NDArray[np.bool_]:
    """Which values have stood before."""
    again = np.ones(len(values), np.bool_)
    again[np.unique(values, return_index=True)[1]] = False
    return again


def _contradicting(given: Hashes, whole: Hashes) -> npt.NDArray[np.bool_]:
    """Which rows have a `given` that another row has with another `whole`."""
    if not len(given):
        return np.zeros(0, np.bool_)
    order: npt.NDArray[Any] = np.lexsort((whole, given))
    same_given = given[order][1:] == given[order][:-1]
    changes = same_given & (whole[order][1:] != whole[order][:-1])
    if not changes.any():
        return np.zeros(len(given), np.bool_)
    groups = np.concatenate([[0], np.cumsum(~same_given)])
    bad = np.zeros(len(given), np.bool_)
    bad[order] = np.isin(groups, groups[1:][changes])
    return bad
