"""Text generation, neutral of any door: requests that go in, events that come out.

Messages, tools and response formats have the shape that OpenAI's chat API gave the field
(plain dicts), because every engine and chat template speaks it. All types go over the wire to
the worker as JSON through `to_wire` / `*_from_wire`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen; None means the engine's or the manifest's default."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One chat turn to complete.

    `tool_choice` is `auto`, `none`, `required` or the name of one function.
    `top_logprobs` is None for no log-probabilities, else the number of alternatives per token.
    `json_schema` constrains the answer: None is free text, `{}` any JSON object.
    `cache_salt` says whose prompt it is: engines reuse nothing between two salts. The server
    sets it; it is empty for the tenant that the model belongs to.
    """

    messages: list[dict[str, Any]]
    sampling: Sampling = field(default_factory=Sampling)
    n: int = 1
    top_logprobs: int | None = None
    tools: list[dict[str, Any]] = field(default_factory=list)
    tool_choice: str = "auto"
    parallel_tool_calls: bool = True
    json_schema: dict[str, Any] | None = None
    cache_salt: str = ""


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """Text (or token ids) to go on from, without a chat template.

    `cache_salt` as in `ChatRequest`.
    """

    prompt: str | list[int]
    sampling: Sampling = field(default_factory=Sampling)
    n: int = 1
    top_logprobs: int | None = None
    echo: bool = False
    cache_salt: str = ""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token, its natural-log probability, and the likeliest alternatives at its place."""

    token: str
    logprob: float
    raw: bytes
    top: tuple[tuple[str, float, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More text of choice `index`."""

    index: int
    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """More of tool call `call_index` of choice `index`; id and name come with its first part."""

    index: int
    call_index: int
    call_id: str | None
    name: str | None
    arguments: str


@dataclass(frozen=True, slots=True)
class Finished:
    """Choice `index` is complete: `stop`, `length` or `tool_calls`."""

    index: int
    reason: str


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens of the whole request; the last event of every generation."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """Tokens of the prompt, told before anything else by engines that know them by then.

    It is for the meter, which has to know what a caller used that does not wait for the end.
    """

    count: int


GenerationEvent = TextDelta | ToolCallDelta | Finished | TokenUsage
EngineEvent = PromptTokens | GenerationEvent
"""What engines emit; all but `PromptTokens` goes on to the caller."""


def request_to_wire(request: ChatRequest | CompletionRequest) -> dict[str, Any]:
    """A request as JSON types: `{"chat": {…}}` or `{"completion": {…}}`."""
    payload = asdict(request)
    payload["sampling"]["logit_bias"] = {
        str(token): bias for token, bias in request.sampling.logit_bias.items()
    }
    return {"chat" if isinstance(request, ChatRequest) else "completion": payload}


def request_from_wire(header: dict[str, Any]) -> ChatRequest | CompletionRequest:
    """The request that `request_to_wire` wrote."""
    is_chat = "chat" in header
    payload = dict(header["chat"] if is_chat else header["completion"])
    raw = dict(payload["sampling"])
    raw["stop"] = tuple(raw["stop"])
    raw["logit_bias"] = {int(token): bias for token, bias in raw["logit_bias"].items()}
    payload["sampling"] = Sampling(**raw)
    return ChatRequest(**payload) if is_chat else CompletionRequest(**payload)


def event_to_wire(event: EngineEvent) -> dict[str, Any]:
    """An event as JSON types."""
    match event:
        case PromptTokens(count):
            return {"prompt_tokens": count}
        case TextDelta(index, text, logprobs):
            wire: dict[str, Any] = {"text": text, "index": index}
            if logprobs:
                wire["logprobs"] = [_logprob_to_wire(item) for item in logprobs]
            return wire
        case ToolCallDelta():
            return {"tool": asdict(event)}
        case Finished(index, reason):
            return {"finished": reason, "index": index}
        case TokenUsage():
            return {"usage": asdict(event)}


def event_from_wire(wire: dict[str, Any]) -> GenerationEvent:
    """The event that `event_to_wire` wrote; `PromptTokens` is read where it is counted."""
    if "text" in wire:
        logprobs = tuple(_logprob_from_wire(item) for item in wire.get("logprobs", ()))
        return TextDelta(wire["index"], wire["text"], logprobs)
    if "finished" in wire:
        return Finished(wire["index"], wire["finished"])
    if "usage" in wire:
        return TokenUsage(**wire["usage"])
    return ToolCallDelta(**wire["tool"])


def _logprob_to_wire(item: TokenLogprob) -> list[Any]:
    return [
        item.token,
        item.logprob,
        list(item.raw),
        [[token, logprob, list(raw)] for token, logprob, raw in item.top],
    ]


def _logprob_from_wire(wire: list[Any]) -> TokenLogprob:
    token, logprob, raw, top = wire
    return TokenLogprob(token, logprob, bytes(raw), tuple((t, p, bytes(r)) for t, p, r in top))
