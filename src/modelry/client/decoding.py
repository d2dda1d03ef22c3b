"""JSON into typed values and back.

Servers may be newer: unknown fields are skipped, and fields with a default may be missing.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from modelry.client.errors import UnexpectedAnswer

T = TypeVar("T")
Reader = Callable[[Any, str], Any]


def decode(cls: type[T], value: Any, where: str = "answer") -> T:
    """`value` (parsed JSON) as an object of the dataclass `cls`.

    Raises:
        UnexpectedAnswer: a required field is missing or of another type; says which.
    """
    result: T = _reader_of(cls)(value, where)
    return result


def decode_list(cls: type[T], value: Any, key: str) -> list[T]:
    """The objects in the list `value[key]`.

    Raises:
        UnexpectedAnswer: there is no such list.
    """
    if not isinstance(value, dict) or not isinstance(value.get(key), list):
        raise UnexpectedAnswer(f"The server's answer holds no list '{key}'.")
    return [decode(cls, item, f"{key}[{at}]") for at, item in enumerate(value[key])]


def decode_field(cls: type[T], value: Any, key: str) -> T:
    """The object `value[key]`.

    Raises:
        UnexpectedAnswer: there is none.
    """
    if not isinstance(value, dict) or key not in value:
        raise UnexpectedAnswer(f"The server's answer has no '{key}'.")
    return decode(cls, value[key], key)


def encode(value: Any) -> Any:
    """Typed values as JSON types; the inverse of `decode`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: encode(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): encode(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [encode(inner) for inner in value]
    return value


@functools.cache
def _cached_reader(kind: Any) -> Reader:
    return _reader(kind)


def _reader_of(kind: Any) -> Reader:
    return _cached_reader(kind)


def _reader(kind: Any) -> Reader:
    if dataclasses.is_dataclass(kind):
        return _dataclass_reader(kind)
    origin = typing.get_origin(kind)
    arguments = typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _union_reader(arguments)
    if origin in (tuple, list):
        return _sequence_reader(origin, _reader(arguments[0]))
    if origin in (dict, Mapping):
        return _mapping_reader(_reader(arguments[1]))
    if kind is datetime:
        return _read_datetime
    if kind is Any:
        return _read_anything
    return functools.partial(_read_plain, kind)


def _read_plain(kind: type, value: Any, where: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise _mismatch(where, kind.__name__, value)
    return value


def _read_anything(value: Any, where: str) -> Any:  # noqa: ARG001 - a Reader
    return value


def _read_datetime(value: Any, where: str) -> datetime:
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise _mismatch(where, "a time", value) from None


def _union_reader(kinds: tuple[Any, ...]) -> Reader:
    readers = [_reader(kind) for kind in kinds if kind is not types.NoneType]
    optional = types.NoneType in kinds

    def read(value: Any, where: str) -> Any:
        if value is None and optional:
            return None
        for reader in readers[:-1]:
            try:
                return reader(value, where)
            except UnexpectedAnswer:
                continue
        return readers[-1](value, where)

    return read


def _sequence_reader(make: Callable[[list[Any]], Any], reader: Reader) -> Reader:
    def read(value: Any, where: str) -> Any:
        if not isinstance(value, list):
            raise _mismatch(where, "a list", value)
        return make([reader(item, f"{where}[{at}]") for at, item in enumerate(value)])

    return read


def _mapping_reader(reader: Reader) -> Reader:
    def read(value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise _mismatch(where, "an object", value)
        return {key: reader(inner, f"{where}.{key}") for key, inner in value.items()}

    return read


def _dataclass_reader(cls: Any) -> Reader:
    hints = typing.get_type_hints(cls)
    plan = [
        (
            field.name,
            _reader(hints[field.name]),
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
        )
        for field in dataclasses.fields(cls)
    ]

    def read(value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise _mismatch(where, "an object", value)
        found = {}
        for name, reader, required in plan:
            if name in value:
                found[name] = reader(value[name], f"{where}.{name}")
            elif required:
                raise UnexpectedAnswer(f"The server's answer lacks '{where}.{name}'.")
        return cls(**found)

    return read


def _mismatch(where: str, expected: str, value: Any) -> UnexpectedAnswer:
    return UnexpectedAnswer(
        f"The server's answer has {type(value).__name__} at '{where}'; expected {expected}."
    )
