"""Chats and completions, whole or streamed, over the OpenAI door."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelry.client.errors import UnexpectedAnswer, told_error
from modelry.client.exchange import Answer, Flow, Request, send
from modelry.client.generation import Choice, Delta, Generated, Message, TokenUsage, ToolCall
from modelry.client.lines import EventSplitter, json_object

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"


def messages_of(messages: str | Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as they are sent; a text is one message of the user."""
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}]
    return [dict(message) for message in messages]


def chat_request(
    model: str,
    messages: str | Sequence[Message],
    options: Mapping[str, Any],
    *,
    streams: bool = False,
) -> Request:
    """A chat."""
    return _request(CHAT, {"model": model, "messages": messages_of(messages)}, options, streams)


def completion_request(
    model: str,
    prompt: str | Sequence[str] | Sequence[int],
    options: Mapping[str, Any],
    *,
    streams: bool = False,
) -> Request:
    """A completion."""
    sent = prompt if isinstance(prompt, str) else list(prompt)
    return _request(COMPLETIONS, {"model": model, "prompt": sent}, options, streams)


def _request(
    path: str,
    body: dict[str, Any],
    options: Mapping[str, Any],
    streams: bool,  # noqa: FBT001 - private, always by position
) -> Request:
    body |= {key: value for key, value in options.items() if value is not None}
    if streams:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return Request("POST", path, json=body, idempotent=True, streams=streams)


def chat(
    model: str, messages: str | Sequence[Message], options: Mapping[str, Any]
) -> Flow[Generated]:
    """A chat's whole answer."""
    return _generated((yield from send(chat_request(model, messages, options))))


def complete(
    model: str, prompt: str | Sequence[str] | Sequence[int], options: Mapping[str, Any]
) -> Flow[Generated]:
    """A completion's whole answer."""
    return _generated((yield from send(completion_request(model, prompt, options))))


def _generated(answer: Answer) -> Generated:
    body = answer.json()
    try:
        return Generated(
            choices=tuple(_choice(one) for one in body["choices"]),
            usage=_usage(body.get("usage")) or TokenUsage(),
            model=body.get("model", ""),
            answer_id=body.get("id", ""),
            version=answer.headers.get("x-modelry-version"),
            request_id=answer.request_id,
        )
    except (KeyError, TypeError, AttributeError):
        raise answer.unexpected("something that is no generated answer") from None


def _choice(told: Mapping[str, Any]) -> Choice:
    message = told.get("message") or {"content": told.get("text")}
    return Choice(
        index=told["index"],
        text=message.get("content") or "",
        finish_reason=told.get("finish_reason"),
        tool_calls=_tool_calls(message),
        logprobs=told.get("logprobs"),
    )


def _tool_calls(holder: Mapping[str, Any]) -> tuple[ToolCall, ...]:
    return tuple(
        ToolCall(
            index=call.get("index", at),
            call_id=call.get("id"),
            name=call.get("function", {}).get("name"),
            arguments=call.get("function", {}).get("arguments") or "",
        )
        for at, call in enumerate(holder.get("tool_calls") or ())
    )


def _usage(told: Any) -> TokenUsage | None:
    if not told:
        return None
    return TokenUsage(
        told["prompt_tokens"],
        told.get("completion_tokens", 0),
        told["total_tokens"],
        (told.get("prompt_tokens_details") or {}).get("cached_tokens", 0),
    )


class DeltaParser:
    """Reads the events of a streamed chat or completion."""

    def __init__(self) -> None:
        self._events = EventSplitter()
        self.is_complete = False

    def feed(self, chunk: bytes) -> list[Delta]:
        """The deltas that `chunk` completes; raises the error that the stream tells."""
        deltas: list[Delta] = []
        for event in self._events.feed(chunk):
            if event == b"[DONE]":
                self.is_complete = True
            else:
                deltas += _deltas(json_object(event))
        return deltas


def _deltas(told: Mapping[str, Any]) -> list[Delta]:
    if "error" in told:
        raise told_error(500, told["error"])
    try:
        deltas = [_delta(choice) for choice in told["choices"]]
        usage = _usage(told.get("usage"))
    except (KeyError, TypeError, AttributeError):
        raise UnexpectedAnswer("The stream holds something that is no generated chunk.") from None
    return [*deltas, Delta(usage=usage)] if usage else deltas


def _delta(choice: Mapping[str, Any]) -> Delta:
    delta = choice.get("delta") or {"content": choice.get("text")}
    return Delta(
        index=choice["index"],
        text=delta.get("content") or "",
        tool_calls=_tool_calls(delta),
        finish_reason=choice.get("finish_reason"),
        logprobs=choice.get("logprobs"),
    )
