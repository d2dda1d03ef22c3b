"""Tools: checking what a request offers, telling it to the model, forcing a call by schema."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from modelry.domain.errors import InvalidInput, UnsupportedField
from modelry.runtime_api.generation import ChatRequest
from modelry.runtimes.chat.json_schema import compile_schema, rewrite

MAX_TOOLS = 128
MAX_TOOLS_BYTES = 256 * 1024
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

_OFFER = """\
# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{tools}
</tools>

"""
_CALL_IF_NEEDED = """\
For each function call, return a json object with function name and arguments within \
<tool_call></tool_call> XML tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>"""
_CALL_ANY = """\
Call the function that serves the user query best. Answer only with a json object with function \
name and arguments:
{"name": <function-name>, "arguments": <args-json-object>}"""
_CALL_ONE = """\
Call the function %s to serve the user query. Answer only with the json object of its arguments."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One function that the model may call."""

    name: str
    description: str
    parameters: dict[str, Any]
    strict: bool

    def told(self) -> str:
        """The tool as one line of JSON, as models are trained to read it."""
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
        }
        return orjson.dumps({"type": "function", "function": function}).decode()


def offered_tools(request: ChatRequest) -> list[Tool]:
    """The tools of `request`; none when `tool_choice` is `none`.

    Raises:
        InvalidInput: a tool is malformed, or `tool_choice` names none of them.
        UnsupportedField: a tool that is not a function.
    """
    raw: Any = request.tools
    if not isinstance(raw, list) or len(raw) > MAX_TOOLS:
        raise InvalidInput(f"tools must be a list of at most {MAX_TOOLS} tools.", param="tools")
    tools = [_tool(entry, f"tools[{position}]") for position, entry in enumerate(raw)]
    names = [tool.name for tool in tools]
    if len(set(names)) != len(names):
        raise InvalidInput("Two tools have the same name; names must differ.", param="tools")
    if len(orjson.dumps(raw)) > MAX_TOOLS_BYTES:
        raise InvalidInput(f"tools take more than {MAX_TOOLS_BYTES} bytes.", param="tools")
    choice = request.tool_choice
    if choice == "none":
        return []
    if choice == "required" and not tools:
        raise InvalidInput("tool_choice is 'required' and there are no tools.", param="tool_choice")
    if choice not in {"auto", "required"} and choice not in names:
        raise InvalidInput(
            f"tool_choice is {choice!r:.80}; expected 'auto', 'none', 'required' or the name of a "
            f"tool ({', '.join(names) or 'there are none'}).",
            param="tool_choice",
        )
    return tools


def _tool(entry: Any, where: str) -> Tool:
    kind = entry.get("type") if isinstance(entry, dict) else None
    if kind != "function":
        raise UnsupportedField(
            f"{where} is of type {kind!r:.60}; only tools of type 'function' are served.",
            param=where,
        )
    function = entry.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{where} has the function name {name!r:.80}; expected 1 to 64 letters, digits, '_' or "
            "'-'.",
            param=where,
        )
    parameters = function.get("parameters") or {"type": "object", "properties": {}}
    description = function.get("description") or ""
    if not isinstance(parameters, dict) or not isinstance(description, str):
        raise InvalidInput(
            f"{where} needs 'parameters' as a JSON schema and 'description' as text.", param=where
        )
    return Tool(name, description, parameters, bool(function.get("strict")))


def offer_text(tools: Sequence[Tool], *, forced: bool) -> str:
    """What the system prompt says of `tools`."""
    offer = _OFFER.replace("{tools}", "\n".join(tool.told() for tool in tools))
    if not forced:
        return offer + _CALL_IF_NEEDED
    return offer + (_CALL_ONE % tools[0].name if len(tools) == 1 else _CALL_ANY)


def forced_schema(tools: Sequence[Tool]) -> dict[str, Any]:
    """The compiled schema of an answer that can only be a call.

    For one tool the answer is its arguments; for several an object of `name` and `arguments`,
    in this order.

    Raises:
        InvalidInput: parameters that are no schema, or beyond the budget.
        UnsupportedField: a strict tool with keywords that cannot be enforced.
    """
    compiled = [_arguments_schema(tool) for tool in tools]
    if len(tools) == 1:
        return compiled[0]
    branches = []
    for position, (tool, parameters) in enumerate(zip(tools, compiled, strict=True)):
        place = f"#/anyOf/{position}/properties/arguments"
        branches.append(
            {
                "type": "object",
                "properties": {
                    "name": {"const": tool.name},
                    "arguments": rewrite(parameters, partial(_move_reference, place)),
                },
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    return {"anyOf": branches}


def _arguments_schema(tool: Tool) -> dict[str, Any]:
    parameters = compile_schema(
        tool.parameters, param=f"parameters of tool '{tool.name}'", lenient=not tool.strict
    )
    if "$ref" not in parameters and "anyOf" not in parameters:
        parameters.setdefault("type", "object")
    return parameters


def _move_reference(place: str, schema: dict[str, Any]) -> dict[str, Any]:
    """References point below `place`, where the schema now stands."""
    if "$ref" in schema:
        schema["$ref"] = place + schema["$ref"][1:]
    return schema
