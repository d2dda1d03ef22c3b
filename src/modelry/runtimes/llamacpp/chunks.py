"""Reads the chunks that llama.cpp's server streams into an answer."""

from __future__ import annotations

from typing import Any, Protocol

import orjson

from modelry.runtime_api.generation import TokenLogprob
from modelry.runtimes.chat.context import context_exceeded
from modelry.runtimes.llamacpp.load_errors import call_error

LEAST_LOGPROB = -9999.0
"""Stands for minus infinity, which JSON cannot carry (OpenAI's figure)."""


class Writes(Protocol):
    """Takes what chunks tell; the methods are `Answer`'s."""

    def begin(self, prompt_tokens: int) -> None:
        """See `Answer`."""

    def text(self, index: int, text: str, logprobs: tuple[TokenLogprob, ...] = ()) -> None:
        """See `Answer`."""

    def tool_call(
        self, index: int, call_index: int, call_id: str | None, name: str | None, arguments: str
    ) -> None:
        """See `Answer`."""

    def finish(self, index: int, reason: str) -> None:
        """See `Answer`."""

    def count(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int) -> None:
        """See `Answer`."""


class ChunkReader:
    """Reads one request's chunks.

    `asked_tokens` is what the caller asked for (None: as many as fit); `top_logprobs` None drops
    log-probabilities. `param` is the field that holds the prompt.
    """

    def __init__(
        self,
        answer: Writes,
        *,
        context: int,
        asked_tokens: int | None,
        top_logprobs: int | None,
        param: str,
    ) -> None:
        self._answer = answer
        self._param = param
        self._context = context
        self._asked_tokens = asked_tokens
        self._top_logprobs = top_logprobs
        self._measured = False

    def take(self, raw: str) -> None:
        """Read one chunk.

        Raises:
            ContextLengthExceeded: the prompt, or prompt and asked tokens, do not fit.
            InvalidInput, ModelFailed: what the engine answered instead of text.
        """
        chunk: dict[str, Any] = orjson.loads(raw)
        error = chunk.get("error")
        if error is not None:
            raise call_error(error, self._context, self._param)
        progress = chunk.get("prompt_progress")
        if progress is not None and not self._measured:
            self._measure(progress["total"])
        for choice in chunk.get("choices", ()):
            self._choice(choice)
        usage = chunk.get("usage")
        if usage is not None:
            details = usage.get("prompt_tokens_details") or {}
            self._answer.count(
                usage["prompt_tokens"], usage["completion_tokens"], details.get("cached_tokens", 0)
            )

    def _measure(self, prompt_tokens: int) -> None:
        """The first chunk tells the prompt's length, before any of it is processed."""
        self._measured = True
        if prompt_tokens + (self._asked_tokens or 1) > self._context:
            raise context_exceeded(prompt_tokens, self._asked_tokens, self._context, self._param)
        self._answer.begin(prompt_tokens)

    def _choice(self, choice: dict[str, Any]) -> None:
        answer, index = self._answer, choice["index"]
        delta = choice.get("delta")
        logprobs = self._logprobs(choice.get("logprobs"))
        if delta is None:
            answer.text(index, choice.get("text") or "", logprobs)
        else:
            text = (delta.get("reasoning_content") or "") + (delta.get("content") or "")
            answer.text(index, text, logprobs)
            for call in delta.get("tool_calls") or ():
                function = call.get("function") or {}
                answer.tool_call(
                    index,
                    call.get("index", 0),
                    call.get("id"),
                    function.get("name"),
                    function.get("arguments") or "",
                )
        reason = choice.get("finish_reason")
        if reason is not None:
            answer.finish(index, reason)

    def _logprobs(self, entry: dict[str, Any] | None) -> tuple[TokenLogprob, ...]:
        if not entry or self._top_logprobs is None:
            return ()
        return tuple(
            TokenLogprob(
                token["token"],
                _finite(token["logprob"]),
                bytes(token["bytes"]),
                tuple(
                    (other["token"], _finite(other["logprob"]), bytes(other["bytes"]))
                    for other in token["top_logprobs"][: self._top_logprobs]
                ),
            )
            for token in entry.get("content") or ()
        )


def _finite(logprob: float | None) -> float:
    return LEAST_LOGPROB if logprob is None else max(logprob, LEAST_LOGPROB)
