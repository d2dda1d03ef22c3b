"""User's JSON schemas, cut to what engines enforce and kept under a budget.

Engines compile a schema into a grammar. What they do not know they ignore (or they give up and
generate freely), and some bounds take all memory: so only keywords that are enforced pass, with
consistent bounds, and the finished answer is checked again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import jsonschema
import orjson

from modelry.domain.errors import InvalidInput, ModelFailed, UnsupportedField

MAX_SCHEMA_BYTES = 64 * 1024
MAX_DEPTH = 24
MAX_SUBSCHEMAS = 1000
MAX_PROPERTIES = 256
MAX_ENUM_VALUES = 1000
MAX_COUNT = 100_000
"""Largest minItems, maxItems, minLength and maxLength."""
MAX_PATTERN_CHARS = 512

TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")
FORMATS = (
    "date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri",
)  # fmt: skip
_DROPPED = frozenset(
    {
        "title", "description", "default", "examples", "example", "$schema", "$id", "$comment",
        "readOnly", "writeOnly", "deprecated", "contentMediaType", "contentEncoding",
    }
)  # fmt: skip
"""Keywords that say nothing about which values are valid."""
_COUNTS = ("minItems", "maxItems", "minLength", "maxLength")
_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED = ("properties", "patternProperties", "$defs", "definitions")
_SINGLE = ("items", "additionalProperties")
_ESCAPES = frozenset("dDwWsSntrf")
"""Letters that may follow a backslash in a pattern."""


def compile_schema(schema: Any, *, param: str, lenient: bool = False) -> dict[str, Any]:
    """A copy of `schema` with only the keywords that are enforced.

    Objects that list properties and do not say whether others may stand there are closed: the
    answer is still valid, and small models do not ramble.

    Args:
        schema: what the user sent.
        param: the request's field, for messages.
        lenient: leave unenforceable keywords out instead of refusing them.

    Raises:
        UnsupportedField: a keyword, format or pattern that is not enforced.
        InvalidInput: not a schema, contradictory bounds, or beyond the budget.
    """
    if not isinstance(schema, dict):
        raise InvalidInput(
            f"{param} is {type(schema).__name__}; expected a JSON schema (an object).", param=param
        )
    compiler = _Compiler(schema, param, lenient=lenient)
    try:
        size = len(orjson.dumps(schema))
    except (TypeError, RecursionError) as error:
        raise InvalidInput(f"{param} is not JSON ({error}).", param=param) from None
    if size > MAX_SCHEMA_BYTES:
        raise InvalidInput(
            f"{param} has {size} bytes; at most {MAX_SCHEMA_BYTES} are allowed.", param=param
        )
    return compiler.compile()


def check_answer(schema: Mapping[str, Any], text: str) -> None:
    """See that a finished answer keeps to a compiled schema.

    Raises:
        ModelFailed: it does not, so the engine could not enforce the schema.
    """
    try:
        value = orjson.loads(text)
        # regular expressions are left out: Python's take exponential time on hostile ones
        jsonschema.Draft202012Validator(rewrite(schema, _without_patterns)).validate(value)
    except (orjson.JSONDecodeError, jsonschema.ValidationError, RecursionError) as error:
        reason = error.message if isinstance(error, jsonschema.ValidationError) else str(error)
        raise ModelFailed(
            "The engine could not keep the answer to the JSON schema (no value may satisfy it, or "
            f"it is too complex): {reason:.200}. Simplify the schema."
        ) from None


def rewrite(
    schema: Mapping[str, Any], edit: Callable[[dict[str, Any]], dict[str, Any]]
) -> dict[str, Any]:
    """A copy of a compiled `schema`; every subschema, innermost first, went through `edit`."""
    found: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _NAMED:
            found[key] = {name: rewrite(part, edit) for name, part in value.items()}
        elif key in _LISTS:
            found[key] = [rewrite(part, edit) for part in value]
        elif key in _SINGLE and isinstance(value, dict):
            found[key] = rewrite(value, edit)
        else:
            found[key] = value
    return edit(found)


def _without_patterns(schema: dict[str, Any]) -> dict[str, Any]:
    if schema.pop("patternProperties", None) is not None:
        schema.pop("additionalProperties", None)
    schema.pop("pattern", None)
    return schema


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    if "properties" in schema and "patternProperties" not in schema:
        schema.setdefault("additionalProperties", False)
    return schema


class _Compiler:
    def __init__(self, root: dict[str, Any], param: str, *, lenient: bool) -> None:
        self._root = root
        self._param = param
        self._lenient = lenient
        self._subschemas = 0
        self._enum_values = 0
        self._handlers: dict[str, Callable[[str, Any, str, int], Any]] = {
            "type": self._type,
            "enum": self._enum,
            "const": lambda _key, value, _where, _depth: value,
            "required": self._required,
            "$ref": self._reference,
            "pattern": self._pattern,
            "format": self._format,
            **dict.fromkeys(_SINGLE, self._schema_or_false),
            **dict.fromkeys(_COUNTS, self._count),
            **dict.fromkeys(_NUMBERS, self._number),
            **dict.fromkeys(_LISTS, self._list),
            **dict.fromkeys(_NAMED, self._named),
        }

    def compile(self) -> dict[str, Any]:
        found = self._schema(self._root, "", 0)
        # parts of an allOf each list some of the properties: closing one refuses the others
        return found if b'"allOf"' in orjson.dumps(self._root) else rewrite(found, _closed)

    def _invalid(self, where: str, message: str) -> InvalidInput:
        place = f" at {where}" if where else ""
        return InvalidInput(f"{self._param}{place}: {message}", param=self._param)

    def _schema(self, schema: Any, where: str, depth: int) -> dict[str, Any]:
        if schema is True:
            schema = {}
        if not isinstance(schema, dict):
            raise self._invalid(where, f"expected a schema (an object), found {schema!r:.60}.")
        self._subschemas += 1
        if depth > MAX_DEPTH or self._subschemas > MAX_SUBSCHEMAS:
            raise self._invalid(
                where,
                f"the schema is deeper than {MAX_DEPTH} levels or has more than {MAX_SUBSCHEMAS} "
                "parts. Simplify it.",
            )
        found: dict[str, Any] = {}
        for key, value in schema.items():
            handler = self._handlers.get(key)
            if handler is not None:
                kept = handler(key, value, f"{where}/{key}", depth)
                if kept is not None:
                    found[key] = kept
            elif key not in _DROPPED and not self._lenient:
                raise UnsupportedField(
                    f"{self._param} at {where or '/'}: the keyword '{key[:80]}' cannot be enforced "
                    f"and is not ignored; enforced are: {', '.join(sorted(self._handlers))}.",
                    param=self._param,
                )
        self._check_bounds(found, where)
        return found

    def _check_bounds(self, schema: dict[str, Any], where: str) -> None:
        for low, high in (
            ("minItems", "maxItems"),
            ("minLength", "maxLength"),
            ("minimum", "maximum"),
            ("exclusiveMinimum", "exclusiveMaximum"),
            ("minimum", "exclusiveMaximum"),
            ("exclusiveMinimum", "maximum"),
        ):
            if low in schema and high in schema and schema[low] > schema[high]:
                raise self._invalid(
                    where, f"{low} {schema[low]} is greater than {high} {schema[high]}."
                )

    def _type(self, _key: str, value: Any, where: str, _depth: int) -> Any:
        types = value if isinstance(value, list) else [value]
        if not types or any(item not in TYPES for item in types):
            raise self._invalid(where, f"{value!r:.60} is no type; types are: {', '.join(TYPES)}.")
        return value

    def _enum(self, _key: str, value: Any, where: str, _depth: int) -> Any:
        if not isinstance(value, list) or not value:
            raise self._invalid(where, "expected a list of at least one value.")
        self._enum_values += len(value)
        if self._enum_values > MAX_ENUM_VALUES:
            raise self._invalid(
                where, f"the schema has more than {MAX_ENUM_VALUES} enum values in all."
            )
        return value

    def _required(self, _key: str, value: Any, where: str, _depth: int) -> Any:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._invalid(where, "expected a list of property names.")
        if len(value) > MAX_PROPERTIES:
            raise self._invalid(where, f"more than {MAX_PROPERTIES} names.")
        return value

    def _reference(self, _key: str, value: Any, where: str, _depth: int) -> Any:
        target: Any = self._root
        if not isinstance(value, str) or not (value == "#" or value.startswith("#/")):
            raise self._invalid(
                where, f"{value!r:.80} is not a place in this schema (expected '#/…')."
            )
        for part in value.split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            target = target.get(name) if isinstance(target, dict) else None
        if not isinstance(target, dict):
            raise self._invalid(where, f"there is nothing at {value[:80]!r}.")
        return value

    def _pattern(self, _key: str, value: Any, where: str, _depth: int) -> Any:
        if not isinstance(value, str):
            raise self._invalid(where, "expected a regular expression.")
        try:
            re.compile(value)
            problem = (
                "look-around, references or lazy repetition" if _is_beyond_engines(value) else None
            )
        except (re.error, OverflowError, RecursionError) as error:
            raise self._invalid(where, f"not a regular expression ({error}).") from None
        if len(value) > MAX_PATTERN_CHARS:
            problem = f"more than {MAX_PATTERN_CHARS} characters"
        if problem is None:
            return value
        return self._unenforced(where, f"a pattern with {problem} cannot be enforced.")

    def _format(self, _key: str, value: Any, where: str, _depth: int) -> Any:
        if value in FORMATS:
            return value
        return self._unenforced(
            where, f"format {value!r:.60} cannot be enforced; known are: {', '.join(FORMATS)}."
        )

    def _unenforced(self, where: str, message: str) -> None:
        if not self._lenient:
            raise UnsupportedField(f"{self._param} at {where}: {message}", param=self._param)

    def _count(self, _key: str, value: Any, where: str, _depth: int) -> Any:
        if type(value) is not int or not 0 <= value <= MAX_COUNT:
            raise self._invalid(
                where, f"{value!r:.60} is not a whole number from 0 to {MAX_COUNT}."
            )
        return value

    def _number(self, key: str, value: Any, where: str, _depth: int) -> Any:
        if type(value) not in {int, float} or abs(value) > 2**53:
            raise self._invalid(where, f"{value!r:.60} is not a number between -2^53 and 2^53.")
        if key == "multipleOf" and value <= 0:
            raise self._invalid(where, f"{value!r:.60} is not greater than 0.")
        return value

    def _schema_or_false(self, _key: str, value: Any, where: str, depth: int) -> Any:
        return False if value is False else self._schema(value, where, depth + 1)

    def _list(self, _key: str, value: Any, where: str, depth: int) -> Any:
        if not isinstance(value, list) or not value:
            raise self._invalid(where, "expected a list of at least one schema.")
        return [self._schema(part, f"{where}/{at}", depth + 1) for at, part in enumerate(value)]

    def _named(self, key: str, value: Any, where: str, depth: int) -> Any:
        if not isinstance(value, dict) or len(value) > MAX_PROPERTIES:
            raise self._invalid(where, f"expected an object of at most {MAX_PROPERTIES} schemas.")
        if key == "patternProperties":
            for pattern in value:
                if self._pattern(key, pattern, where, depth) is None:
                    return None
        return {
            name: self._schema(part, f"{where}/{name[:80]}", depth + 1)
            for name, part in value.items()
        }


def _is_beyond_engines(pattern: str) -> bool:
    escapes = re.findall(r"\\(.)", pattern, re.DOTALL)
    if any(escape.isalnum() and escape not in _ESCAPES for escape in escapes):
        return True
    bare = re.sub(r"\[\^?\]?[^\]]*\]", "x", re.sub(r"\\.", "x", pattern, flags=re.DOTALL))
    return re.search(r"\(\?(?!:)|[*+?}][?+]", bare) is not None
