"""Says again what the user said, word by word."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from modelry.domain.errors import Cancelled, ContextLengthExceeded, ModelFailed, NotSupported
from modelry.domain.signature import NO_TENSORS, Signature
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.generation import (
    ChatRequest,
    Finished,
    GenerationEvent,
    Sampling,
    TextDelta,
    TokenUsage,
)

CONTEXT_LENGTH = 1024
_WORDS = re.compile(r"\s*\S+")


class EchoChat:
    """An engine with the ability `SupportsChat`; a token is a word."""

    def __init__(self, slots: int, pause_s: float) -> None:
        self._slots = slots
        self._pause_s = pause_s
        self._is_closed = False

    @property
    def signature(self) -> Signature:
        """No tensors."""
        return NO_TENSORS

    @property
    def capacity(self) -> int:
        """Chats at once."""
        return self._slots

    @property
    def context_length(self) -> int:
        """Words of a whole conversation."""
        return CONTEXT_LENGTH

    def close(self) -> None:
        """Let go of what the engine holds: nothing here."""
        self._is_closed = True

    def chat(
        self, request: ChatRequest, emit: Callable[[GenerationEvent], None], stop: StopSignal
    ) -> None:
        """The last message again, once per choice.

        Raises:
            ContextLengthExceeded: the conversation has more words than fit.
            NotSupported: tools, a JSON schema or log-probabilities are asked for.
            Cancelled: `stop` was raised.
            ModelFailed: the engine is closed.
        """
        if self._is_closed:
            raise ModelFailed("The model has been unloaded; load it again.")
        if request.tools or request.json_schema is not None or request.top_logprobs is not None:
            raise NotSupported("An echo calls no tools, keeps to no schema, and knows no odds.")
        said = [_text(message.get("content")) for message in request.messages]
        prompt_tokens = sum(len(_WORDS.findall(text)) for text in said)
        if prompt_tokens > CONTEXT_LENGTH:
            raise ContextLengthExceeded(
                f"The conversation has {prompt_tokens} words; at most {CONTEXT_LENGTH} fit.",
                param="messages",
            )
        words, reason = _answer(said[-1] if said else "", request.sampling)
        for index in range(request.n):
            for word in words:
                if self._pause_s:
                    time.sleep(self._pause_s)
                if stop.is_set():
                    raise Cancelled("The answer was stopped because its caller went away.")
                emit(TextDelta(index, word))
            emit(Finished(index, reason))
        emit(TokenUsage(prompt_tokens, len(words) * request.n))


def _answer(text: str, sampling: Sampling) -> tuple[list[str], str]:
    """The words to say and why they end; an echo has nothing to sample."""
    places = [text.find(word) for word in sampling.stop if word and word in text]
    words = _WORDS.findall(text[: min(places)] if places else text)
    if sampling.max_tokens is not None and len(words) > sampling.max_tokens:
        return words[: sampling.max_tokens], "length"
    return words, "stop"


def _text(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""
