"""What every chat engine must do with a real model; test classes inherit it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import orjson
import pytest
from tests.support.worker_child import Generated, WorkerChild

from modelry.domain.errors import Cancelled, ContextLengthExceeded, InvalidInput
from modelry.runtime_api.generation import ChatRequest, CompletionRequest, Sampling, TextDelta

SLOTS = 4
CONTEXT = 1536
MANIFEST: dict[str, Any] = {
    "defaults": {"system": "You are a helpful assistant.", "temperature": 0.0},
    "limits": {"context": CONTEXT},
    "files": {"model": {"name": "model.gguf"}},
}
CITY = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 20},
        "capital": {"type": "boolean"},
    },
    "required": ["city", "capital"],
}
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather in a city",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "maxLength": 30}},
                "required": ["city"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "get_time",
            "description": "The time in a city",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "maxLength": 30},
                    "zone": {"enum": ["utc", "local"]},
                },
                "required": ["city", "zone"],
            },
        },
    },
]


def ask(text: str, max_tokens: int | None = 16, **more: Any) -> ChatRequest:
    sampling = {name: more.pop(name) for name in Sampling.__slots__ if name in more}
    messages = [{"role": "user", "content": text}]
    return ChatRequest(messages, Sampling(max_tokens=max_tokens, **sampling), **more)


def numbers(count: int) -> str:
    """A prompt of about 4 tokens per number."""
    return " ".join(str(at * 37 % 1000) for at in range(count))


class ChatBehaviour:
    """Needs a fixture `child` with `SLOTS` slots and `MANIFEST`."""

    top_logprobs: ClassVar[int] = 0

    def test_ready_tells_slots_and_context(self, child: WorkerChild) -> None:
        assert child.ready["capacity"] == SLOTS
        assert child.ready["context_length"] == CONTEXT
        assert {"chat", "completion"} <= set(child.ready["abilities"])

    def test_a_sensible_answer_comes_token_by_token(self, child: WorkerChild) -> None:
        # without the manifest's system prompt this model answers nonsense
        answer = child.generate(ask("What is the capital of France?", max_tokens=32))
        assert answer.text() == "The capital of France is Paris."
        assert answer.reasons == {0: "stop"}
        assert answer.deltas >= 7
        assert answer.usage.prompt_tokens == 27
        assert answer.usage.completion_tokens == 8
        assert answer.at_s[-1] > answer.at_s[0]

    def test_max_tokens_ends_with_length(self, child: WorkerChild) -> None:
        answer = child.generate(ask("Tell a story.", max_tokens=5))
        assert answer.reasons == {0: "length"}
        assert answer.usage.completion_tokens == 5

    def test_stop_sequences_end_the_answer_and_stand_not_in_it(self, child: WorkerChild) -> None:
        answer = child.generate(ask("What is the capital of France?", stop=("France is", "nix")))
        assert answer.text() == "The capital of "
        assert answer.reasons == {0: "stop"}

    def test_a_seed_repeats_and_another_differs(self, child: WorkerChild) -> None:
        same = [
            child.generate(ask("Tell a story.", temperature=1.0, seed=seed)).text()
            for seed in (7, 7, 8)
        ]
        assert same[0] == same[1] != same[2]

    def test_without_a_seed_answers_differ(self, child: WorkerChild) -> None:
        request = ask("Tell a story.", temperature=1.0)
        assert len({child.generate(request).text() for _ in range(3)}) > 1

    def test_several_choices(self, child: WorkerChild) -> None:
        answer = child.generate(ask("Tell a story.", max_tokens=8, temperature=1.0, n=3))
        assert answer.reasons == dict.fromkeys(range(3), "length")
        assert len({answer.text(index) for index in range(3)}) > 1
        assert answer.usage.completion_tokens == 24
        with pytest.raises(InvalidInput, match="1 to 4 choices"):
            child.generate(ask("Tell a story.", n=SLOTS + 1))

    def test_log_probabilities(self, child: WorkerChild) -> None:
        request = ask("What is the capital of France?", 4, top_logprobs=self.top_logprobs)
        answer = child.generate(request)
        assert [one.token for one in answer.logprobs] == ["The", " capital", " of", " France"]
        assert all(-3 < one.logprob <= 0 for one in answer.logprobs)
        assert answer.logprobs[1].raw == b" capital"
        assert all(len(one.top) == self.top_logprobs for one in answer.logprobs)

    def test_an_answer_keeps_to_a_json_schema(self, child: WorkerChild) -> None:
        answer = child.generate(ask("Tell me about Paris, in JSON.", 60, json_schema=CITY))
        assert answer.reasons == {0: "stop"}
        value = orjson.loads(answer.text())
        assert set(value) == {"city", "capital"}
        assert isinstance(value["capital"], bool)

    @pytest.mark.parametrize(
        ("schema", "expected"),
        [
            ({"enum": ["yes", "no"]}, {"yes", "no"}),
            ({"type": "integer", "minimum": 3, "maximum": 5}, {3, 4, 5}),
            ({"anyOf": [{"const": 1}, {"type": "null"}]}, {1, None}),
        ],
    )
    def test_small_schemas(self, child: WorkerChild, schema: Any, expected: Any) -> None:
        answer = child.generate(ask("Answer.", json_schema=schema))
        assert orjson.loads(answer.text()) in expected

    def test_lists_keep_their_bounds(self, child: WorkerChild) -> None:
        schema = {"type": "array", "items": {"enum": [1, 2]}, "minItems": 2, "maxItems": 3}
        value = orjson.loads(child.generate(ask("Count.", json_schema=schema)).text())
        assert 2 <= len(value) <= 3

    def test_any_json_object(self, child: WorkerChild) -> None:
        answer = child.generate(ask("Tell me about Paris, in JSON.", 12, json_schema={}))
        assert answer.text().startswith("{")

    def test_a_required_tool_is_called(self, child: WorkerChild) -> None:
        request = ask("What is the weather in Paris?", 60, tools=TOOLS, tool_choice="required")
        answer = child.generate(request)
        assert answer.reasons == {0: "tool_calls"}
        assert answer.text() == ""
        ((name, arguments),) = answer.calls
        assert name in {"get_weather", "get_time"}
        assert "city" in arguments

    def test_a_named_tool_is_called(self, child: WorkerChild) -> None:
        request = ask("Paris, local time?", 60, tools=TOOLS, tool_choice="get_time")
        ((name, arguments),) = child.generate(request).calls
        assert name == "get_time"
        assert arguments["zone"] in {"utc", "local"}

    def test_offered_tools_leave_the_choice(self, child: WorkerChild) -> None:
        answer = child.generate(ask("What is the capital of France?", 24, tools=TOOLS))
        assert answer.text() or answer.calls
        with pytest.raises(InvalidInput, match="tool_choice"):
            child.generate(ask("Hi", tools=TOOLS, tool_choice="nix"))

    def test_penalties_change_the_answer(self, child: WorkerChild) -> None:
        plain = child.generate(ask("Repeat: la la la la la la", 24)).text()
        request = ask("Repeat: la la la la la la", 24, frequency_penalty=2.0, presence_penalty=2.0)
        assert child.generate(request).text() != plain

    def test_a_prompt_that_does_not_fit(self, child: WorkerChild) -> None:
        with pytest.raises(ContextLengthExceeded, match=str(CONTEXT)) as caught:
            child.generate(ask("word " * CONTEXT))
        assert caught.value.param == "messages"
        with pytest.raises(ContextLengthExceeded, match="max_tokens asks for 2000"):
            child.generate(ask("Hi", max_tokens=2000))

    def test_cancelled_within_one_token(self, child: WorkerChild) -> None:
        deltas_at_cancel: list[int] = []

        def cancel_at_5(generated: Generated, cancel: Any) -> None:
            if generated.deltas == 5 and not deltas_at_cancel:
                deltas_at_cancel.append(5)
                cancel()
            elif deltas_at_cancel:
                deltas_at_cancel.append(generated.deltas)

        with pytest.raises(Cancelled):
            child.generate(ask("Write a long story about a ship.", 400), cancel_at_5)
        # one may have been under way
        assert max(deltas_at_cancel) <= 6

    def test_slots_work_together_and_more_wait(self, child: WorkerChild) -> None:
        requests = [ask(f"Tell a story of {at} ducks.", 12) for at in range(SLOTS + 2)]
        with ThreadPoolExecutor(len(requests)) as pool:
            answers = list(pool.map(child.generate, requests))
        assert all(answer.usage.completion_tokens == 12 for answer in answers)

    def test_a_shared_prefix_is_worked_on_once(self, child: WorkerChild) -> None:
        prefix = numbers(120)
        cold = child.generate(ask(f"{prefix} What is 1+1?", 2)).at_s[0]
        warm = child.generate(ask(f"{prefix} What is the capital of France?", 2)).at_s[0]
        assert warm * 4 < cold

    def test_plain_completion_and_echo(self, child: WorkerChild) -> None:
        prompt, sampling = "The capital of France is", Sampling(max_tokens=2, temperature=0.0)
        plain = child.generate(CompletionRequest(prompt, sampling))
        assert plain.text() == " Paris."
        echoed = child.generate(CompletionRequest(prompt, sampling, echo=True))
        assert echoed.text() == prompt + " Paris."
        tokens = child.generate(CompletionRequest([504, 3575, 282, 4649, 314], sampling))
        assert tokens.text() == " Paris."
        counted = child.generate(CompletionRequest(prompt, Sampling(max_tokens=0), echo=True))
        assert counted.usage.prompt_tokens == 5

    def test_tokens_that_the_model_does_not_know(self, child: WorkerChild) -> None:
        with pytest.raises(InvalidInput, match="49151"):
            child.generate(CompletionRequest([504, 49152]))

    def test_characters_come_whole(self, child: WorkerChild) -> None:
        answer = child.generate(ask("Repeat after me: 🎉🎉🎉", 12))
        parts = [event.text for event in answer.events if isinstance(event, TextDelta)]
        # only the end of the whole answer may be half a character
        assert "\ufffd" not in "".join(parts[:-1])

    def test_a_cancelled_prompt_frees_its_slot(self, child: WorkerChild) -> None:
        with ThreadPoolExecutor(SLOTS + 1) as pool:
            before = time.monotonic()
            running = [
                pool.submit(child.generate, ask("Go on.", 300), lambda _, cancel: cancel())
                for _ in range(SLOTS)
            ]
            answer = pool.submit(child.generate, ask("What is the capital of France?", 4)).result()
            for one in running:
                assert isinstance(one.exception(), Cancelled)
        assert answer.text().startswith("The capital")
        assert time.monotonic() - before < 20
