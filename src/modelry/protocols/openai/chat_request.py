"""A chat body as a `ChatRequest`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modelry.domain.errors import InvalidInput
from modelry.protocols.http.values import Body, flag, model_name, shown, whole
from modelry.protocols.openai.fields import check_fields
from modelry.protocols.openai.messages import chat_messages
from modelry.protocols.openai.sampling import (
    MAX_TOKENS,
    Streaming,
    check_user,
    choices,
    sampling,
    streaming,
)
from modelry.protocols.openai.tools import chat_tools, json_schema, tool_choice
from modelry.runtime_api.generation import ChatRequest

ENDPOINT = "POST /v1/chat/completions"
MAX_TAGS = 16


@dataclass(frozen=True, slots=True)
class ChatCall:
    """What a chat body asks for."""

    model: str
    request: ChatRequest
    streaming: Streaming


def parse_chat(body: dict[str, Any]) -> ChatCall:
    """Take a chat body apart.

    Raises:
        InvalidInput: a field is of another type or out of range; `param` names it.
        UnsupportedField: a field or value that is not honoured here.
    """
    check_fields(ENDPOINT, body)
    check_user(body)
    _check_metadata(body.get("metadata"))
    model = model_name(body)
    tools = chat_tools(body.get("tools"))
    request = ChatRequest(
        messages=chat_messages(body.get("messages")),
        sampling=sampling(body, _max_tokens(body)),
        n=choices(body),
        top_logprobs=_top_logprobs(body),
        tools=tools,
        tool_choice=tool_choice(body.get("tool_choice"), tools),
        parallel_tool_calls=flag(body, "parallel_tool_calls", default=True),
        json_schema=json_schema(body),
    )
    return ChatCall(model, request, streaming(body))


def _max_tokens(body: Body) -> int | None:
    newer = whole(body, "max_completion_tokens", 1, MAX_TOKENS)
    older = whole(body, "max_tokens", 1, MAX_TOKENS)
    if newer is not None and older is not None and newer != older:
        raise InvalidInput(
            f"max_tokens is {older} and max_completion_tokens is {newer}; they mean the same, "
            "send one of them.",
            param="max_tokens",
        )
    return older if newer is None else newer


def _top_logprobs(body: Body) -> int | None:
    top = whole(body, "top_logprobs", 0, 20)
    if flag(body, "logprobs"):
        return top or 0
    if top is not None:
        raise InvalidInput(
            "top_logprobs is only allowed together with logprobs: true.", param="top_logprobs"
        )
    return None


def _check_metadata(value: Any) -> None:
    if value is None:
        return
    is_plain = isinstance(value, dict) and all(
        len(key) <= 64 and isinstance(inner, str) and len(inner) <= 512
        for key, inner in value.items()
    )
    if not is_plain or len(value) > MAX_TAGS:
        raise InvalidInput(
            f"metadata is {shown(value)}; expected an object of at most {MAX_TAGS} texts (keys up "
            "to 64 characters, values up to 512).",
            param="metadata",
        )
