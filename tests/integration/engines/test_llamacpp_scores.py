"""How likely llama.cpp finds given answers, on a small model of random weights."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.chat_models import CONTEXT, TEMPLATE, chat_model

from modelry.domain.errors import ContextLengthExceeded
from modelry.runtime_api.engine import LoadSpec, StopSignal, SupportsChat, SupportsCompletion
from modelry.runtime_api.generation import ChatRequest, CompletionRequest, Sampling, TextDelta
from modelry.runtimes.llamacpp import LlamaCppRuntime
from modelry.runtimes.llamacpp.answer_scoring import spans_of
from modelry.testing.runtime import AnswerScoresContract


def asking(text: str) -> ChatRequest:
    return ChatRequest([{"role": "user", "content": text}])


QUESTION = asking("Who?")


def one_by_one(engine: Any, question: ChatRequest, tokens: tuple[int, ...]) -> list[float]:
    """Each token forced by a bias, in a request of its own."""
    (message,) = question.messages
    before = f"<|im_start|>user\n{message['content']}<|im_end|>\n<|im_start|>assistant\n"
    assert "<|im_start|>assistant" in TEMPLATE
    asked = {"content": before, "add_special": True, "parse_special": True}
    prompt: list[int] = engine._server.ask("/tokenize", asked)["tokens"]
    found = []
    for at, token in enumerate(tokens):
        sampling = Sampling(max_tokens=1, temperature=0.0, logit_bias={token: 100})
        request = CompletionRequest([*prompt, *tokens[:at]], sampling, top_logprobs=1)
        events: list[Any] = []
        engine.complete(request, events.append, StopSignal())
        (told,) = [
            one for event in events if isinstance(event, TextDelta) for one in event.logprobs
        ]
        found.append(told.logprob)
    return found


class TestScores(AnswerScoresContract):
    """The suite, and what llama.cpp alone shall do; one engine is loaded for all."""

    runtime_class = LlamaCppRuntime
    proved_elsewhere = (SupportsChat, SupportsCompletion)
    questions = tuple(asking("Who is it, " * at + "?") for at in range(7))
    options = Sampling(max_tokens=6)
    answer = "It is he."
    too_long = asking("Who? " * CONTEXT)

    @classmethod
    def make_spec(cls, folder: Path) -> LoadSpec:
        path = chat_model(folder / "model.gguf")
        manifest = {"files": {"model": {"name": "model.gguf"}}, "limits": {"context": CONTEXT}}
        return LoadSpec("chat", "llamacpp", manifest, {"model": path}, {"slots": 3, "threads": 1})

    def test_answers_are_as_likely_as_token_by_token(self, engine: Any) -> None:
        answer = engine.given_answer("It is he.")
        assert answer.spans == tuple((at, at + 1) for at in range(9))
        scored = engine.score_answers([QUESTION], answer, StopSignal())
        expected = one_by_one(engine, QUESTION, answer.tokens)
        assert scored.log_probs[0] == pytest.approx(expected, abs=1e-4)

    def test_characters_of_several_tokens_are_scored_by_their_last(self, engine: Any) -> None:
        answer = engine.given_answer("a\u00fc\U0001f600.")
        assert len(answer.tokens) == 1 + 2 + 4 + 1
        assert answer.spans[1:3] == ((1, 2), (1, 2))
        (row,) = engine.score_answers([QUESTION], answer, StopSignal()).log_probs
        assert np.isnan(row).tolist() == [False, True, False, True, True, True, False, False]

    def test_the_models_own_answer_is_the_one_that_it_chats(self, engine: Any) -> None:
        answer = engine.own_answer(QUESTION, Sampling(max_tokens=6), StopSignal())
        assert answer == engine.given_answer(answer.text)

    def test_an_answer_that_does_not_fit_is_told(self, engine: Any) -> None:
        answer = engine.given_answer("x" * (CONTEXT - 20))
        with pytest.raises(ContextLengthExceeded, match="Shorten the prompt"):
            engine.score_answers([QUESTION], answer, StopSignal())

    def test_scores_go_on_one_at_a_time_beside_a_chat(self, engine: Any) -> None:
        stop = StopSignal()
        begun = threading.Event()
        seen: list[int] = []

        def look(event: object) -> None:
            begun.set()
            if isinstance(event, TextDelta):
                seen.append(engine._slots.wanted)

        chat = replace(QUESTION, sampling=Sampling(max_tokens=150, temperature=1.0))
        thread = threading.Thread(target=lambda: engine.chat(chat, look, stop))
        thread.start()
        assert begun.wait(30)
        self.scores(engine, *self.questions[:3])
        thread.join()
        assert max(seen) <= 2


@pytest.mark.parametrize(
    ("text", "pieces", "spans"),
    [
        ("ab c", [b"ab", b" c"], [(0, 2), (2, 4)]),
        ("ab", [b" ab"], [(0, 2)]),
        ("ab", [b" ", b"ab"], [(0, 0), (0, 2)]),
        ("\u00fcb", [b"\xc3", b"\xbc", b"b"], [(0, 1), (0, 1), (1, 2)]),
        ("", [], []),
    ],
)
def test_places_of_tokens(text: str, pieces: list[bytes], spans: list[tuple[int, int]]) -> None:
    assert spans_of(text, pieces) == tuple(spans)
