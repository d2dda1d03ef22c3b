"""Declared columns of a table, and what a cell of each may hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from modelry.domain.signature import Datatype
from modelry.processing.casting import FLOATING
from modelry.processing.parameters import (
    Parameter,
    Reader,
    Unfit,
    choice,
    list_of,
    optional,
    read_parameters,
    show,
    text,
)
from modelry.runtime_api.tensors import Array

Kind = Literal["number", "integer", "boolean", "text", "category"]
KINDS: tuple[Kind, ...] = ("number", "integer", "boolean", "text", "category")
MAX_COLUMNS = 10_000
MAX_CATEGORIES = 10_000
MAX_CELL_CHARACTERS = 100_000
NAN = "nan"
"""How a manifest writes a missing number that the model can cope with."""

_EXPECTED: dict[Kind, str] = {
    "number": "a number",
    "integer": "an integer",
    "boolean": "true or false",
    "text": f"text of at most {MAX_CELL_CHARACTERS} characters",
}
_CELL_TYPES: dict[Kind, type] = {
    "number": np.float64,
    "integer": np.int64,
    "boolean": np.bool_,
    "text": np.object_,
    "category": np.int64,
}
_INPUT_KINDS: dict[Kind, frozenset[Datatype]] = {
    "number": FLOATING,
    "integer": frozenset(Datatype) - {Datatype.BYTES, Datatype.BOOL},
    "boolean": frozenset(Datatype) - {Datatype.BYTES},
    "category": frozenset(Datatype) - {Datatype.BYTES, Datatype.BOOL},
    "text": frozenset({Datatype.BYTES}),
}


@dataclass(frozen=True)
class Column:
    """One column: its name, what its cells hold, and the model's input that takes them.

    `values` are the categories, sent as their index. `default` stands for cells that are
    missing or null; None when there must be a value.
    """

    name: str
    kind: Kind
    values: tuple[Any, ...] = ()
    default: Any = None
    input: str | None = None

    def goes_to(self, datatype: Datatype) -> bool:
        """Whether an input of this type can take the cells."""
        return datatype in _INPUT_KINDS[self.kind]

    @property
    def expected(self) -> str:
        """What a cell may hold, in words."""
        if self.kind != "category":
            return _EXPECTED[self.kind]
        shown = ", ".join(show(value) for value in self.values[:10])
        rest = len(self.values) - 10
        return f"one of {shown}" + (f" and {rest} more" if rest > 0 else "")

    def fits(self, value: Any) -> bool:
        """Whether `value` may stand in a cell."""
        if self.kind == "category":
            return isinstance(value, str | bool | int) and (type(value), value) in self._indexes
        if self.kind == "boolean":
            return isinstance(value, bool)
        if self.kind == "text":
            return isinstance(value, str) and len(value) <= MAX_CELL_CHARACTERS
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if isinstance(value, int):
            return -(2**63) <= value < 2**63
        return self.kind == "number" and math.isfinite(value)

    def cells(self, values: Sequence[Any]) -> Array:
        """Fitting values as one array (n,), with the default where they are None."""
        filled = [self.default if value is None else value for value in values]
        if self.kind == "category":
            filled = [self._indexes[type(value), value] for value in filled]
        array: Array = np.empty(len(filled), dtype=_CELL_TYPES[self.kind])
        array[:] = filled  # the default "nan" is read as NaN
        return array

    @cached_property
    def _indexes(self) -> Mapping[tuple[type, Any], int]:
        return {(type(value), value): index for index, value in enumerate(self.values)}


def column_reader() -> Reader:
    """A column as manifests write it: a name, or an object; gives the object in full."""
    parameters = (
        Parameter("name", text()),
        Parameter("type", choice(*KINDS), default="number"),
        Parameter("values", optional(list_of(_category(), 1, MAX_CATEGORIES)), default=None),
        Parameter("default", optional(_default()), default=None),
        Parameter("input", optional(text()), default=None),
    )

    def read(value: Any) -> dict[str, Any]:
        given = {"name": value} if isinstance(value, str) else value
        if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
            raise Unfit
        entry = read_parameters(parameters, given, "key")
        column = column_of(entry)
        if (column.kind == "category") != bool(column.values):
            raise Unfit("'values' are needed for columns of type 'category', and only there")
        if len(set(map(repr, column.values))) < len(column.values):
            raise Unfit("'values' has a value twice")
        is_nan = column.kind == "number" and column.default == NAN
        if column.default is not None and not is_nan and not column.fits(column.default):
            raise Unfit(f"'default' is {show(column.default)}; expected {column.expected}")
        return {key: value for key, value in entry.items() if value is not None}

    return Reader(
        "a column's name, or {name, type, values, default, input} with a type of "
        f"{', '.join(KINDS)}",
        read,
    )


def column_of(entry: Mapping[str, Any]) -> Column:
    """The column that an object in full declares."""
    return Column(
        entry["name"],
        entry["type"],
        tuple(entry.get("values") or ()),
        entry.get("default"),
        entry.get("input"),
    )


def _category() -> Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, str | bool | int):
            raise Unfit
        return value

    return Reader("text, an integer, true or false", read)


def _default() -> Reader:
    def read(value: Any) -> Any:
        if isinstance(value, float) and math.isnan(value):
            return NAN
        if not isinstance(value, str | bool | int | float) or value in (math.inf, -math.inf):
            raise Unfit
        return value

    return Reader("a value for missing cells", read)
