"""Users' schemas: only what engines enforce passes, under a budget, and means the same."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelry.domain.errors import InvalidInput, ModelFailed, UnsupportedField
from modelry.runtimes.chat.json_schema import MAX_DEPTH, check_answer, compile_schema

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
    max_leaves=8,
)


def compiled(schema: Any, **more: Any) -> dict[str, Any]:
    return compile_schema(schema, param="json_schema", **more)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "integer", "title": "A"}}},
        {"type": "array", "items": {"enum": [1, "a", None]}, "minItems": 1, "maxItems": 3},
        {"anyOf": [{"type": "string", "pattern": "^a+$"}, {"$ref": "#/$defs/n"}],
         "$defs": {"n": {"type": "null"}}},
        {"type": ["string", "null"], "format": "date", "description": "a day"},
        {"allOf": [{"type": "object"}, {"required": ["a"], "properties": {"a": {}}}]},
    ],
)  # fmt: skip
def test_what_fits_the_compiled_schema_fits_the_users(schema: dict[str, Any]) -> None:
    narrower = jsonschema.Draft202012Validator(compiled(schema))
    users = jsonschema.Draft202012Validator(schema)

    @given(JSON)
    def check(value: Any) -> None:
        if narrower.is_valid(value):
            users.validate(value)

    check()


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "contains": {}},
        {"if": {}, "then": {}},
        {"not": {"type": "null"}},
        {"uniqueItems": True},
        {"type": "string", "format": "regex"},
        {"type": "string", "pattern": "(?=a)b"},
        {"type": "string", "pattern": r"(a)\1"},
        {"type": "string", "pattern": "a" * 600},
        {"properties": {"deep": {"items": {"minContains": 1}}}},
    ],
)
def test_what_cannot_be_enforced_is_refused_or_left_out_when_asked(schema: Any) -> None:
    with pytest.raises(UnsupportedField) as caught:
        compiled(schema)
    assert caught.value.param == "json_schema"
    compiled(schema, lenient=True)


@pytest.mark.parametrize(
    "schema",
    [
        [], "object", None, 3, {"type": "text"}, {"type": []}, {"enum": []}, {"anyOf": []},
        {"properties": []}, {"items": 3}, {"required": "a"}, {"required": [1]},
        {"minLength": -1}, {"maxItems": 2**40}, {"minimum": "1"}, {"minimum": float("1e300")},
        {"multipleOf": 0}, {"minItems": 3, "maxItems": 2}, {"minimum": 2, "exclusiveMaximum": 1},
        {"$ref": "http://elsewhere"}, {"$ref": "#/$defs/none"}, {"pattern": "("},
        {"pattern": 3}, {"enum": list(range(2000))}, {"description": "x" * 100_000},
        {"properties": {f"p{at}": {} for at in range(300)}},
    ],
)  # fmt: skip
def test_what_is_no_schema_or_beyond_the_budget_is_refused(schema: Any) -> None:
    with pytest.raises(InvalidInput):
        compiled(schema)


def test_depth_is_bounded_also_for_what_would_exhaust_the_stack() -> None:
    for depth in (MAX_DEPTH + 2, 100_000):
        schema: dict[str, Any] = {}
        for _ in range(depth):
            schema = {"items": schema}
        with pytest.raises(InvalidInput):
            compiled(schema)


def test_objects_that_list_properties_are_closed() -> None:
    schema = compiled({"properties": {"a": {"properties": {"b": {}}}}})
    assert schema["additionalProperties"] is False
    assert schema["properties"]["a"]["additionalProperties"] is False
    assert compiled({"properties": {}, "additionalProperties": {"type": "null"}}) == {
        "properties": {},
        "additionalProperties": {"type": "null"},
    }


def test_hostile_patterns_are_not_run_over_answers() -> None:
    schema = compiled({"type": "string", "pattern": "^(a+)+$"})
    check_answer(schema, '"' + "a" * 64 + '!"')


@given(st.text(max_size=30))
def test_no_answer_breaks_the_check(text: str) -> None:
    try:
        check_answer({"type": "object"}, text)
    except ModelFailed as error:
        assert "JSON schema" in error.message  # noqa: PT017 - either way is fine
