"""The messages of a chat: checked, and the role `developer` read as `system`."""

from __future__ import annotations

from typing import Any

from modelry.domain.errors import InvalidInput, UnsupportedField
from modelry.protocols.http.values import refuse_unknown_keys, required_text, shown, text

MAX_MESSAGES = 4096
MAX_PARTS = 256
MAX_TOOL_CALLS = 128
MAX_CHARS = 2**27
_ROLES = ("developer", "system", "user", "assistant", "tool")
_COMMON_KEYS = frozenset({"role", "content", "name"})
_KEYS = {
    "assistant": _COMMON_KEYS | {"tool_calls", "refusal", "annotations"},
    "tool": _COMMON_KEYS | {"tool_call_id"},
}


def chat_messages(value: Any) -> list[dict[str, Any]]:
    """The field `messages`, in the shape that it came in.

    Raises:
        InvalidInput: not a conversation; `param` points at the part that is wrong.
        UnsupportedField: parts other than text, or keys that are not known.
    """
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_MESSAGES:
        raise InvalidInput(
            f"messages is {shown(value)}; expected a list of 1 to {MAX_MESSAGES} messages.",
            param="messages",
        )
    return [_message(message, f"messages[{at}]") for at, message in enumerate(value)]


def _message(message: Any, where: str) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise InvalidInput(
            f"{where} is {shown(message)}; expected an object with 'role' and 'content'.",
            param=where,
        )
    role = message.get("role")
    if role not in _ROLES:
        raise InvalidInput(
            f"{where}.role is {shown(role)}; expected one of: {', '.join(_ROLES)}.",
            param=f"{where}.role",
        )
    refuse_unknown_keys(message, _KEYS.get(role, _COMMON_KEYS), where)
    found: dict[str, Any] = {"role": "system" if role == "developer" else role}
    name = text(message, "name", param=f"{where}.name", most_chars=64)
    if name is not None:
        found["name"] = name
    if role == "assistant":
        return found | _assistant(message, where)
    if role == "tool":
        found["tool_call_id"] = required_text(
            message, "tool_call_id", param=f"{where}.tool_call_id", most_chars=256
        )
    return found | {"content": _content(message.get("content"), f"{where}.content", ("text",))}


def _assistant(message: dict[str, Any], where: str) -> dict[str, Any]:
    found: dict[str, Any] = {"content": None}
    refusal = text(message, "refusal", param=f"{where}.refusal", most_chars=MAX_CHARS)
    calls = message.get("tool_calls")
    if calls is not None:
        found["tool_calls"] = _tool_calls(calls, f"{where}.tool_calls")
    if refusal is not None:
        found["refusal"] = refusal
    content = message.get("content")
    if content is not None:
        found["content"] = _content(content, f"{where}.content", ("text", "refusal"))
    elif not found.get("tool_calls") and refusal is None:
        raise InvalidInput(
            f"{where} has neither content nor tool_calls; expected at least one of them.",
            param=f"{where}.content",
        )
    return found


def _content(content: Any, where: str, kinds: tuple[str, ...]) -> str | list[dict[str, str]]:
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not 1 <= len(content) <= MAX_PARTS:
        raise InvalidInput(
            f"{where} is {shown(content)}; expected a text or a list of 1 to {MAX_PARTS} parts.",
            param=where,
        )
    return [_part(part, f"{where}[{at}]", kinds) for at, part in enumerate(content)]


def _part(part: Any, where: str, kinds: tuple[str, ...]) -> dict[str, str]:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(part, dict) or not isinstance(kind, str):
        raise InvalidInput(
            f"{where} is {shown(part)}; expected an object with a 'type'.", param=where
        )
    if kind not in kinds:
        raise UnsupportedField(
            f"{where} is of type {shown(kind)}; chat models here read parts of type "
            f"{' or '.join(kinds)} only, no images, audio or files.",
            param=where,
        )
    refuse_unknown_keys(part, frozenset({"type", kind}), where)
    inner = part.get(kind)
    if not isinstance(inner, str):
        raise InvalidInput(
            f"{where}.{kind} is {shown(inner)}; expected a text.", param=f"{where}.{kind}"
        )
    return {"type": kind, kind: inner}


def _tool_calls(calls: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(calls, list) or len(calls) > MAX_TOOL_CALLS:
        raise InvalidInput(
            f"{where} is {shown(calls)}; expected a list of at most {MAX_TOOL_CALLS} calls.",
            param=where,
        )
    return [_tool_call(call, f"{where}[{at}]") for at, call in enumerate(calls)]


def _tool_call(call: Any, where: str) -> dict[str, Any]:
    if not isinstance(call, dict) or call.get("type", "function") != "function":
        raise UnsupportedField(
            f"{where} is no call of a function; only tools of type 'function' are served.",
            param=where,
        )
    refuse_unknown_keys(call, frozenset({"id", "type", "function"}), where)
    function = call.get("function")
    if not isinstance(function, dict):
        raise InvalidInput(
            f"{where}.function is {shown(function)}; expected an object with 'name' and "
            "'arguments'.",
            param=f"{where}.function",
        )
    refuse_unknown_keys(function, frozenset({"name", "arguments"}), f"{where}.function")
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        raise InvalidInput(
            f"{where}.function.arguments is {shown(arguments)}; expected JSON as a text.",
            param=f"{where}.function.arguments",
        )
    name = required_text(function, "name", param=f"{where}.function.name", most_chars=64)
    return {
        "id": required_text(call, "id", param=f"{where}.id", most_chars=256),
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }
