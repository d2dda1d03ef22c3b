"""Shares rows out to splits by their content: seeded, stratified, and whatever order they come in.

A row's place follows from the seed and the hash of what it is predicted from (its features, or its
source). Rows are looked at twice: once to see which hashes each class has, so that every class is
shared out in the wanted proportion to the row, and once to share them out. Rows that are the same
question have the same hash and, within a class, stay together: what is in one split is in no other.

Of the first pass 12 bytes a row are kept. Beyond `MAX_EXACT_ROWS` rows no more are: then a hash's
place among all hashes decides, which meets the proportions within what chance does to so many rows.
"""

from __future__ import annotations

from math import floor
from typing import Any

import numpy as np
import pyarrow as pa

from modelry.datasets.plans import SplitPlan
from modelry.datasets.row_hashes import Hashes, mixed, predicting, row_hashes, text_hash
from modelry.domain.datasets import ColumnRole, ColumnType, Schema
from modelry.domain.errors import InvalidInput

MAX_EXACT_ROWS = 20_000_000
MAX_STRATA = 10_000
_STRATA_TYPES = frozenset({ColumnType.TEXT, ColumnType.INTEGER, ColumnType.BOOLEAN})

Codes = np.ndarray[Any, np.dtype[np.int32]]


class Splitter:
    """Shares rows out: `look` at all of them, then `settle`, then `share` them out.

    Args:
        schema: their columns.
        plan: the splits.

    Raises:
        InvalidInput: there is no such column to stratify by, or it cannot be.
    """

    def __init__(self, schema: Schema, plan: SplitPlan) -> None:
        self._predicting = predicting(schema)
        self._plan = plan
        self._column = _column_of(schema, plan)
        self._codes: dict[Any, int] = {}
        self._seen: list[tuple[Hashes, Codes]] = []
        self._bounds = np.empty((0, 0), dtype=np.uint64)
        self.rows = 0

    @property
    def names(self) -> list[str]:
        """The splits, in order."""
        return list(self._plan.fractions)

    def look(self, batch: pa.RecordBatch) -> None:
        """See rows before they are shared out.

        Raises:
            InvalidInput: the column to stratify by has too many values.
        """
        self.rows += len(batch)
        codes = self._codes_of(batch, grow=True)
        if self.rows <= MAX_EXACT_ROWS:
            self._seen.append((self._hashes(batch), codes))
        else:
            self._seen.clear()

    def settle(self) -> None:
        """Fix which hashes go where; all rows have been seen.

        Raises:
            InvalidInput: a split would have no rows.
        """
        hashes = np.concatenate([one for one, _ in self._seen]) if self._seen else None
        codes = np.concatenate([one for _, one in self._seen]) if self._seen else None
        strata = max(len(self._codes), 1)
        self._bounds = np.empty((strata, len(self._plan.fractions)), dtype=np.uint64)
        counts = np.zeros(len(self._plan.fractions), dtype=np.int64)
        for stratum in range(strata):
            if hashes is None or codes is None or self.rows > MAX_EXACT_ROWS:
                self._bounds[stratum] = self._even_bounds()
                counts += self.rows  # enough for every split
                continue
            own = np.sort(hashes[codes == stratum])
            self._bounds[stratum] = self._exact_bounds(stratum, own)
            ends = np.searchsorted(own, self._bounds[stratum], side="right")
            counts += np.diff(ends, prepend=0)
        self._seen.clear()
        for name, count in zip(self.names, counts, strict=True):
            if count == 0:
                raise InvalidInput(
                    f"The split '{name}' would have no rows: there are {self.rows} different ones "
                    "to share out. Give more rows, or a larger fraction.",
                    param="split",
                )

    def share(self, batch: pa.RecordBatch) -> list[tuple[str, pa.RecordBatch]]:
        """The rows of each split, in their order; splits without any are left out."""
        codes = self._codes_of(batch, grow=False)
        hashes = self._hashes(batch)
        # the first split whose bound is not below the hash
        places = (self._bounds[codes] < hashes[:, None]).sum(axis=1)
        shared = []
        for at, name in enumerate(self.names):
            mask = places == at
            if mask.any():
                shared.append((name, batch.filter(pa.array(mask))))
        return shared

    def _hashes(self, batch: pa.RecordBatch) -> Hashes:
        seed = mixed(np.array([self._plan.seed], dtype=np.uint64))
        return mixed(row_hashes(self._predicting, batch) ^ seed)

    def _codes_of(self, batch: pa.RecordBatch, *, grow: bool) -> Codes:
        if self._column is None:
            return np.zeros(len(batch), dtype=np.int32)
        coded = batch.column(self._column).dictionary_encode(null_encoding="encode")
        values = coded.dictionary.to_pylist()
        for value in values if grow else ():
            self._codes.setdefault(value, len(self._codes))
        if len(self._codes) > MAX_STRATA:
            raise InvalidInput(
                f"Column '{self._column}' has more than {MAX_STRATA} values; rows cannot be shared "
                "out alike by it.",
                param="stratify",
            )
        known = np.array([self._codes[one] for one in values], dtype=np.int32)
        found: Codes = known[coded.indices.to_numpy(zero_copy_only=False)]
        return found

    def _exact_bounds(self, stratum: int, own: Hashes) -> list[int]:
        """The last hash of each split, for hashes in order.

        What is over of a class that cannot be divided goes to a split by chance, so that many small
        classes together have the wanted proportions.
        """
        value = next((one for one, at in self._codes.items() if at == stratum), "")
        chance = text_hash(f"{self._plan.seed}/{value}") / 2**64 if self._codes else 0.5
        bounds, so_far = [], 0.0
        for fraction in self._plan.fractions.values():
            so_far += fraction
            end = min(floor(round(so_far * len(own), 6) + chance), len(own))
            bounds.append(int(own[end - 1]) if end else 0)
        bounds[-1] = 2**64 - 1
        return bounds

    def _even_bounds(self) -> list[int]:
        ends = np.cumsum(list(self._plan.fractions.values()))
        return [*(min(int(one * 2**64), 2**64 - 1) for one in ends[:-1]), 2**64 - 1]


def _column_of(schema: Schema, plan: SplitPlan) -> str | None:
    """The column that rows are stratified by; None for none."""
    if plan.stratify is None:
        labels = schema.with_role(ColumnRole.LABEL)
        found = next((one for one in labels if one.type in _STRATA_TYPES and one.classes), None)
        return None if found is None else found.name
    column = schema.find(plan.stratify)
    if column is None:
        known = ", ".join(one.name for one in schema.columns)
        raise InvalidInput(
            f"There is no column '{plan.stratify}' to stratify by; there are {known[:500]}.",
            param="stratify",
        )
    if column.type not in _STRATA_TYPES:
        raise InvalidInput(
            f"Rows cannot be shared out alike by the column '{column.name}' of the type "
            f"'{column.type}'; {', '.join(sorted(_STRATA_TYPES))} can be used.",
            param="stratify",
        )
    return column.name
