"""Compiled JSON schemas as grammars for OpenVINO GenAI.

Its own conversion of schemas lets small models fill an answer with white space, takes hexadecimal
for numbers and ignores keywords. Here JSON is written in one way, and what cannot be enforced is
refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from modelry.domain.errors import UnsupportedField

MAX_RANGE = 1000
"""Largest number of whole numbers that `minimum` and `maximum` may leave."""
_BASE = r"""
char ::= [^"\\\x00-\x1F] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F])
string ::= "\"" char* "\""
positive ::= [1-9] [0-9]{0,15}
natural ::= "0" | positive
integer ::= "0" | "-"? positive
number ::= "-"? natural ("." [0-9]{1,16})? ([eE] [+-]? [0-9]{1,2})?
boolean ::= "true" | "false"
null ::= "null"
member ::= string ": " value
object ::= "{" (member (", " member)*)? "}"
array ::= "[" (value (", " value)*)? "]"
value ::= object | array | string | number | boolean | null
"""
_LOWER_BOUNDS = {("minimum", 0): "natural", ("minimum", 1): "positive"}
_LOWER_BOUNDS[("exclusiveMinimum", 0)] = "positive"
_TYPES: dict[str, tuple[str, ...]] = {
    "object": ("properties", "required", "additionalProperties"),
    "array": ("items", "minItems", "maxItems"),
    "string": ("minLength", "maxLength"),
    "integer": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    "number": (),
    "boolean": (),
    "null": (),
}
_CHOICES = ("anyOf", "oneOf", "enum", "const", "$ref")
_KNOWN = frozenset(
    {"type", "$defs", "definitions", *_CHOICES, *(key for keys in _TYPES.values() for key in keys)}
)


def grammar_of(schema: Mapping[str, Any]) -> str:
    """A compiled schema as rules in extended Backus-Naur form.

    Raises:
        UnsupportedField: a keyword that this engine cannot enforce.
    """
    return _Writer(schema).write()


class _Writer:
    """Writes one rule per subschema that needs one; each method gives an expression."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._rules: list[str] = []
        self._by_place: dict[str, str] = {}
        self._shapes: dict[str, Callable[[Mapping[str, Any]], str]] = {
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "integer": self._integer,
            "number": self._number,
        }

    def write(self) -> str:
        start = self._reference("#")
        return f"root ::= {start}\n" + "\n".join(self._rules) + _BASE

    def _rule(self, expression: str) -> str:
        name = f"rule{len(self._rules)}"
        self._rules.append(f"{name} ::= {expression}")
        return name

    def _reference(self, place: str) -> str:
        if place not in self._by_place:
            # named before it is written, because it may refer to itself
            at = len(self._rules)
            self._by_place[place] = f"rule{at}"
            self._rules.append("")
            self._rules[at] = f"rule{at} ::= {self._schema(self._at(place))}"
        return self._by_place[place]

    def _at(self, place: str) -> Mapping[str, Any]:
        target: Any = self._root
        for part in place.split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            target = target[int(name)] if isinstance(target, list) else target[name]
        found: Mapping[str, Any] = target
        return found

    def _schema(self, schema: Mapping[str, Any]) -> str:
        self._refuse_unknown(schema)
        for key in _CHOICES:
            if key in schema:
                return self._choice(key, schema)
        types = schema.get("type") or self._implied(schema)
        names = [types] if isinstance(types, str) else types
        if not names:
            return "value"
        return _either([self._shape(name, schema) for name in names])

    def _shape(self, name: str, schema: Mapping[str, Any]) -> str:
        write = self._shapes.get(name)
        return name if write is None else write(schema)

    def _choice(self, key: str, schema: Mapping[str, Any]) -> str:
        beside = set(schema) - {key, "type", "$defs", "definitions"}
        if beside:
            raise _unenforced(f"'{key}' beside '{min(beside)}'")
        value = schema[key]
        if key == "$ref":
            return self._reference(value)
        if key == "const":
            return _literal(value)
        if key == "enum":
            return _either([_literal(item) for item in value])
        return _either([self._schema(part) for part in value])

    @staticmethod
    def _implied(schema: Mapping[str, Any]) -> list[str]:
        """The type that a schema's keywords speak of; none for a schema that allows anything."""
        found = [name for name, keys in _TYPES.items() if any(key in schema for key in keys)]
        if len(found) > 1:
            raise _unenforced(f"keywords of {' and '.join(found)} without a 'type'")
        return found

    @staticmethod
    def _refuse_unknown(schema: Mapping[str, Any]) -> None:
        unknown = sorted(set(schema) - _KNOWN)
        if unknown:
            raise _unenforced(f"the keyword '{unknown[0]}'")

    def _object(self, schema: Mapping[str, Any]) -> str:
        properties: Mapping[str, Any] = schema.get("properties") or {}
        required = set(schema.get("required") or ())
        if required - set(properties):
            raise _unenforced("'required' with a name that is not among the properties")
        extra = schema.get("additionalProperties", {})
        more = None if extra is False else f'string ": " {self._schema(extra)}'
        members = [
            (f'{_literal(name)} ": " {self._schema(part)}', name in required)
            for name, part in properties.items()
        ]
        return self._rule(f'"{{" {self._members(members, more)} "}}"')

    def _members(self, members: Sequence[tuple[str, bool]], more: str | None) -> str:
        """The members in order; optional ones may be missing, `more` may follow."""
        after = f'(", " {more})*' if more else '""'
        begin = f'({more} (", " {more})*)?' if more else '""'
        for member, is_required in reversed(members):
            rest = self._rule(after)
            first = f"{member} {rest}"
            next_one = f'", " {member} {rest}'
            begin = first if is_required else _either([first, self._rule(begin)])
            after = next_one if is_required else _either([next_one, rest])
        return begin

    def _array(self, schema: Mapping[str, Any]) -> str:
        item = self._rule(self._schema(schema.get("items") or {}))
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        if most == 0:
            return '"[]"'
        upper = "" if most is None else most - 1
        filled = f'{item} (", " {item}){{{max(least - 1, 0)},{upper}}}'
        return self._rule(f'"[" {filled} "]"' if least else f'"[" ({filled})? "]"')

    @staticmethod
    def _string(schema: Mapping[str, Any]) -> str:
        least, most = schema.get("minLength", 0), schema.get("maxLength")
        if not least and most is None:
            return "string"
        return f'"\\"" char{{{least},{"" if most is None else most}}} "\\""'

    @staticmethod
    def _integer(schema: Mapping[str, Any]) -> str:
        bounds = {key: schema[key] for key in _TYPES["integer"] if key in schema}
        if not bounds:
            return "integer"
        if len(bounds) == 1 and (rule := _LOWER_BOUNDS.get(next(iter(bounds.items())))):
            return rule
        low = bounds.get("minimum", bounds.get("exclusiveMinimum", -(2**53)) + 1)
        high = bounds.get("maximum", bounds.get("exclusiveMaximum", 2**53) - 1)
        if len(bounds) > 2 or low != int(low) or high != int(high) or high - low >= MAX_RANGE:
            raise _unenforced(f"bounds that leave more than {MAX_RANGE} whole numbers")
        return _either([f'"{number}"' for number in range(int(low), int(high) + 1)])

    @staticmethod
    def _number(schema: Mapping[str, Any]) -> str:
        if any(key in schema for key in _TYPES["integer"]):
            raise _unenforced("bounds of a 'number'")
        return "number"


def _either(expressions: Sequence[str]) -> str:
    return expressions[0] if len(expressions) == 1 else f"({' | '.join(expressions)})"


def _literal(value: Any) -> str:
    """`value` as JSON, quoted for a grammar."""
    told = orjson.dumps(value).decode()
    if isinstance(value, dict | list):
        raise _unenforced("an enum or const of objects or lists")
    return '"' + told.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _unenforced(what: str) -> UnsupportedField:
    return UnsupportedField(
        f"The runtime 'openvino' cannot enforce {what:.120} in a JSON schema and does not ignore "
        "it. Leave it out, or deploy the model with the runtime 'llamacpp'.",
        param="json_schema",
    )
