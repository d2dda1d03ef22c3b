"""Declared parameters of steps: what a value may be, and how to say what it should be."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

MAX_SHOWN = 80
MAX_COMPARED = 500


class Unfit(Exception):
    """A value or combination that a step cannot work with; the message says what it expects.

    Never leaves this package: whoever knows the step's place turns it into a `ManifestInvalid`
    or `InvalidInput` that names it.
    """


class _Required:
    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Final = _Required()
"""Marks a parameter without a default."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Takes a JSON value, gives the value to use; raises `Unfit` for anything unexpected.

    `expected` is told to people: "an integer from 1 to 10".
    """

    expected: str
    read: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One declared parameter.

    `option` names the request option that may override it; None when requests may not.
    `about` says in the reference what it does, where its name does not.
    """

    name: str
    reader: Reader
    default: Any = REQUIRED
    option: str | None = None
    about: str = ""

    def read(self, value: Any) -> Any:
        """The value to use.

        Raises:
            Unfit: it is not what the parameter takes; the message says what was expected.
        """
        try:
            return self.reader.read(value)
        except Unfit as reason:
            detail = f" ({reason})" if str(reason) else ""
            raise Unfit(
                f"'{self.name}' is {show(value)}; expected {self.reader.expected}{detail}."
            ) from None


def read_parameters(
    parameters: Sequence[Parameter], given: Mapping[str, Any], what: str = "parameter"
) -> dict[str, Any]:
    """The given values and the defaults of all others, by name, in declared order.

    Raises:
        Unfit: unknown, missing or unfit values.
    """
    known = {parameter.name: parameter for parameter in parameters}
    for name in given:
        if name not in known:
            expected = ", ".join(known) or f"no {what}s"
            raise Unfit(
                f"it has no {what} {show(name)}; it takes: {expected}.{suggest(name, known)}"
            )
    values: dict[str, Any] = {}
    for name, parameter in known.items():
        if name in given:
            values[name] = parameter.read(given[name])
        elif parameter.default is REQUIRED:
            raise Unfit(f"{what} '{name}' is missing; expected {parameter.reader.expected}.")
        else:
            values[name] = parameter.default
    return values


def show(value: Any) -> str:
    """`value` as people would write it, cut to a bounded length."""
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{len(value)} bytes"
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 256:
        return "an integer of more than 77 digits"
    text = repr(value[:MAX_SHOWN] if isinstance(value, str) else value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def suggest(word: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    """` Did you mean 'x'?` when something known is close, else nothing."""
    close = get_close_matches(str(word)[:MAX_SHOWN], list(known)[:MAX_COMPARED], n=1)
    return f" Did you mean '{close[0]}'?" if close else ""


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    if _is_integer(value):
        return bool(abs(value) <= 2**1000)
    return isinstance(value, float) and math.isfinite(value)


def integer(low: int, high: int) -> Reader:
    """A whole number from `low` to `high`."""

    def read(value: Any) -> int:
        if not _is_integer(value) or not low <= value <= high:
            raise Unfit
        return int(value)

    return Reader(f"an integer from {low} to {high}", read)


def number(low: float, high: float) -> Reader:
    """A finite number from `low` to `high`."""

    def read(value: Any) -> float:
        if not _is_number(value) or not low <= value <= high:
            raise Unfit
        return float(value)

    return Reader(f"a number from {low:g} to {high:g}", read)


def ratio() -> Reader:
    """A finite number other than 0, also written as a fraction: `1/255`."""
    fraction = re.compile(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*/\s*(\d{1,9}(?:\.\d{1,9})?)\s*")

    def read(value: Any) -> float:
        if isinstance(value, str) and (parts := fraction.fullmatch(value)):
            above, below = float(parts[1]), float(parts[2])
            value = above / below if below else 0.0
        if not _is_number(value) or not 1e-12 <= abs(value) <= 1e12:
            raise Unfit
        return float(value)

    return Reader("a number other than 0, or a fraction such as '1/255'", read)


def flag() -> Reader:
    """True or false."""

    def read(value: Any) -> bool:
        if not isinstance(value, bool):
            raise Unfit
        return value

    return Reader("true or false", read)


def choice(*words: str) -> Reader:
    """One of some words."""

    def read(value: Any) -> str:
        if value not in words:
            raise Unfit
        return str(value)

    return Reader("one of " + ", ".join(f"'{word}'" for word in words), read)


def text(limit: int = 256) -> Reader:
    """Text of 1 to `limit` characters."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or not 1 <= len(value) <= limit:
            raise Unfit
        return value

    return Reader(f"text of 1 to {limit} characters", read)


def size(limit: int, meaning: str) -> Reader:
    """An integer, or [width, height]."""

    def read(value: Any) -> int | list[int]:
        if _is_integer(value) and 1 <= value <= limit:
            return int(value)
        if (
            isinstance(value, list | tuple)
            and len(value) == 2
            and all(_is_integer(side) and 1 <= side <= limit for side in value)
        ):
            return [int(side) for side in value]
        raise Unfit

    return Reader(f"{meaning}, or [width, height]; integers from 1 to {limit}", read)


def list_of(item: Reader, low: int, high: int) -> Reader:
    """A list of `low` to `high` values."""

    def read(value: Any) -> list[Any]:
        if not isinstance(value, list | tuple) or not low <= len(value) <= high:
            raise Unfit
        return [item.read(element) for element in value]

    count = str(low) if low == high else f"{low} to {high}"
    return Reader(f"a list of {count}, each {item.expected}", read)


def one_or_list(item: Reader, high: int) -> Reader:
    """One value, or a list of up to `high`."""

    def read(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return list_of(item, 1, high).read(value)
        return item.read(value)

    return Reader(f"{item.expected}, or a list of up to {high} of them", read)


def optional(item: Reader) -> Reader:
    """A value, or null."""

    def read(value: Any) -> Any:
        return None if value is None else item.read(value)

    return Reader(f"{item.expected}, or null", read)
