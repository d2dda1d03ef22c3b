"""Values of JSON as values of columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from modelry.domain.datasets import ColumnType

MAX_INTEGER = 2**63 - 1
MAX_EXACT = 2**53
MAX_DEPTH = 8
_WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
    type(None): "nothing",
}


class NotOfType(Exception):
    """A value is not what its column holds; the message says what it is."""


def flattened(row: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """Objects within a row as columns of their own: `{"a": {"b": 1}}` is `{"a.b": 1}`.

    Raises:
        NotOfType: objects lie too deep in each other, or two columns get the same name.
    """
    if not any(type(value) is dict for value in row.values()):
        return dict(row)
    if depth == MAX_DEPTH:
        raise NotOfType(f"objects lie more than {MAX_DEPTH} deep in each other")
    flat: dict[str, Any] = {}
    for name, value in row.items():
        inner = {name: value}
        if type(value) is dict:
            inner = {f"{name}.{key}": one for key, one in flattened(value, depth + 1).items()}
        for key, one in inner.items():
            if key in flat:
                raise NotOfType(f"it has '{key}' twice, once within another object")
            flat[key] = one
    return flat


def kind_of(value: Any) -> ColumnType:
    """The type of column that a value is of.

    Raises:
        NotOfType: it is of none.
    """
    kinds = {
        str: ColumnType.TEXT,
        bool: ColumnType.BOOLEAN,
        int: ColumnType.INTEGER,
        float: ColumnType.NUMBER,
        list: ColumnType.TENSOR,
    }
    return kinds[type(value)]


def shape_of(value: Any) -> tuple[int, ...]:
    """The shape of lists in lists.

    Raises:
        NotOfType: they are of different lengths, empty, or too deep.
    """
    shape: list[int] = []
    first = value
    while type(first) is list:
        if not first or len(shape) == MAX_DEPTH:
            raise NotOfType("a list is empty or too deep")
        shape.append(len(first))
        first = first[0]
    return tuple(shape)


def flat_numbers(value: Any, shape: tuple[int, ...]) -> list[Any]:
    """The numbers of lists in lists of `shape`, in order.

    Raises:
        NotOfType: it has another shape, or holds what is no number.
    """
    level = [value]
    for side in shape:
        deeper: list[Any] = []
        for one in level:
            if type(one) is not list or len(one) != side:
                raise NotOfType(f"its lists are not of the shape {list(shape)}")
            deeper += one
        level = deeper
    for one in level:
        if type(one) is not int and type(one) is not float:
            raise NotOfType(f"{shown(one)} stands in a list of numbers")
        if type(one) is int and abs(one) > MAX_EXACT:
            raise NotOfType(f"{shown(one)} in a list is too large to be kept exactly")
    return level


def shown(value: Any) -> str:
    """A value for messages."""
    if isinstance(value, list | dict) or value is None:
        return _WORDS[type(value)]
    text = str(value)
    return f"'{text[:40]}…'" if len(text) > 40 else f"'{text}'"


def as_type(value: Any, kind: ColumnType) -> Any:
    """A value of a column of `kind`, None if it is missing.

    Raises:
        NotOfType: it is no such value, and cannot be taken for one without a loss.
    """
    if value is None:
        return None
    try:
        return _READERS[kind](value)
    except (ValueError, OverflowError, TypeError, KeyError):
        raise NotOfType(f"{shown(value)} is no {kind.value}") from None


def _text(value: Any) -> str:
    if type(value) is bool:
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise ValueError


def _integer(value: Any) -> int:
    if type(value) is bool or (isinstance(value, float) and not value.is_integer()):
        raise ValueError
    whole = int(value)
    if not -MAX_INTEGER - 1 <= whole <= MAX_INTEGER:
        raise ValueError
    return whole


def _number(value: Any) -> float:
    if type(value) is bool:
        raise ValueError
    number = float(value)
    if isinstance(value, int) and int(number) != value:
        raise ValueError
    return number


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}[value.lower()]


def _time(value: Any) -> datetime:
    """ISO 8601; without a zone it is taken for UTC."""
    told = datetime.fromisoformat(value)
    return told.replace(tzinfo=UTC) if told.tzinfo is None else told.astimezone(UTC)


_READERS: Mapping[ColumnType, Callable[[Any], Any]] = {
    ColumnType.TEXT: _text,
    ColumnType.INTEGER: _integer,
    ColumnType.NUMBER: _number,
    ColumnType.BOOLEAN: _truth,
    ColumnType.TIME: _time,
}
