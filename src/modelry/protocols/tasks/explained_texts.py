"""What may be sent beside a text, and instead of one, to have what was written explained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelry.domain.errors import InvalidInput, UnsupportedField
from modelry.protocols.tasks.description import MODEL
from modelry.protocols.tasks.question import MAX_ITEMS, Question, check_names
from modelry.tasks.contract import ItemForm, Schema

CHAT = "chat"
EMBEDDING = "text-embedding"
WRITING = ("translation", "summarization")
TASKS = (CHAT, EMBEDDING, *WRITING)
_ANSWER: Schema = {
    "type": "string",
    "description": "An answer to explain; by default the model's own.",
}
_LEVEL: Schema = {
    "type": "string",
    "description": "What is left out at a time: messages, lines, sentences or words.",
}
_OF_CHATS: Mapping[str, Schema] = {
    "answer": _ANSWER,
    "level": _LEVEL,
    "max_tokens": {
        "type": "integer",
        "minimum": 1,
        "maximum": 512,
        "description": "Of the model's own answer.",
    },
}
_OF_WRITING: Mapping[str, Schema] = {"answer": _ANSWER, "level": _LEVEL}
_OF_EMBEDDINGS: Mapping[str, Schema] = {
    "compared_with": {
        "type": "string",
        "description": "The text whose likeness to the first one is explained.",
    }
}
_LISTS: Mapping[str, Schema] = {
    "messages": {"type": "object"},
    "within": {"type": "integer"},
}
WAYS: Mapping[str, Sequence[str]] = {
    CHAT: ("level", "within"),
    **dict.fromkeys(WRITING, ("level",)),
}
"""By task, in which ways the text of an earlier request may be taken apart."""
_NO_ITEMS = ItemForm(item={"properties": {"messages": {}}}, options={}, result={})


def wishes_of(task: str) -> Mapping[str, Schema]:
    """What may be sent for models of a task, beside what its items have."""
    if task in WRITING:
        return _OF_WRITING
    return _OF_EMBEDDINGS if task == EMBEDDING else {}


def with_wishes(item: Mapping[str, Any], question: Question, task: str) -> dict[str, Any]:
    """An item with what was sent beside it.

    Raises:
        InvalidInput: a value is of another type.
    """
    given = {name: question.option(name, schema) for name, schema in wishes_of(task).items()}
    return {**item, **{name: value for name, value in given.items() if value is not None}}


def with_ways(item: Mapping[str, Any], question: Question, task: str) -> dict[str, Any]:
    """An earlier request's item with how its text shall be taken apart.

    Raises:
        InvalidInput: a value is of another type.
        UnsupportedField: the task's texts are not taken apart so.
    """
    found = dict(item)
    for name in WAYS[CHAT]:
        if name not in question.names:
            continue
        if name not in WAYS.get(task, ()):
            raise UnsupportedField(f"{name} is not for models of the task '{task}'.", param=name)
        is_list = name in _LISTS
        found[name] = _list_of(question, name) if is_list else question.option(name, _LEVEL)
    return found


def read_chat(question: Question, more: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The conversation as an item, and the options of the model's own answer.

    Args:
        question: what was sent.
        more: names of wishes that are read elsewhere.

    Raises:
        InvalidInput: there are no messages, too many, or a value is of another type.
        UnsupportedField: something else was sent.
    """
    check_names(question, question.model, _NO_ITEMS, ("within", *_OF_CHATS, *more))
    if "messages" not in question.names:
        raise InvalidInput("messages is missing; it is required.", param="messages")
    item: dict[str, Any] = {}
    for name in _LISTS:
        if name in question.names:
            item[name] = _list_of(question, name)
    given = {name: question.option(name, schema) for name, schema in _OF_CHATS.items()}
    tokens = given.pop("max_tokens")
    item |= {name: value for name, value in given.items() if value is not None}
    return item, {} if tokens is None else {"max_tokens": tokens}


def _list_of(question: Question, name: str) -> list[Any]:
    found = question.column(name, _LISTS[name])
    if not 1 <= len(found) <= MAX_ITEMS:
        raise InvalidInput(
            f"{name} has {len(found)} entries; expected 1 to {MAX_ITEMS}.", param=name
        )
    return found


def described_ways() -> Mapping[str, Schema]:
    """How a conversation may be taken apart."""
    within: Schema = {
        "type": "array",
        "items": {"type": "integer", "minimum": 0},
        "description": "Places of the messages of which parts are left out; all of them by "
        "default.",
    }
    return {"within": within, "level": _LEVEL}


def described_chat(wishes: Mapping[str, Schema]) -> Schema:
    """The body of a request about a chat."""
    return {
        "type": "object",
        "properties": {
            "model": MODEL,
            "messages": {
                "type": "array",
                "items": {"type": "object"},
                "minItems": 1,
                "maxItems": MAX_ITEMS,
                "description": "A conversation, as for /v1/chat/completions.",
            },
            **described_ways(),
            **_OF_CHATS,
            **wishes,
        },
        "required": ["model", "messages"],
        "additionalProperties": False,
    }
