"""Conversations as rows: read from OpenAI's fine-tuning form, kept as canonical JSON in a text.

A row is `{"messages": [{"role": ..., "content": ...}, ...]}`, or a pair `{"prompt": ...,
"completion": ...}`, which is a conversation of one question and one answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

MAX_MESSAGES = 1024
COLUMN = "messages"
"""What the column of a dataset is called that holds conversations."""
_ROLES = ("system", "user", "assistant")
_PAIR = ("prompt", "completion")
_TOOLS = ("tool_calls", "function_call", "tool_call_id")


class NotAConversation(Exception):
    """A row is none; the message says why, for people."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn.

    Attributes:
        role: `system`, `user` or `assistant`.
        content: its text.
        is_learnt: whether an answer is an example; one that is not only leads to others.
    """

    role: str
    content: str
    is_learnt: bool = True


def read_row(row: Mapping[str, Any]) -> tuple[Message, ...]:
    """The conversation of a row.

    Raises:
        NotAConversation: it is none that can be learnt from.
    """
    if set(row) == set(_PAIR):
        return _pair(row)
    extra = sorted(row.keys() - {COLUMN})
    if COLUMN not in row or extra:
        told = f"it has '{extra[0][:40]}'" if extra else "it is empty"
        if extra and extra[0] in ("tools", "functions"):
            told += ", and calls of tools are not learnt"
        raise NotAConversation(f"{told}; expected 'messages', or 'prompt' and 'completion'")
    return read_messages(row[COLUMN])


def read_messages(given: Any) -> tuple[Message, ...]:
    """A list of messages, checked: at most one system message, first; an answer of the assistant
    last; a user's message before the first answer.

    Raises:
        NotAConversation: it is none that can be learnt from.
    """
    if type(given) is not list or not 1 <= len(given) <= MAX_MESSAGES:
        has = f"has {len(given)} entries" if type(given) is list else "is no list"
        raise NotAConversation(f"'messages' {has}; expected 2 to {MAX_MESSAGES} messages")
    messages = tuple(_message(one, f"messages[{at}]") for at, one in enumerate(given))
    for at, one in enumerate(messages[1:], start=1):
        if one.role == "system":
            raise NotAConversation(f"messages[{at}] is of the system; only the first one may be")
    turns = messages[1:] if messages[0].role == "system" else messages
    if not turns or turns[0].role != "user":
        raise NotAConversation("no message of the user comes before the first answer")
    if turns[-1].role != "assistant":
        raise NotAConversation(
            f"the last message is of the {turns[-1].role}; expected an answer of the assistant"
        )
    if not any(one.role == "assistant" and one.is_learnt for one in turns):
        raise NotAConversation("all its answers have the weight 0: there is nothing to learn")
    return messages


def to_text(messages: Sequence[Message]) -> str:
    """The conversation as it is kept: JSON without white space, keys always in the same order."""
    return orjson.dumps(
        [
            {"role": one.role, "content": one.content} | ({} if one.is_learnt else {"weight": 0})
            for one in messages
        ]
    ).decode()


def from_text(text: str) -> tuple[Message, ...]:
    """The conversation in a column's text.

    Raises:
        NotAConversation: it is none that can be learnt from.
    """
    try:
        given = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise NotAConversation("it is no JSON; expected a list of messages") from None
    return read_messages(given)


def _pair(row: Mapping[str, Any]) -> tuple[Message, ...]:
    return tuple(
        Message(role, _content(row[key], f"'{key}'"))
        for role, key in zip(("user", "assistant"), _PAIR, strict=True)
    )


def _message(given: Any, where: str) -> Message:
    if type(given) is not dict:
        raise NotAConversation(f"{where} is no object with 'role' and 'content'")
    role = given.get("role")
    role = "system" if role == "developer" else role
    for key in _TOOLS:
        if given.get(key) is not None:
            raise NotAConversation(f"{where} has '{key}'; calls of tools are not learnt")
    if role not in _ROLES:
        raise NotAConversation(
            f"{where} has the role {role!r:.40}; expected one of: {', '.join(_ROLES)}"
        )
    unknown = sorted(
        str(key)
        for key, value in given.items()
        if key not in ("role", "content", "weight") and value is not None
    )
    if unknown:
        raise NotAConversation(
            f"{where} has '{unknown[0][:40]}'; a message has 'role', 'content' and maybe 'weight'"
        )
    return Message(role, _content(given.get("content"), f"{where}.content"), _weight(given, where))


def _weight(given: Mapping[str, Any], where: str) -> bool:
    weight = given.get("weight")
    if weight is None:
        return True
    if given["role"] != "assistant" or type(weight) is not int or weight not in (0, 1):
        raise NotAConversation(
            f"{where} has the weight {weight!r:.40}; answers of the assistant may have 0 or 1"
        )
    return weight == 1


def _content(given: Any, where: str) -> str:
    text = given
    if type(given) is list:
        for part in given:
            if type(part) is not dict or type(part.get("text")) is not str:
                kind = part.get("type") if type(part) is dict else part
                raise NotAConversation(f"{where} has a part {kind!r:.40}; only texts are learnt")
        text = "\n".join(part["text"] for part in given)
    if type(text) is not str or not text.strip():
        has = "is empty" if text in (None, "") or type(text) is str else "is no text"
        raise NotAConversation(f"{where} {has}")
    return text
