"""Whole answers of generations that are not streamed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from modelry.domain.errors import InternalError
from modelry.protocols.openai.head import AnswerHead, usage_of
from modelry.protocols.openai.logprobs import LegacyLogprobs, chat_logprobs, joined
from modelry.protocols.openai.merging import PlacedEvent
from modelry.runtime_api.generation import (
    Finished,
    GenerationEvent,
    TextDelta,
    TokenLogprob,
    TokenUsage,
    ToolCallDelta,
)


@dataclass(slots=True)
class _Choice:
    """What came of one choice so far."""

    texts: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    deltas: list[TextDelta] = field(default_factory=list)
    calls: dict[int, dict[str, Any]] = field(default_factory=dict)
    reason: str | None = None

    def take(self, event: GenerationEvent) -> None:
        """Add what `event` tells."""
        match event:
            case TextDelta():
                self.texts.append(event.text)
                self.logprobs.extend(event.logprobs)
                self.deltas.append(event)
            case ToolCallDelta():
                call = self.calls.setdefault(
                    event.call_index, {"id": "", "name": "", "arguments": []}
                )
                call["id"] = event.call_id or call["id"]
                call["name"] = event.name or call["name"]
                call["arguments"].append(event.arguments)
            case Finished():
                self.reason = event.reason
            case TokenUsage():
                raise AssertionError("usage belongs to no choice")

    def finish_reason(self) -> str:
        """Why it ended.

        Raises:
            InternalError: the engine did not say.
        """
        if self.reason is None:
            raise InternalError("The model ended its answer without saying why; try again.")
        return self.reason


@dataclass(slots=True)
class _Collected:
    choices: list[_Choice]
    usage: TokenUsage


async def _collect(events: AsyncGenerator[PlacedEvent, None], prompts: int, n: int) -> _Collected:
    choices = [_Choice() for _ in range(prompts * n)]
    usage = TokenUsage(0, 0)
    async with aclosing(events):
        async for prompt, event in events:
            if isinstance(event, TokenUsage):
                usage = added(usage, event)
            else:
                choices[prompt * n + event.index].take(event)
    return _Collected(choices, usage)


def added(one: TokenUsage, other: TokenUsage) -> TokenUsage:
    """The tokens of two generations of one request."""
    return TokenUsage(
        one.prompt_tokens + other.prompt_tokens,
        one.completion_tokens + other.completion_tokens,
        one.cached_tokens + other.cached_tokens,
    )


async def whole_chat(
    head: AnswerHead, events: AsyncGenerator[PlacedEvent, None], n: int, *, with_logprobs: bool
) -> dict[str, Any]:
    """The complete answer to a chat.

    Raises:
        ModelryError: the generation failed.
    """
    collected = await _collect(events, 1, n)
    choices = [
        {
            "index": at,
            "message": _message(choice),
            "logprobs": chat_logprobs(choice.logprobs) if with_logprobs else None,
            "finish_reason": choice.finish_reason(),
        }
        for at, choice in enumerate(collected.choices)
    ]
    return head.fields("chat.completion") | {"choices": choices, "usage": usage_of(collected.usage)}


def _message(choice: _Choice) -> dict[str, Any]:
    content = "".join(choice.texts)
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
    if choice.calls:
        message["content"] = content or None
        message["tool_calls"] = [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": "".join(call["arguments"])},
            }
            for _, call in sorted(choice.calls.items())
        ]
    return message


async def whole_completion(
    head: AnswerHead,
    events: AsyncGenerator[PlacedEvent, None],
    prompts: int,
    n: int,
    top_logprobs: int | None,
) -> dict[str, Any]:
    """The complete answer to a completions request.

    Raises:
        ModelryError: a generation failed.
    """
    collected = await _collect(events, prompts, n)
    choices = [
        {
            "index": at,
            "text": "".join(choice.texts),
            "logprobs": _legacy(choice, top_logprobs),
            "finish_reason": choice.finish_reason(),
        }
        for at, choice in enumerate(collected.choices)
    ]
    return head.fields("text_completion") | {"choices": choices, "usage": usage_of(collected.usage)}


def _legacy(choice: _Choice, top_logprobs: int | None) -> dict[str, Any] | None:
    if top_logprobs is None:
        return None
    gathered = LegacyLogprobs(top_logprobs)
    parts = [gathered.part(delta.text, delta.logprobs) for delta in choice.deltas]
    return joined([gathered.part("", ()), *parts])
