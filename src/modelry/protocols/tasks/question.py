"""A request of the typed door, read by what its model's task declares."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from modelry.domain.errors import InvalidInput, UnsupportedField
from modelry.protocols.http.values import flag, number, shown, text, whole
from modelry.tasks.contract import ItemForm, Schema

MAX_ITEMS = 256
MAX_TEXT_CHARS = 2**20
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_DECIMAL = re.compile(r"-?[0-9]{1,18}(\.[0-9]{0,18})?([eE][-+]?[0-9]{1,3})?")


class Question(Protocol):
    """One request, whichever way it was written."""

    @property
    def model(self) -> str:
        """The deployment that shall answer."""
        ...

    @property
    def names(self) -> Collection[str]:
        """What else was given: fields of items, and options."""
        ...

    def column(self, name: str, schema: Schema) -> list[Any]:
        """The values of one field, one per item.

        Raises:
            InvalidInput: they are not of its type.
        """
        ...

    def option(self, name: str, schema: Schema) -> Any:
        """The value of an option, None when it was not given.

        Raises:
            InvalidInput: it is not of its type.
        """
        ...


def is_binary(schema: Schema) -> bool:
    """Whether a field of this schema holds bytes."""
    return schema.get("format") == "binary"


def is_text(schema: Schema) -> bool:
    """Whether a field of an item is a text."""
    return schema.get("type") == "string" and not is_binary(schema)


def check_names(question: Question, model: str, form: ItemForm, more: Sequence[str] = ()) -> None:
    """Refuse what neither the model's task nor the endpoint (`more`) knows.

    Raises:
        UnsupportedField: names it, and what is known.
    """
    fields, options = list(form.item["properties"]), [*form.options, *more]
    for name in question.names:
        if name not in fields and name not in options:
            raise UnsupportedField(
                f"{name[:80]} is not known here; model '{model}' takes {' and '.join(fields)}, and "
                f"the options: {', '.join(options) or 'none'}.",
                param=name[:80],
            )


def items_of(question: Question, form: ItemForm) -> list[dict[str, Any]]:
    """The items that were sent, 1 to `MAX_ITEMS`.

    Raises:
        InvalidInput: too many or none, a field is missing, or fields differ in their number.
    """
    columns: dict[str, list[Any]] = {}
    for name, schema in form.item["properties"].items():
        if name in question.names:
            columns[name] = question.column(name, schema)
        elif name in form.item.get("required", ()):
            raise InvalidInput(f"{name} is missing; it is required.", param=name)
    counts = {name: len(column) for name, column in columns.items()}
    for name, count in counts.items():
        if not 1 <= count <= MAX_ITEMS:
            raise InvalidInput(
                f"{name} has {count} entries; expected 1 to {MAX_ITEMS} in one request.", param=name
            )
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{count} of {name}" for name, count in counts.items())
        raise InvalidInput(f"The request has {told}; expected as many of each.", param=max(counts))
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def options_of(question: Question, form: ItemForm) -> dict[str, Any]:
    """The options that were given.

    Raises:
        InvalidInput: one is of another type, or out of range.
    """
    found = {name: question.option(name, schema) for name, schema in form.options.items()}
    return {name: value for name, value in found.items() if value is not None}


def read_option(name: str, value: Any, schema: Schema) -> Any:
    """An option as JSON has it; None is as good as not there.

    Raises:
        InvalidInput: it is not of its type, or out of range.
    """
    given = {name: value}
    low, high = schema.get("minimum"), schema.get("maximum")
    match schema["type"]:
        case "integer":
            return whole(given, name, _bound(low, -(2**53)), _bound(high, 2**53))
        case "number":
            return number(given, name, _bound(low, -1e300), _bound(high, 1e300))
        case "boolean":
            return None if value is None else flag(given, name)
        case _:
            return text(given, name, most_chars=MAX_TEXT_CHARS)


def parse_option(name: str, value: str, schema: Schema) -> Any:
    """An option as forms and URLs have it: everything is text there.

    Raises:
        InvalidInput: it is not of its type, or out of range.
    """
    kind = schema["type"]
    parsed: Any = value
    if kind == "integer" and _INTEGER.fullmatch(value):
        parsed = int(value)
    elif kind == "number" and _DECIMAL.fullmatch(value):
        parsed = float(value)
    elif kind == "boolean":
        parsed = {"true": True, "false": False}.get(value, value)
    return read_option(name, parsed, schema)


def single(values: Mapping[str, list[Any]], name: str) -> Any:
    """The one value of a field that must not be repeated, None when it is not there.

    Raises:
        InvalidInput: it is there several times.
    """
    found = values.get(name, [])
    if len(found) > 1:
        raise InvalidInput(f"{name} was given {len(found)} times; expected it once.", param=name)
    return found[0] if found else None


def checked_text(name: str, value: Any) -> str:
    """A text of an item; it may be empty.

    Raises:
        InvalidInput: it is none, or too long.
    """
    if not isinstance(value, str) or len(value) > MAX_TEXT_CHARS:
        raise InvalidInput(
            f"{name} is {shown(value)}; expected a text of up to {MAX_TEXT_CHARS} characters.",
            param=name,
        )
    return value


def _bound(declared: Any, default: Any) -> Any:
    return default if declared is None else declared
