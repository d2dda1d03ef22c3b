"""Datasets, their immutable versions, and what their columns are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class ColumnType(StrEnum):
    """What a column holds.

    `IMAGE` is an encoded image file (PNG, JPEG, ...). `BOXES` is a list of objects per row, each
    a class and a box `[x, y, width, height]` in pixels of the row's image, from its upper left
    corner. `TENSOR` is an array of one shape and type for all rows.
    """

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    TIME = "time"
    IMAGE = "image"
    BOXES = "boxes"
    TENSOR = "tensor"


class ColumnRole(StrEnum):
    """What a column is for. A pair of texts is a `SOURCE` and a `TARGET`."""

    FEATURE = "feature"
    LABEL = "label"
    SOURCE = "source"
    TARGET = "target"
    ID = "id"
    WEIGHT = "weight"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        name: unique within the schema.
        type: what it holds.
        role: what it is for.
        is_nullable: whether values may be missing.
        classes: of a label or of boxes: the names of its classes, in the order of their numbers;
            the rows hold names (labels) or numbers (boxes). Empty for labels that are no classes.
        shape: of a tensor, without the rows.
        dtype: of a tensor, as numpy calls it (`uint8`, `float32`, ...).
    """

    name: str
    type: ColumnType
    role: ColumnRole = ColumnRole.FEATURE
    is_nullable: bool = False
    classes: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    dtype: str = ""

    def to_wire(self) -> dict[str, Any]:
        """As JSON types; what is not said is left out."""
        told: dict[str, Any] = {"name": self.name, "type": self.type.value, "role": self.role.value}
        if self.is_nullable:
            told["is_nullable"] = True
        if self.classes:
            told["classes"] = list(self.classes)
        if self.type is ColumnType.TENSOR:
            told |= {"shape": list(self.shape), "dtype": self.dtype}
        return told

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Column:
        """The column that `to_wire` wrote."""
        return cls(
            name=wire["name"],
            type=ColumnType(wire["type"]),
            role=ColumnRole(wire["role"]),
            is_nullable=wire.get("is_nullable", False),
            classes=tuple(wire.get("classes", ())),
            shape=tuple(wire.get("shape", ())),
            dtype=wire.get("dtype", ""),
        )


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns of a dataset, in order."""

    columns: tuple[Column, ...]

    def with_role(self, role: ColumnRole) -> tuple[Column, ...]:
        """The columns that are for `role`."""
        return tuple(one for one in self.columns if one.role is role)

    def find(self, name: str) -> Column | None:
        """The column of that name."""
        return next((one for one in self.columns if one.name == name), None)

    def to_wire(self) -> list[dict[str, Any]]:
        """As JSON types."""
        return [one.to_wire() for one in self.columns]

    @classmethod
    def from_wire(cls, wire: list[Mapping[str, Any]]) -> Schema:
        """The schema that `to_wire` wrote."""
        return cls(tuple(Column.from_wire(one) for one in wire))


@dataclass(frozen=True, slots=True)
class Shard:
    """Some rows of one split: a Parquet file, kept as a content of the tenant.

    `digest` is `sha256:<64 hex digits>` of the file before it is encrypted.
    """

    digest: str
    rows: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Split:
    """A named part of a dataset (`train`, `validation`, `test`, or any other name)."""

    name: str
    shards: tuple[Shard, ...]

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return sum(one.rows for one in self.shards)


@dataclass(frozen=True, slots=True)
class Dataset:
    """A name in a tenant."""

    tenant_id: str
    name: str
    created_at: datetime
    created_by: str


@dataclass(frozen=True, slots=True)
class DatasetVersion:
    """An immutable version of a dataset, told as `name@number`.

    Attributes:
        digest: covers schema, splits and the content of every row: same rows, same digest.
        statistics: per column and split, as `datasets.statistics` makes them.
        report: what validation found, as `datasets.validation` makes it.
        origin: how it came to be: `{"import": {...}}` or `{"derive": {...}, "from": ["name@3"]}`.
    """

    tenant_id: str
    dataset_name: str
    number: int
    digest: str
    schema: Schema
    splits: tuple[Split, ...]
    created_at: datetime
    created_by: str
    statistics: Mapping[str, Any] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ref(self) -> str:
        """`name@number`, as people write it."""
        return f"{self.dataset_name}@{self.number}"

    def split(self, name: str) -> Split | None:
        """The split of that name."""
        return next((one for one in self.splits if one.name == name), None)


@dataclass(frozen=True, slots=True)
class DataDescription:
    """What is known of a dataset version before a row is read; rows are counted by split."""

    ref: str
    digest: str
    schema: Schema
    rows: Mapping[str, int]
    statistics: Mapping[str, Any] = field(default_factory=dict)
