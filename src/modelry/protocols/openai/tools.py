"""The fields `tools`, `tool_choice` and `response_format` of a chat."""

from __future__ import annotations

import re
from typing import Any

from modelry.domain.errors import InvalidInput, UnsupportedField
from modelry.protocols.http.values import (
    Body,
    check_nesting,
    flag,
    refuse_unknown_keys,
    shown,
    text,
)

MAX_TOOLS = 128
MAX_TOOLS_BYTES = 256 * 1024
MAX_SCHEMA_BYTES = 64 * 1024
MAX_LEVELS = 48
"""Nesting of JSON, which is about twice that of the schemas that it tells."""
MAX_DESCRIPTION_CHARS = 16 * 1024
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CHOICES = ("auto", "none", "required")
_FORMATS = ("text", "json_object", "json_schema")


def chat_tools(value: Any) -> list[dict[str, Any]]:
    """The field `tools`, in the shape that it came in.

    Raises:
        InvalidInput: a tool is malformed or beyond a bound.
        UnsupportedField: a tool that is not a function.
    """
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > MAX_TOOLS:
        raise InvalidInput(
            f"tools is {shown(value)}; expected a list of at most {MAX_TOOLS} tools.",
            param="tools",
        )
    check_nesting(value, "tools", most_levels=MAX_LEVELS, most_bytes=MAX_TOOLS_BYTES)
    tools = [_tool(tool, f"tools[{at}]") for at, tool in enumerate(value)]
    names = [tool["function"]["name"] for tool in tools]
    if len(set(names)) != len(names):
        raise InvalidInput("tools names a function twice; names must differ.", param="tools")
    return tools


def _tool(tool: Any, where: str) -> dict[str, Any]:
    if not isinstance(tool, dict):
        raise InvalidInput(f"{where} is {shown(tool)}; expected an object.", param=where)
    if tool.get("type") != "function":
        raise UnsupportedField(
            f"{where}.type is {shown(tool.get('type'))}; only 'function' is served.",
            param=f"{where}.type",
        )
    refuse_unknown_keys(tool, frozenset({"type", "function"}), where)
    where = f"{where}.function"
    function = tool.get("function")
    if not isinstance(function, dict):
        raise InvalidInput(f"{where} is {shown(function)}; expected an object.", param=where)
    refuse_unknown_keys(function, frozenset({"name", "description", "parameters", "strict"}), where)
    name = _function_name(function.get("name"), f"{where}.name")
    if name in _CHOICES:
        raise InvalidInput(
            f"{where}.name is {name!r}, which tool_choice means otherwise; take another name.",
            param=f"{where}.name",
        )
    found: dict[str, Any] = {"name": name}
    description = function.get("description")
    if description is not None and (
        not isinstance(description, str) or len(description) > MAX_DESCRIPTION_CHARS
    ):
        raise InvalidInput(
            f"{where}.description is {shown(description)}; expected a text of at most "
            f"{MAX_DESCRIPTION_CHARS} characters.",
            param=f"{where}.description",
        )
    parameters = function.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise InvalidInput(
            f"{where}.parameters is {shown(parameters)}; expected a JSON schema (an object).",
            param=f"{where}.parameters",
        )
    found |= {"description": description} if description is not None else {}
    found |= {"parameters": parameters} if parameters is not None else {}
    if flag(function, "strict"):
        found["strict"] = True
    return {"type": "function", "function": found}


def _function_name(name: Any, where: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{where} is {shown(name)}; expected 1 to 64 letters, digits, '_' or '-'.",
            param=where,
        )
    return name


def tool_choice(value: Any, tools: list[dict[str, Any]]) -> str:
    """The field `tool_choice`: auto, none, required, or the name of one of `tools`.

    Raises:
        InvalidInput: something else, or a call is demanded and there is nothing to call.
        UnsupportedField: choices among tools that are not functions, or among some of them.
    """
    if value is None:
        return "auto" if tools else "none"
    if isinstance(value, str) and value in _CHOICES:
        if value == "required" and not tools:
            raise InvalidInput(
                "tool_choice is 'required' and there are no tools.", param="tool_choice"
            )
        return value
    if not isinstance(value, dict):
        raise InvalidInput(
            f"tool_choice is {shown(value)}; expected one of: {', '.join(_CHOICES)}, or "
            '{"type": "function", "function": {"name": …}}.',
            param="tool_choice",
        )
    if value.get("type") != "function":
        raise UnsupportedField(
            f"tool_choice.type is {shown(value.get('type'))}; only 'function' is served.",
            param="tool_choice.type",
        )
    refuse_unknown_keys(value, frozenset({"type", "function"}), "tool_choice")
    function = value.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    names = [tool["function"]["name"] for tool in tools]
    if not isinstance(name, str) or name not in names:
        raise InvalidInput(
            f"tool_choice names {shown(name)}; expected one of the tools: "
            f"{', '.join(names)[:500] or 'there are none'}.",
            param="tool_choice",
        )
    return name


def json_schema(body: Body) -> dict[str, Any] | None:
    """The schema that `response_format` demands: None for text, `{}` for any JSON object.

    Raises:
        InvalidInput: malformed, or a schema beyond a bound.
        UnsupportedField: a format that is not served.
    """
    wanted = body.get("response_format")
    if wanted is None:
        return None
    if not isinstance(wanted, dict):
        raise InvalidInput(
            f"response_format is {shown(wanted)}; expected an object with a 'type'.",
            param="response_format",
        )
    kind = wanted.get("type")
    if kind not in _FORMATS:
        raise UnsupportedField(
            f"response_format.type is {shown(kind)}; expected one of: {', '.join(_FORMATS)}.",
            param="response_format.type",
        )
    known = {"type", "json_schema"} if kind == "json_schema" else {"type"}
    refuse_unknown_keys(wanted, frozenset(known), "response_format")
    if kind == "text":
        return None
    return {} if kind == "json_object" else _schema(wanted.get("json_schema"))


def _schema(wanted: Any) -> dict[str, Any]:
    where = "response_format.json_schema"
    if not isinstance(wanted, dict):
        raise InvalidInput(
            f"{where} is {shown(wanted)}; expected an object with 'name' and 'schema'.",
            param=where,
        )
    refuse_unknown_keys(wanted, frozenset({"name", "description", "schema", "strict"}), where)
    _function_name(wanted.get("name"), f"{where}.name")
    text(wanted, "description", param=f"{where}.description", most_chars=MAX_DESCRIPTION_CHARS)
    flag(wanted, "strict")
    schema = wanted.get("schema")
    if not isinstance(schema, dict):
        raise InvalidInput(
            f"{where}.schema is {shown(schema)}; expected a JSON schema (an object).",
            param=f"{where}.schema",
        )
    check_nesting(schema, f"{where}.schema", most_levels=MAX_LEVELS, most_bytes=MAX_SCHEMA_BYTES)
    return schema
