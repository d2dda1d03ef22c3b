"""Readers turn the text of one choice into answer text and tool calls, piece by piece.

Whatever the model writes comes out again: as text, or as a call. Text is held back only while it
may still turn out to be the beginning of a call.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from modelry.runtime_api.generation import TokenLogprob
from modelry.runtimes.chat.json_schema import check_answer

Logprobs = tuple[TokenLogprob, ...]


@dataclass(frozen=True, slots=True)
class TextPiece:
    """Answer text."""

    text: str
    logprobs: Logprobs = ()


@dataclass(frozen=True, slots=True)
class CallPiece:
    """A part of call `call_index`; id and name come with its first part."""

    call_index: int
    call_id: str | None
    name: str | None
    arguments: str


Piece = TextPiece | CallPiece


class Reader(Protocol):
    """Reads the text of one choice."""

    def feed(self, text: str, logprobs: Logprobs) -> Sequence[Piece]:
        """What `text` completes."""
        ...

    def finish(self, reason: str) -> tuple[Sequence[Piece], str]:
        """What was held back, and why the choice ended (`tool_calls` instead of `stop`).

        Raises:
            ModelFailed: the answer is not what the engine was told to make.
        """
        ...


def new_call_id() -> str:
    """An id for a tool call, as unique as OpenAI's."""
    return f"call_{secrets.token_hex(12)}"


class PlainReader:
    """Passes text on."""

    def feed(self, text: str, logprobs: Logprobs) -> Sequence[Piece]:
        """`text` itself."""
        return (TextPiece(text, logprobs),)

    def finish(self, reason: str) -> tuple[Sequence[Piece], str]:
        """Nothing more."""
        return (), reason


class SchemaReader:
    """Passes text on and checks it against a compiled schema when it is complete."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema
        self._parts: list[str] = []

    def feed(self, text: str, logprobs: Logprobs) -> Sequence[Piece]:
        """`text` itself."""
        self._parts.append(text)
        return (TextPiece(text, logprobs),)

    def finish(self, reason: str) -> tuple[Sequence[Piece], str]:
        """Nothing more; a complete answer must fit the schema."""
        if reason == "stop":
            check_answer(self._schema, "".join(self._parts))
        return (), reason


class ForcedCallReader:
    """Reads an answer that a schema forces to be one call.

    `name` is the tool's when there is one: then all text is its arguments. Otherwise the text is
    `{"name": …, "arguments": …}`.
    """

    _HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*')

    def __init__(self, name: str | None, schema: Mapping[str, Any]) -> None:
        self._schema = schema
        self._text = ""
        self._started = name is not None
        self._name = name
        self._told = False
        self._scan = _ObjectScan()

    def feed(self, text: str, logprobs: Logprobs) -> Sequence[Piece]:  # noqa: ARG002 - calls have none
        """Arguments, as they come."""
        self._text += text
        if not self._started:
            head = self._HEAD.match(self._text)
            if head is None:
                return ()
            self._started = True
            self._name = orjson.loads(head[1])
            text = self._text[head.end() :]
        text = self._scan.take(text)
        if not text:
            return ()
        if self._told:
            return (CallPiece(0, None, None, text),)
        self._told = True
        return (CallPiece(0, new_call_id(), self._name, text.lstrip()),)

    def finish(self, reason: str) -> tuple[Sequence[Piece], str]:
        """Nothing more, or all the text when it never became a call."""
        if reason == "stop":
            check_answer(self._schema, self._text)
        if not self._told:
            return ((TextPiece(self._text),) if self._text else ()), reason
        return (), "tool_calls" if reason == "stop" else reason


class _ObjectScan:
    """Passes one JSON value's text and drops what follows its last bracket."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._ended = False

    def take(self, text: str) -> str:
        for position, character in enumerate(text):
            if self._ended:
                return text[:position]
            if self._in_string:
                self._in_string = self._escaped or character != '"'
                self._escaped = character == "\\" and not self._escaped
            elif character == '"':
                self._in_string = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                self._ended = self._depth <= 0
        return text


class TaggedCallReader:
    """Finds `<tool_call>{…}</tool_call>` in free text."""

    _OPEN = "<tool_call>"
    _CLOSE = "</tool_call>"

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)
        self._held = ""
        self._held_logprobs: Logprobs = ()
        self._inside = False
        self._calls = 0
        self._blank: str | None = ""
        """Space since the last call, None once other text followed; between calls alone it is no
        text. It is held back until that is known, wherever the text was cut."""

    def feed(self, text: str, logprobs: Logprobs) -> Sequence[Piece]:
        """Text up to a tag, and every call that is complete."""
        self._held += text
        self._held_logprobs += logprobs
        pieces: list[Piece] = []
        while self._step(pieces):
            pass
        return pieces

    def finish(self, reason: str) -> tuple[Sequence[Piece], str]:
        """What was held back: the last call may lack its closing tag."""
        pieces: list[Piece] = []
        if self._inside:
            self._call(self._held, "", pieces)
        elif self._held:
            self._release(self._held, pieces)
        self._held = ""
        return pieces, "tool_calls" if self._calls and reason == "stop" else reason

    def _step(self, pieces: list[Piece]) -> bool:
        """Whether one tag was dealt with, so that more may follow."""
        if self._inside:
            body, close, rest = self._held.partition(self._CLOSE)
            if not close:
                return False
            self._inside = False
            self._held = rest
            self._call(body, close, pieces)
            return True
        before, tag, rest = self._held.partition(self._OPEN)
        if tag:
            self._release(before, pieces)
            self._held, self._inside = rest, True
            return True
        keep = _overlap(self._held, self._OPEN)
        ready, self._held = (
            self._held[: len(self._held) - keep],
            self._held[-keep or len(self._held) :],
        )
        self._release(ready, pieces)
        return False

    def _release(self, text: str, pieces: list[Piece]) -> None:
        if self._calls and self._blank is not None:
            text = self._blank + text
            if text.isspace():
                self._blank = text
                return
        if text:
            self._blank = None
            pieces.append(TextPiece(text, self._held_logprobs))
            self._held_logprobs = ()

    def _call(self, body: str, close: str, pieces: list[Piece]) -> None:
        call = _parse_call(body, self._names)
        if call is None:
            self._release(self._OPEN + body + close, pieces)
            return
        pieces.append(CallPiece(self._calls, new_call_id(), *call))
        self._calls += 1
        self._blank = ""
        self._held_logprobs = ()


def _overlap(text: str, tag: str) -> int:
    """How many characters at the end of `text` may be the beginning of `tag`."""
    for size in range(min(len(tag) - 1, len(text)), 0, -1):
        if text.endswith(tag[:size]):
            return size
    return 0


def _parse_call(body: str, names: frozenset[str]) -> tuple[str, str] | None:
    try:
        call = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(call, dict) or call.get("name") not in names:
        return None
    arguments = call.get("arguments", call.get("parameters", {}))
    if isinstance(arguments, str):
        return call["name"], arguments
    return call["name"], orjson.dumps(arguments).decode()
