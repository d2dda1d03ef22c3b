"""Writes what an engine generates as events, in the order that the contract asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from modelry.domain.errors import ModelFailed
from modelry.runtime_api.generation import (
    EngineEvent,
    Finished,
    PromptTokens,
    TextDelta,
    TokenLogprob,
    TokenUsage,
    ToolCallDelta,
)
from modelry.runtimes.chat.readers import CallPiece, Piece, Reader

Emit = Callable[[EngineEvent], None]


class Answer:
    """The choices of one request. Every choice is finished once; `close` ends with the usage."""

    def __init__(self, choices: int, new_reader: Callable[[], Reader], emit: Emit) -> None:
        self._readers = [new_reader() for _ in range(choices)]
        self._finished = [False] * choices
        self._called = [False] * choices
        self._emit = emit
        self._prompt_tokens = 0
        self._completion_tokens = 0
        self._cached_tokens = 0

    def text(self, index: int, text: str, logprobs: tuple[TokenLogprob, ...] = ()) -> None:
        """The engine generated `text` for choice `index`."""
        if text or logprobs:
            self._write(index, self._readers[index].feed(text, logprobs))

    def tool_call(
        self, index: int, call_index: int, call_id: str | None, name: str | None, arguments: str
    ) -> None:
        """The engine itself found a part of a tool call."""
        self._called[index] = True
        self._emit(ToolCallDelta(index, call_index, call_id, name, arguments))

    def finish(self, index: int, reason: str) -> None:
        """Choice `index` ended: `stop`, `length` or `tool_calls`."""
        if self._finished[index]:
            return
        pieces, reason = self._readers[index].finish(reason)
        self._write(index, pieces)
        self._finished[index] = True
        if self._called[index] and reason == "stop":
            reason = "tool_calls"
        self._emit(Finished(index, reason))

    def begin(self, prompt_tokens: int) -> None:
        """The prompt's length is known and it fits: tell the meter."""
        self._emit(PromptTokens(prompt_tokens))

    def count(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int) -> None:
        """Tokens of one choice; the prompt is the same for all and counts once."""
        self._prompt_tokens = max(self._prompt_tokens, prompt_tokens)
        self._completion_tokens += completion_tokens
        self._cached_tokens = max(self._cached_tokens, cached_tokens)

    @property
    def is_complete(self) -> bool:
        """Whether every choice has ended."""
        return all(self._finished)

    def close(self) -> None:
        """Write the usage.

        Raises:
            ModelFailed: the engine ended without finishing every choice.
        """
        if not self.is_complete:
            raise ModelFailed("The engine ended before the answer was complete; try again.")
        self._emit(TokenUsage(self._prompt_tokens, self._completion_tokens, self._cached_tokens))

    def _write(self, index: int, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            if isinstance(piece, CallPiece):
                self._emit(
                    ToolCallDelta(
                        index, piece.call_index, piece.call_id, piece.name, piece.arguments
                    )
                )
            else:
                self._emit(TextDelta(index, piece.text, piece.logprobs))
