"""Chat messages in OpenAI's shape, checked and made plain for chat templates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from modelry.domain.errors import InvalidInput, UnsupportedField

MAX_MESSAGES = 4096
_ROLES = ("system", "user", "assistant", "tool")
_KNOWN_KEYS = frozenset(
    {"role", "content", "name", "tool_calls", "tool_call_id", "refusal", "annotations"}
)


def plain_messages(messages: Sequence[Any]) -> list[dict[str, Any]]:
    """`messages` with every content as text, and the role `developer` as `system`.

    Raises:
        InvalidInput: not a conversation; `param` points at the message.
        UnsupportedField: parts other than text, or keys that no template knows.
    """
    if not isinstance(messages, list) or not 1 <= len(messages) <= MAX_MESSAGES:
        count = len(messages) if isinstance(messages, list) else "no list of"
        raise InvalidInput(
            f"A chat needs 1 to {MAX_MESSAGES} messages; it has {count}.", param="messages"
        )
    return [_plain(message, f"messages[{at}]") for at, message in enumerate(messages)]


def _plain(message: Any, where: str) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise InvalidInput(f"{where} is not an object with 'role' and 'content'.", param=where)
    role = message.get("role")
    role = "system" if role == "developer" else role
    if role not in _ROLES:
        raise InvalidInput(
            f"{where} has the role {role!r:.60}; expected one of: developer, {', '.join(_ROLES)}.",
            param=f"{where}.role",
        )
    for key, value in message.items():
        if key not in _KNOWN_KEYS and value is not None:
            raise UnsupportedField(
                f"{where} has '{str(key)[:80]}', which this server does not know; a message has: "
                f"{', '.join(sorted(_KNOWN_KEYS))}.",
                param=f"{where}.{str(key)[:80]}",
            )
    plain = {"role": role, "content": _text(message, role, where)}
    if role == "assistant" and message.get("tool_calls"):
        plain["tool_calls"] = _tool_calls(message["tool_calls"], f"{where}.tool_calls")
    for key in ("name", "tool_call_id"):
        if isinstance(message.get(key), str):
            plain[key] = message[key]
    return plain


def _text(message: dict[str, Any], role: str, where: str) -> str:
    content = message.get("content")
    if content is None:
        refusal = message.get("refusal")
        if role == "assistant" and (message.get("tool_calls") or isinstance(refusal, str)):
            return refusal if isinstance(refusal, str) else ""
        raise InvalidInput(f"{where} has no content; expected text.", param=f"{where}.content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise InvalidInput(
            f"{where}.content is {type(content).__name__}; expected text or a list of text parts.",
            param=f"{where}.content",
        )
    return "\n".join(
        _part(part, f"{where}.content[{position}]") for position, part in enumerate(content)
    )


def _part(part: Any, where: str) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    key = {"text": "text", "refusal": "refusal"}.get(str(kind))
    if key is None:
        raise UnsupportedField(
            f"{where} is of type {kind!r:.60}; this model takes parts of type 'text' only.",
            param=where,
        )
    text = part.get(key)
    if not isinstance(text, str):
        raise InvalidInput(f"{where} has no '{key}'; expected text.", param=where)
    return text


def _tool_calls(calls: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(calls, list):
        raise InvalidInput(f"{where} is no list.", param=where)
    found = []
    for position, call in enumerate(calls):
        function = call.get("function") if isinstance(call, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        arguments = function.get("arguments") if isinstance(function, dict) else None
        if not isinstance(name, str) or not isinstance(arguments, str):
            raise InvalidInput(
                f"{where}[{position}] needs function.name and function.arguments (JSON as text).",
                param=f"{where}[{position}]",
            )
        call_id = call.get("id")
        found.append(
            {
                "id": call_id if isinstance(call_id, str) else f"call_{position}",
                "type": "function",
                "function": {"name": name, "arguments": arguments},
            }
        )
    return found


def without_tool_roles(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Plain messages for a template that knows no tools.

    Calls become `<tool_call>` text of the assistant, results `<tool_response>` text of the user.
    """
    found: list[dict[str, Any]] = []
    for message in messages:
        if message["role"] == "tool":
            text = f"<tool_response>\n{message['content']}\n</tool_response>"
            if found and found[-1].get("role") == "user" and "tool_response" in found[-1]:
                found[-1]["content"] += "\n" + text
            else:
                found.append({"role": "user", "content": text, "tool_response": True})
        elif "tool_calls" in message:
            calls = [_call_text(call["function"]) for call in message["tool_calls"]]
            text = "\n".join(filter(None, [message["content"], *calls]))
            found.append({"role": "assistant", "content": text})
        else:
            found.append(message)
    return [{key: value for key, value in m.items() if key != "tool_response"} for m in found]


def _call_text(function: dict[str, str]) -> str:
    try:
        arguments = orjson.loads(function["arguments"])
    except orjson.JSONDecodeError:
        arguments = function["arguments"]
    call = orjson.dumps({"name": function["name"], "arguments": arguments}).decode()
    return f"<tool_call>\n{call}\n</tool_call>"


def add_to_system(messages: Sequence[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """`messages` with `text` at the end of the first system message (made if there is none)."""
    if messages and messages[0]["role"] == "system":
        first = {**messages[0], "content": f"{messages[0]['content']}\n\n{text}".strip()}
        return [first, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def fold_system(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """`messages` for a template without a system role: put before the next user message."""
    found: list[dict[str, Any]] = []
    pending: list[str] = []
    for message in messages:
        if message["role"] == "system":
            pending.append(message["content"])
        elif message["role"] == "user" and pending:
            found.append({**message, "content": "\n\n".join([*pending, message["content"]])})
            pending = []
        else:
            found.append(message)
    if pending:
        found.append({"role": "user", "content": "\n\n".join(pending)})
    return found
