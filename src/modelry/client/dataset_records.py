"""What the management API tells of datasets, as typed values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class DatasetColumn:
    """A column: `classes` of a label or of boxes, `shape` and `dtype` of a tensor."""

    name: str
    type: str
    role: str
    is_nullable: bool = False
    classes: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    dtype: str = ""


@dataclass(frozen=True, slots=True)
class DatasetSplit:
    """A named part of a version."""

    name: str
    rows: int
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class DatasetVersion:
    """An immutable version: the same rows have the same `digest`.

    `statistics` (by split and column), `report` (what validation found) and `origin` are empty in
    lists.
    """

    dataset: str
    version: int
    ref: str
    digest: str
    columns: tuple[DatasetColumn, ...]
    splits: tuple[DatasetSplit, ...]
    created_at: datetime | None = None
    created_by: str = ""
    statistics: Mapping[str, Any] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many rows all splits have."""
        return sum(one.rows for one in self.splits)


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset; `newest` is None when all its versions were deleted."""

    name: str
    created_at: datetime | None = None
    created_by: str = ""
    newest: DatasetVersion | None = None


@dataclass(frozen=True, slots=True)
class DatasetRows:
    """Rows of one split, from `offset` on; `total` is how many it has."""

    ref: str
    split: str
    offset: int
    total: int
    rows: tuple[Mapping[str, Any], ...]
