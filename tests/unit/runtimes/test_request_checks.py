"""Numbers and token ids that no engine may see."""

from __future__ import annotations

from typing import Any

import pytest

from modelry.domain.errors import InvalidInput, UnsupportedField
from modelry.runtime_api.generation import ChatRequest, CompletionRequest, Sampling
from modelry.runtimes.chat.request_checks import check_chat, check_completion

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1), ("temperature", float("nan")), ("temperature", float("inf")),
        ("temperature", True), ("temperature", "1"), ("top_p", 1.01), ("min_p", -1),
        ("top_k", 1.5), ("top_k", 2**40), ("max_tokens", 0), ("max_tokens", 2**31),
        ("presence_penalty", 2.1), ("frequency_penalty", -2.1), ("seed", 2**64), ("seed", 0.5),
    ],
)  # fmt: skip
def test_numbers_out_of_range_are_refused_by_name(field: str, value: Any) -> None:
    request = ChatRequest(HELLO, Sampling(**{field: value}))
    with pytest.raises(InvalidInput) as caught:
        check_chat(request, slots=4, vocabulary=100)
    assert caught.value.param == field


@pytest.mark.parametrize("stop", [("",), ("x" * 257,), ("a",) * 17, (1,)])
def test_stops_are_bounded(stop: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_chat(ChatRequest(HELLO, Sampling(stop=stop)), slots=4, vocabulary=100)
    assert caught.value.param == "stop"


@pytest.mark.parametrize("biases", [{100: 1.0}, {-1: 1.0}, {5: 101.0}, {5: "x"}])
def test_biases_name_tokens_of_the_model(biases: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_chat(ChatRequest(HELLO, Sampling(logit_bias=biases)), slots=4, vocabulary=100)
    assert caught.value.param == "logit_bias"


@pytest.mark.parametrize("n", [0, 5, -1, True, 2.0])
def test_no_more_choices_than_slots(n: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_chat(ChatRequest(HELLO, n=n), slots=4, vocabulary=100)
    assert caught.value.param == "n"


@pytest.mark.parametrize("prompt", ["", [], [1, 100], [1, -1], [True], ["a"], None])
def test_prompts_are_text_or_tokens_of_the_model(prompt: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_completion(CompletionRequest(prompt), slots=4, vocabulary=100)
    assert caught.value.param == "prompt"


def test_only_an_echo_may_generate_nothing() -> None:
    check_completion(CompletionRequest("a", Sampling(max_tokens=0), echo=True), 4, 100)
    with pytest.raises(InvalidInput):
        check_completion(CompletionRequest("a", Sampling(max_tokens=0)), 4, 100)
    with pytest.raises(UnsupportedField):
        check_completion(CompletionRequest("a", echo=True, top_logprobs=1), 4, 100)
