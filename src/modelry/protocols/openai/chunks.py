"""Chunks of streamed answers as bytes; all that stays the same in a stream is built once."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Protocol

import orjson

from modelry.protocols.openai.collected import added
from modelry.protocols.openai.head import AnswerHead, usage_of
from modelry.protocols.openai.logprobs import LegacyLogprobs, chat_logprobs
from modelry.protocols.openai.merging import PlacedEvent
from modelry.runtime_api.generation import (
    Finished,
    GenerationEvent,
    TextDelta,
    TokenUsage,
    ToolCallDelta,
)

DONE = b"data: [DONE]\n\n"


class ChunkWriter(Protocol):
    """Writes one kind of stream."""

    def write(self, prompt: int, event: GenerationEvent) -> bytes:
        """The blocks that tell `event`, possibly none."""
        ...

    def last(self) -> bytes:
        """What ends the stream."""
        ...


async def written(
    writer: ChunkWriter, events: AsyncGenerator[PlacedEvent, None]
) -> AsyncGenerator[bytes, None]:
    """The blocks of a whole stream."""
    async with aclosing(events):
        async for prompt, event in events:
            block = writer.write(prompt, event)
            if block:
                yield block
    yield writer.last()


class _Envelope:
    """The constant bytes before and after a chunk's choice."""

    def __init__(self, head: AnswerHead, kind: str, *, include_usage: bool) -> None:
        self._head = head.fields(kind)
        self._include_usage = include_usage
        self._usage = TokenUsage(0, 0)
        self.before = b"data: " + orjson.dumps(self._head)[:-1] + b',"choices":['
        self.after = b'],"usage":null}\n\n' if include_usage else b"]}\n\n"

    def chunk(self, choice: dict[str, Any]) -> bytes:
        """A chunk with one choice."""
        return self.before + orjson.dumps(choice) + self.after

    def count(self, usage: TokenUsage) -> None:
        """Add the tokens of one generation."""
        self._usage = added(self._usage, usage)

    def last(self) -> bytes:
        """The usage, if it was asked for, and the end mark."""
        if not self._include_usage:
            return DONE
        chunk = self._head | {"choices": [], "usage": usage_of(self._usage)}
        return b"data: " + orjson.dumps(chunk) + b"\n\n" + DONE


class ChatChunks:
    """Writes a chat: role first, then deltas, then why each choice ended."""

    def __init__(
        self, head: AnswerHead, *, include_usage: bool, with_logprobs: bool = False
    ) -> None:
        self._envelope = _Envelope(head, "chat.completion.chunk", include_usage=include_usage)
        self._with_logprobs = with_logprobs
        self._text_prefixes: dict[int, bytes] = {}
        self._text_suffix = b'},"logprobs":null,"finish_reason":null}' + self._envelope.after

    def write(self, prompt: int, event: GenerationEvent) -> bytes:  # noqa: ARG002 - a chat has one
        """The chunks that tell `event`."""
        if isinstance(event, TextDelta):
            prefix = self._text_prefixes.get(event.index)
            if prefix is None:
                return self._begin(event.index) + self.write(0, event)
            if not event.logprobs:
                if not event.text:
                    return b""
                return prefix + orjson.dumps(event.text) + self._text_suffix
            return self._delta(event.index, {"content": event.text}, event)
        if isinstance(event, TokenUsage):
            self._envelope.count(event)
            return b""
        begin = b"" if event.index in self._text_prefixes else self._begin(event.index)
        if isinstance(event, ToolCallDelta):
            return begin + self._delta(event.index, {"tool_calls": [_tool_call(event)]})
        return begin + self._delta(event.index, {}, finish_reason=event.reason)

    def _begin(self, index: int) -> bytes:
        head = orjson.dumps({"index": index})[:-1]
        self._text_prefixes[index] = self._envelope.before + head + b',"delta":{"content":'
        return self._delta(index, {"role": "assistant", "content": "", "refusal": None})

    def _delta(
        self,
        index: int,
        delta: dict[str, Any],
        event: TextDelta | None = None,
        finish_reason: str | None = None,
    ) -> bytes:
        logprobs = None
        if event is not None and self._with_logprobs:
            logprobs = chat_logprobs(event.logprobs)
        return self._envelope.chunk(
            {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        )

    def last(self) -> bytes:
        """The usage, if it was asked for, and the end mark."""
        return self._envelope.last()


def _tool_call(event: ToolCallDelta) -> dict[str, Any]:
    function: dict[str, Any] = {"arguments": event.arguments}
    call: dict[str, Any] = {"index": event.call_index, "function": function}
    if event.call_id is not None:
        call |= {"id": event.call_id, "type": "function"}
    if event.name is not None:
        function["name"] = event.name
    return call


class CompletionChunks:
    """Writes completions; the choices of all prompts are numbered through.

    Args:
        head: of the answer.
        n: choices per prompt.
        top_logprobs: as asked for; None leaves log-probabilities out.
        include_usage: whether a last chunk tells the usage.
    """

    def __init__(
        self, head: AnswerHead, n: int, top_logprobs: int | None, *, include_usage: bool
    ) -> None:
        self._envelope = _Envelope(head, "text_completion", include_usage=include_usage)
        self._n = n
        self._top_logprobs = top_logprobs
        self._legacy: dict[int, LegacyLogprobs] = {}

    def write(self, prompt: int, event: GenerationEvent) -> bytes:
        """The chunk that tells `event`."""
        match event:
            case TextDelta():
                return self._text(prompt * self._n + event.index, event)
            case Finished():
                return self._choice(prompt * self._n + event.index, "", None, event.reason)
            case TokenUsage():
                self._envelope.count(event)
                return b""
            case ToolCallDelta():
                return b""

    def _text(self, index: int, event: TextDelta) -> bytes:
        if not event.text and not event.logprobs:
            return b""
        logprobs = None
        if self._top_logprobs is not None:
            gathered = self._legacy.setdefault(index, LegacyLogprobs(self._top_logprobs))
            logprobs = gathered.part(event.text, event.logprobs)
        return self._choice(index, event.text, logprobs, None)

    def _choice(
        self, index: int, text: str, logprobs: dict[str, Any] | None, reason: str | None
    ) -> bytes:
        return self._envelope.chunk(
            {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}
        )

    def last(self) -> bytes:
        """The usage, if it was asked for, and the end mark."""
        return self._envelope.last()
