"""Chats and completions as typed values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

Message = Mapping[str, Any]
"""`{"role": "user", "content": "…"}`, as OpenAI's API has it."""


class SamplingOptions(TypedDict, total=False):
    """How tokens are chosen; what is not given is the model's default."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float
    presence_penalty: float
    frequency_penalty: float
    logit_bias: Mapping[str, float]
    seed: int
    stop: str | Sequence[str]
    n: int
    max_tokens: int


class ChatOptions(SamplingOptions, total=False):
    """Options of a chat."""

    logprobs: bool
    top_logprobs: int
    tools: Sequence[Mapping[str, Any]]
    tool_choice: str | Mapping[str, Any]
    parallel_tool_calls: bool
    response_format: Mapping[str, Any]


class CompletionOptions(SamplingOptions, total=False):
    """Options of a completion."""

    echo: bool
    logprobs: int


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens of a generation; `cached_tokens` of the prompt were not computed anew."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that the model wants called; `arguments` is JSON text.

    In a delta only the parts that are new are set; deltas of one `index` belong together.
    """

    index: int = 0
    call_id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer; `finish_reason` is stop, length or tool_calls."""

    index: int
    text: str
    finish_reason: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: Any = None


@dataclass(frozen=True, slots=True)
class Generated:
    """The answer to a chat or a completion; `version` is the one that answered."""

    choices: tuple[Choice, ...]
    usage: TokenUsage
    model: str = ""
    answer_id: str = ""
    version: str | None = None
    request_id: str | None = None

    @property
    def text(self) -> str:
        """The first choice's text."""
        return self.choices[0].text if self.choices else ""

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The first choice's tool calls."""
        return self.choices[0].tool_calls if self.choices else ()

    @property
    def finish_reason(self) -> str | None:
        """Why the first choice ended."""
        return self.choices[0].finish_reason if self.choices else None


@dataclass(frozen=True, slots=True)
class Delta:
    """What is new in one choice of a streamed answer; the last of a stream has the `usage`."""

    index: int = 0
    text: str = ""
    tool_calls: tuple[ToolCall, ...] = field(default=())
    finish_reason: str | None = None
    logprobs: Any = None
    usage: TokenUsage | None = None
