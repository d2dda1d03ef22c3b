"""One running request: reads what each step made of its choices into an answer."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import openvino_genai

from modelry.domain.errors import Cancelled, ModelFailed
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.generation import TokenLogprob
from modelry.runtimes.chat.answer import Answer
from modelry.runtimes.openvino.token_text import TokenText
from modelry.runtimes.openvino.tokens import TokenBook

LEAST_LOGPROB = -9999.0
_NOT_FINISHED = openvino_genai.GenerationFinishReason.NONE
_LENGTH = openvino_genai.GenerationFinishReason.LENGTH
_DROPPED = openvino_genai.GenerationStatus.IGNORED


class Generation:
    """One request's choices. `add_choice` comes first; then only the step thread calls it.

    Args:
        answer: what is generated is written there.
        new_text: makes the reader of one choice's tokens.
        book: for the tokens that log-probabilities name.
        with_logprobs: whether log-probabilities are told.
        stop: the caller's.
        is_closing: whether the engine is being unloaded.
    """

    def __init__(
        self,
        answer: Answer,
        new_text: Callable[[], TokenText],
        book: TokenBook,
        stop: StopSignal,
        is_closing: Callable[[], bool],
        *,
        prompt_tokens: int,
        with_logprobs: bool,
    ) -> None:
        self.ended = threading.Event()
        self.failure: BaseException | None = None
        self.is_ended = False
        self._answer = answer
        self._new_text = new_text
        self._book = book
        self._stop = stop
        self._is_closing = is_closing
        self._prompt_tokens = prompt_tokens
        self._with_logprobs = with_logprobs
        self._choices: list[_Choice] = []

    def add_choice(self, handle: Any) -> None:
        """One more choice, which the pipeline generates under `handle`."""
        self._choices.append(_Choice(len(self._choices), handle, self._new_text()))

    def cancel(self) -> None:
        """Have the pipeline drop what still runs."""
        for choice in self._choices:
            if not choice.is_ended:
                choice.is_ended = True
                choice.handle.cancel()

    def fail(self, failure: BaseException) -> None:
        """End early because of `failure`."""
        self.failure = failure
        self.is_ended = True
        self.cancel()

    def take(self) -> None:
        """Write what the last step made."""
        if self._stop.is_set():
            self.fail(Cancelled("The generation was stopped because its caller went away."))
        elif self._is_closing():
            self.fail(ModelFailed("The model was unloaded in mid-answer; try again."))
        else:
            try:
                for choice in self._choices:
                    if not choice.is_ended:
                        self._take(choice)
                self.is_ended = all(choice.is_ended for choice in self._choices)
            except BaseException as error:  # noqa: BLE001 - told to this caller, the others go on
                self.fail(error)

    def _take(self, choice: _Choice) -> None:
        reason = _NOT_FINISHED
        while choice.handle.can_read():
            for output in choice.handle.read().values():
                self._write(choice, output)
                reason = output.finish_reason
        if choice.text.is_stopped:
            choice.handle.stop()
            self._finish(choice, "stop")
        elif reason != _NOT_FINISHED:
            self._finish(choice, "length" if reason == _LENGTH else "stop")
        elif choice.handle.get_status() == _DROPPED:
            raise ModelFailed(
                "The engine had no memory left for this request. Deploy the model with a smaller "
                "context or fewer slots."
            )

    def _write(self, choice: _Choice, output: Any) -> None:
        log_probs = output.generated_log_probs if self._with_logprobs else ()
        for at, token in enumerate(output.generated_ids):
            choice.tokens += 1
            text = choice.text.feed(token)
            if choice.text.is_stopped:
                self._answer.text(choice.index, text)
                return
            if self._with_logprobs:
                if self._book.told(token):
                    choice.logprobs.append(self._logprob(token, log_probs[at]))
                if choice.text.is_holding:
                    continue
            self._answer.text(choice.index, text, tuple(choice.logprobs))
            choice.logprobs.clear()

    def _finish(self, choice: _Choice, reason: str) -> None:
        choice.is_ended = True
        self._answer.text(choice.index, choice.text.finish(), tuple(choice.logprobs))
        self._answer.count(self._prompt_tokens, choice.tokens, 0)
        self._answer.finish(choice.index, reason)

    def _logprob(self, token: int, log_prob: float) -> TokenLogprob:
        raw = self._book.raw(token)
        known = log_prob if math.isfinite(log_prob) else LEAST_LOGPROB
        return TokenLogprob(raw.decode("utf-8", "replace"), known, raw)


class _Choice:
    __slots__ = ("handle", "index", "is_ended", "logprobs", "text", "tokens")

    def __init__(self, index: int, handle: Any, text: TokenText) -> None:
        self.index = index
        self.handle = handle
        self.text = text
        self.tokens = 0
        self.logprobs: list[TokenLogprob] = []
        self.is_ended = False
