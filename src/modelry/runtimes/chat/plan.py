"""From a chat request to what an engine is asked, and how its text is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from modelry.domain.errors import UnsupportedField
from modelry.runtime_api.generation import ChatRequest, Sampling
from modelry.runtimes.chat.json_schema import compile_schema
from modelry.runtimes.chat.messages import (
    add_to_system,
    fold_system,
    plain_messages,
    without_tool_roles,
)
from modelry.runtimes.chat.readers import (
    ForcedCallReader,
    PlainReader,
    Reader,
    SchemaReader,
    TaggedCallReader,
)
from modelry.runtimes.chat.tool_calls import Tool, forced_schema, offer_text, offered_tools

ANY_OBJECT = {"type": "object"}


@dataclass(frozen=True, slots=True)
class TemplateAbilities:
    """What the model's chat template knows."""

    tools: bool = False
    system_role: bool = True


@dataclass(frozen=True, slots=True)
class ChatPlan:
    """What the engine is asked.

    `schema` is compiled and must be enforced; `native_tools` go to the template as they are,
    and the engine reports calls of them itself.
    """

    messages: list[dict[str, Any]]
    sampling: Sampling
    schema: dict[str, Any] | None
    native_tools: list[dict[str, Any]]
    new_reader: Callable[[], Reader]


def plan_chat(request: ChatRequest, template: TemplateAbilities) -> ChatPlan:
    """The plan for `request`, whose defaults are filled in.

    Raises:
        InvalidInput: messages, tools or schema are malformed or beyond their budgets.
        UnsupportedField: parts, tools or keywords that cannot be honoured.
    """
    messages = plain_messages(request.messages)
    tools = offered_tools(request)
    if not template.tools:
        messages = without_tool_roles(messages)
    if tools and request.tool_choice != "auto":
        plan = _forced(request, messages, tools)
    elif tools:
        plan = _offered(request, messages, tools, template)
    elif request.json_schema is not None:
        schema = compile_schema(request.json_schema or ANY_OBJECT, param="json_schema")
        plan = ChatPlan(messages, request.sampling, schema, [], partial(SchemaReader, schema))
    else:
        plan = ChatPlan(messages, request.sampling, None, [], PlainReader)
    if not template.system_role:
        plan = replace(plan, messages=fold_system(plan.messages))
    return plan


def _forced(request: ChatRequest, messages: list[dict[str, Any]], tools: list[Tool]) -> ChatPlan:
    """A call by schema: engines and small models ignore `required`."""
    if request.tool_choice != "required":
        tools = [tool for tool in tools if tool.name == request.tool_choice]
    schema = forced_schema(tools)
    name = tools[0].name if len(tools) == 1 else None
    # tool calls of earlier turns are told as text, as this one is asked for
    told = add_to_system(without_tool_roles(messages), offer_text(tools, forced=True))
    return ChatPlan(told, request.sampling, schema, [], partial(ForcedCallReader, name, schema))


def _offered(
    request: ChatRequest,
    messages: list[dict[str, Any]],
    tools: list[Tool],
    template: TemplateAbilities,
) -> ChatPlan:
    if request.json_schema is not None:
        raise UnsupportedField(
            "A JSON schema together with tools that the model may call or not is not supported: "
            "set tool_choice to 'none' for the schema, or to 'required' for a call.",
            param="response_format",
        )
    reader = partial(TaggedCallReader, [tool.name for tool in tools])
    if template.tools:
        return ChatPlan(messages, request.sampling, None, request.tools, reader)
    sampling = request.sampling
    if not request.parallel_tool_calls:
        # ends the answer with its first call; the reader does without the closing tag
        sampling = replace(sampling, stop=(*sampling.stop, "</tool_call>"))
    told = add_to_system(messages, offer_text(tools, forced=False))
    return ChatPlan(told, sampling, None, [], reader)
