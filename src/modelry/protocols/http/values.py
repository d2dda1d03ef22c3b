"""Takes single values out of a JSON body: one small function per kind, all bounds checked.

A missing field and `null` are the same. `true` is not a number, and neither is a number text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from modelry.domain.errors import InvalidInput, UnsupportedField
from modelry.domain.nesting import is_nested_deeper

Body = Mapping[str, Any]

_SHOWN_CHARS = 40
_JSON_NAMES: dict[type, str] = {dict: "an object", list: "a list"}
_CONSTANTS = {True: "true", False: "false", None: "null"}


def shown(value: Any) -> str:
    """`value` as a message may show it: short, containers by their kind only."""
    if isinstance(value, str):
        cut = "…" if len(value) > _SHOWN_CHARS else ""
        return f"{value[:_SHOWN_CHARS]!r}{cut}"
    if isinstance(value, dict | list):
        return f"{_JSON_NAMES[type(value)]} of {len(value)}"
    return _CONSTANTS[value] if type(value) is bool or value is None else f"{value!r:.40}"


def number(body: Body, name: str, low: float, high: float) -> float | None:
    """A finite number from `low` to `high`.

    Raises:
        InvalidInput: it is none.
    """
    value = body.get(name)
    if value is None:
        return None
    is_number = type(value) in {int, float} and math.isfinite(value)
    if not is_number or not low <= value <= high:
        raise InvalidInput(
            f"{name} is {shown(value)}; expected a number from {low:g} to {high:g}.", param=name
        )
    return float(value)


def whole(body: Body, name: str, low: int, high: int) -> int | None:
    """A whole number from `low` to `high`.

    Raises:
        InvalidInput: it is none.
    """
    value = body.get(name)
    if value is None:
        return None
    if type(value) is not int or not low <= value <= high:
        raise InvalidInput(
            f"{name} is {shown(value)}; expected a whole number from {low} to {high}.", param=name
        )
    return value


def flag(body: Body, name: str, *, default: bool = False) -> bool:
    """`true` or `false`.

    Raises:
        InvalidInput: it is neither.
    """
    value = body.get(name)
    if value is None:
        return default
    if type(value) is not bool:
        raise InvalidInput(f"{name} is {shown(value)}; expected true or false.", param=name)
    return value


def text(body: Body, name: str, *, param: str | None = None, most_chars: int) -> str | None:
    """A text of 1 to `most_chars` characters.

    Raises:
        InvalidInput: it is none.
    """
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= most_chars:
        where = param or name
        raise InvalidInput(
            f"{where} is {shown(value)}; expected a text of 1 to {most_chars} characters.",
            param=where,
        )
    return value


def required_text(body: Body, name: str, *, param: str | None = None, most_chars: int) -> str:
    """As `text`, and it must be there.

    Raises:
        InvalidInput: missing, or no such text.
    """
    value = text(body, name, param=param, most_chars=most_chars)
    if value is None:
        where = param or name
        raise InvalidInput(f"{where} is missing; it is required.", param=where)
    return value


def one_of(body: Body, name: str, allowed: Sequence[str], default: str) -> str:
    """One of the texts in `allowed`.

    Raises:
        InvalidInput: it is none of them.
    """
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, str) or value not in allowed:
        raise InvalidInput(
            f"{name} is {shown(value)}; expected one of: {', '.join(allowed)}.", param=name
        )
    return value


def model_name(body: Body) -> str:
    """The field `model`.

    Raises:
        InvalidInput: missing or no text.
    """
    return required_text(body, "model", most_chars=256)


def check_nesting(value: Any, param: str, *, most_levels: int, most_bytes: int) -> None:
    """Refuse JSON that is too deep or too large, before anything walks it recursively.

    Raises:
        InvalidInput: beyond a bound.
    """
    if is_nested_deeper(value, most_levels):
        raise InvalidInput(
            f"{param} is nested deeper than {most_levels} levels. Flatten it.", param=param
        )
    size = len(orjson.dumps(value))
    if size > most_bytes:
        raise InvalidInput(
            f"{param} takes {size} bytes as JSON; at most {most_bytes} are allowed.", param=param
        )


def refuse_unknown_keys(value: Body, known: frozenset[str], where: str) -> None:
    """Refuse keys of an inner object that nobody reads; `null` is as good as not there.

    Raises:
        UnsupportedField: names the key and those that are known.
    """
    for key, inner in value.items():
        if key not in known and inner is not None:
            param = f"{where}.{key[:80]}"
            raise UnsupportedField(
                f"{param} is not known here; {where} may have: {', '.join(sorted(known))}.",
                param=param,
            )
