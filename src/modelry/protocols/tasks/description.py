"""What the typed door tells of its endpoints in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from modelry.protocols.tasks.question import MAX_ITEMS, is_binary
from modelry.tasks.contract import ItemForm, Schema
from modelry.tasks.registry import tasks as known_tasks

_NO_MORE: Mapping[str, Schema] = {}
MODEL: Schema = {"type": "string", "description": "The deployment that shall answer."}


def described(tasks: Sequence[str], more: Mapping[str, Schema] = _NO_MORE) -> dict[str, Any]:
    """The operation of an endpoint that asks models of `tasks`.

    Args:
        tasks: their names.
        more: options of the endpoint itself.
    """
    known = [form for name in tasks if (form := _form(name)) is not None]
    forms = [replace(form, options={**form.options, **more}) for form in known]
    options = {name: schema for form in forms for name, schema in form.options.items()}
    return {
        "parameters": [
            {
                "name": name,
                "in": "query",
                "required": False,
                "schema": schema,
                "description": "With a raw body only.",
            }
            for name, schema in {"model": MODEL, **options}.items()
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": _any_of([_json_body(form) for form in forms])},
                "multipart/form-data": {"schema": _any_of([_form_body(form) for form in forms])},
                "image/*": {"schema": {"type": "string", "format": "binary"}},
            },
        },
        "responses": {
            "200": {
                "description": "One result per item, in their order.",
                "content": {"application/json": {"schema": _answer(forms)}},
            }
        },
    }


def _form(name: str) -> ItemForm | None:
    task = known_tasks().get(name)
    return None if task is None else task.form


def _any_of(schemas: Sequence[Schema]) -> Schema:
    return schemas[0] if len(schemas) == 1 else {"anyOf": list(schemas)}


def _json_body(form: ItemForm) -> Schema:
    return _body(form, {name: _in_json(schema) for name, schema in _fields(form).items()})


def _form_body(form: ItemForm) -> Schema:
    return _body(form, {name: _one_or_many(schema) for name, schema in _fields(form).items()})


def _fields(form: ItemForm) -> Mapping[str, Schema]:
    fields: Mapping[str, Schema] = form.item["properties"]
    return fields


def _body(form: ItemForm, fields: Mapping[str, Schema]) -> Schema:
    return {
        "type": "object",
        "properties": {"model": MODEL, **fields, **form.options},
        "required": ["model", *form.item.get("required", ())],
        "additionalProperties": False,
    }


def _in_json(schema: Schema) -> Schema:
    if is_binary(schema):
        rest = {key: value for key, value in schema.items() if key != "format"}
        schema = {**rest, "contentEncoding": "base64"}
    return _one_or_many(schema)


def _one_or_many(schema: Schema) -> Schema:
    many = {"type": "array", "items": schema, "minItems": 1, "maxItems": MAX_ITEMS}
    return {"anyOf": [schema, many]}


def _answer(forms: Sequence[ItemForm]) -> Schema:
    return {
        "type": "object",
        "properties": {
            "model": {"type": "string"},
            "version": {"type": "integer"},
            "results": {"type": "array", "items": _any_of([form.result for form in forms])},
            "usage": {"type": "object", "additionalProperties": {"type": "integer"}},
        },
        "required": ["model", "version", "results"],
    }
