"""How likely llama.cpp finds given answers, on a small model of random weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.support.chat_models import CONTEXT, TEMPLATE, chat_model

from modelry.domain.errors import Cancelled, ContextLengthExceeded
from modelry.runtime_api.answer_scores import SupportsAnswerScores
from modelry.runtime_api.engine import LoadSpec, StopSignal
from modelry.runtime_api.generation import ChatRequest, CompletionRequest, Sampling, TextDelta
from modelry.runtimes.llamacpp import LlamaCppRuntime
from modelry.runtimes.llamacpp.answer_scoring import spans_of

QUESTION = ChatRequest([{"role": "user", "content": "Who?"}])


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    path = chat_model(tmp_path_factory.mktemp("scores") / "model.gguf")
    manifest = {"files": {"model": {"name": "model.gguf"}}, "limits": {"context": CONTEXT}}
    options = {"slots": 3, "threads": 1}
    loaded = LlamaCppRuntime().load(
        LoadSpec("chat", "llamacpp", manifest, {"model": path}, options)
    )
    yield loaded
    loaded.close()


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


def test_answers_are_as_likely_as_token_by_token(engine: Any) -> None:
    assert isinstance(engine, SupportsAnswerScores)
    answer = engine.given_answer("It is he.")
    assert answer.spans == tuple((at, at + 1) for at in range(9))
    scored = engine.score_answers([QUESTION], answer, StopSignal())
    assert scored.log_probs[0] == pytest.approx(
        one_by_one(engine, QUESTION, answer.tokens), abs=1e-4
    )
    assert scored.input_tokens > 0


def test_many_questions_at_once_are_scored_as_each_alone(engine: Any) -> None:
    asked = [
        ChatRequest([{"role": "user", "content": "Who is it, " * at + "?"}]) for at in range(7)
    ]
    answer = engine.given_answer("He.")
    together = engine.score_answers(asked, answer, StopSignal()).log_probs
    alone = [engine.score_answers([one], answer, StopSignal()).log_probs[0] for one in asked]
    assert together == pytest.approx(np.array(alone), abs=1e-3)
    assert np.ptp(together.sum(axis=1)) > 0.01


def test_characters_of_several_tokens_are_scored_by_their_last(engine: Any) -> None:
    answer = engine.given_answer("a\u00fc\U0001f600.")
    assert len(answer.tokens) == 1 + 2 + 4 + 1
    assert answer.spans[1:3] == ((1, 2), (1, 2))
    (row,) = engine.score_answers([QUESTION], answer, StopSignal()).log_probs
    assert np.isnan(row).tolist() == [False, True, False, True, True, True, False, False]


def test_the_models_own_answer_is_the_likeliest(engine: Any) -> None:
    answer = engine.own_answer(QUESTION, Sampling(max_tokens=6), StopSignal())
    assert answer == engine.given_answer(answer.text)


def test_what_does_not_fit_is_told(engine: Any) -> None:
    answer = engine.given_answer("x" * (CONTEXT - 20))
    with pytest.raises(ContextLengthExceeded, match="Shorten the prompt"):
        engine.score_answers([QUESTION], answer, StopSignal())


def test_a_caller_that_went_away_ends_it(engine: Any) -> None:
    stop = StopSignal()
    stop.set()
    with pytest.raises(Cancelled):
        engine.score_answers([QUESTION] * 3, engine.given_answer("He."), stop)


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
