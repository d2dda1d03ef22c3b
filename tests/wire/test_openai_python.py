"""The official `openai` package for Python drives the server unchanged."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import openai
import pytest
from tests.support.operating import Operator, wait_until
from tests.support.server import Running
from tests.support.wire_models import EMBEDDING_SIZE, WORDS

CAPITAL: Any = [{"role": "user", "content": "What is the capital of France? Answer shortly."}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
CLOCK: Any = {
    "type": "function",
    "function": {
        "name": "get_time",
        "parameters": {
            "type": "object",
            "properties": {"zone": {"enum": ["utc", "cet"]}},
            "required": ["zone"],
            "additionalProperties": False,
        },
    },
}


def client_of(server: Running, **options: Any) -> openai.OpenAI:
    settings = {"api_key": server.key, "max_retries": 0, "timeout": 60, **options}
    return openai.OpenAI(base_url=f"{server.url}/v1", **settings)


@pytest.fixture(scope="module")
def client(chat: Running) -> Iterator[openai.OpenAI]:
    with client_of(chat) as made:
        yield made


@pytest.fixture(scope="module")
def embedder(words: Running) -> Iterator[openai.OpenAI]:
    with client_of(words) as made:
        yield made


def test_models_are_listed_and_found(client: openai.OpenAI) -> None:
    assert "chat" in [model.id for model in client.models.list()]
    model = client.models.retrieve("chat")
    assert (model.id, model.object) == ("chat", "model")


def test_a_whole_answer(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="chat", messages=CAPITAL, temperature=0, max_completion_tokens=16
    )

    (choice,) = answer.choices
    assert "Paris" in (choice.message.content or "")
    assert choice.message.role == "assistant"
    assert choice.finish_reason in ("stop", "length")
    assert answer.model == "chat"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert 1 <= answer.usage.completion_tokens <= 16


def test_a_stream_gives_the_same_text_in_parts(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(
        model="chat", messages=CAPITAL, temperature=0, max_completion_tokens=12
    )
    stream = client.chat.completions.create(
        model="chat",
        messages=CAPITAL,
        temperature=0,
        max_completion_tokens=12,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)

    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(texts) == whole.choices[0].message.content
    assert len([text for text in texts if text]) > 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].usage is not None
    assert not chunks[-1].choices
    assert whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert {chunk.id for chunk in chunks} == {chunks[0].id}


async def _streamed(server: Running, question: str) -> str:
    async with openai.AsyncOpenAI(api_key=server.key, base_url=f"{server.url}/v1") as client:
        stream = await client.chat.completions.create(
            model="chat",
            messages=[{"role": "user", "content": question}],
            stream=True,
            max_completion_tokens=8,
            temperature=0,
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])


@pytest.mark.anyio
async def test_the_asynchronous_client_streams(chat: Running) -> None:
    assert await _streamed(chat, "Say hello.")


@pytest.mark.parametrize(
    "choice",
    ["required", {"type": "function", "function": {"name": "get_weather"}}],
    ids=["required", "named"],
)
def test_a_demanded_tool_is_called_with_arguments_of_its_schema(
    client: openai.OpenAI, choice: Any
) -> None:
    answer = client.chat.completions.create(
        model="chat",
        messages=[{"role": "user", "content": "How is the weather in Oslo?"}],
        tools=[WEATHER],
        tool_choice=choice,
        temperature=0,
        max_completion_tokens=64,
    )

    (call,) = answer.choices[0].message.tool_calls or []
    assert answer.choices[0].finish_reason in ("tool_calls", "stop")
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert call.id
    assert list(json.loads(call.function.arguments)) == ["city"]


def test_a_named_tool_is_called_even_when_another_would_fit_better(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="chat",
        messages=[{"role": "user", "content": "How is the weather in Oslo?"}],
        tools=[WEATHER, CLOCK],
        tool_choice={"type": "function", "function": {"name": "get_time"}},
        max_completion_tokens=64,
    )
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "get_time"
    assert json.loads(call.function.arguments)["zone"] in ("utc", "cet")


def test_streamed_tool_calls_join_to_whole_arguments(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="chat",
        messages=[{"role": "user", "content": "How is the weather in Oslo?"}],
        tools=[WEATHER],
        tool_choice="required",
        stream=True,
        max_completion_tokens=64,
        temperature=0,
    )
    names, arguments, reasons = [], "", []
    for chunk in stream:
        for choice in chunk.choices:
            reasons.append(choice.finish_reason)
            for call in choice.delta.tool_calls or []:
                assert call.function is not None
                names.append(call.function.name)
                arguments += call.function.arguments or ""

    assert [name for name in names if name] == ["get_weather"]
    assert "city" in json.loads(arguments)
    assert reasons[-1] == "tool_calls"


def test_with_auto_the_model_may_answer_in_words_and_results_are_taken(
    client: openai.OpenAI,
) -> None:
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'},
    }
    messages: Any = [
        {"role": "user", "content": "How is the weather in Oslo?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Sunny, 20 degrees"},
    ]
    answer = client.chat.completions.create(
        model="chat",
        messages=messages,
        tools=[WEATHER],
        tool_choice="auto",
        temperature=0,
        max_completion_tokens=24,
    )
    message = answer.choices[0].message
    assert message.content or message.tool_calls


def test_an_answer_keeps_to_a_json_schema(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "large": {"type": "boolean"}},
        "required": ["city", "large"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model="chat",
        messages=CAPITAL,
        temperature=0,
        max_completion_tokens=48,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "capital", "schema": schema, "strict": True},
        },
    )
    value = json.loads(answer.choices[0].message.content or "")
    assert sorted(value) == ["city", "large"]
    assert isinstance(value["large"], bool)


def test_log_probabilities(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="chat",
        messages=CAPITAL,
        temperature=0,
        max_completion_tokens=4,
        logprobs=True,
        top_logprobs=3,
    )
    told = answer.choices[0].logprobs
    assert told is not None
    assert told.content
    assert answer.usage is not None
    assert len(told.content) == answer.usage.completion_tokens
    for token in told.content:
        assert token.logprob <= 0
        assert len(token.top_logprobs) == 3
        assert token.logprob == pytest.approx(max(one.logprob for one in token.top_logprobs))
        assert math.fsum(math.exp(one.logprob) for one in token.top_logprobs) <= 1 + 1e-3


def test_a_stop_text_ends_the_answer_and_is_not_part_of_it(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="chat", messages=CAPITAL, temperature=0, stop=["Paris"], max_completion_tokens=16
    )
    assert answer.choices[0].finish_reason == "stop"
    assert "Paris" not in (answer.choices[0].message.content or "")


def test_the_same_seed_gives_the_same_choices_and_another_may_not(client: openai.OpenAI) -> None:
    def asked(seed: int) -> str:
        answer = client.chat.completions.create(
            model="chat",
            messages=[{"role": "user", "content": "Write a word."}],
            temperature=1.5,
            seed=seed,
            max_completion_tokens=12,
        )
        return answer.choices[0].message.content or ""

    assert asked(7) == asked(7)
    assert len({asked(seed) for seed in range(4)}) > 1


def test_several_choices_with_penalties(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="chat",
        messages=CAPITAL,
        n=2,
        temperature=1,
        presence_penalty=1,
        frequency_penalty=0.5,
        max_completion_tokens=6,
    )
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert all(choice.message.content for choice in answer.choices)


def test_completions_of_text_and_of_token_ids(client: openai.OpenAI) -> None:
    text = client.completions.create(
        model="chat", prompt="The capital of France is", temperature=0, max_tokens=4
    )
    assert "Paris" in text.choices[0].text
    several = client.completions.create(
        model="chat", prompt=[[504, 3575], [504]], temperature=0, max_tokens=2
    )
    assert [choice.index for choice in several.choices] == [0, 1]
    stream = client.completions.create(
        model="chat", prompt="The capital of France is", temperature=0, max_tokens=4, stream=True
    )
    assert "".join(chunk.choices[0].text for chunk in stream) == text.choices[0].text


def test_an_overlong_prompt_is_told_as_openai_tells_it(client: openai.OpenAI) -> None:
    long: Any = [{"role": "user", "content": "word " * 3000}]
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model="chat", messages=long, stream=stream)
        assert caught.value.code == "context_length_exceeded"
        assert caught.value.param == "messages"


@pytest.mark.parametrize(
    ("arguments", "code", "param"),
    [
        ({"extra_body": {"colour": "red"}}, "unsupported_parameter", "colour"),
        ({"store": True}, "unsupported_parameter", "store"),
        ({"temperature": 3}, "invalid_input", "temperature"),
        ({"extra_body": {"top_logprobs": 100000}}, "invalid_input", "top_logprobs"),
        ({"n": 100}, "invalid_input", "n"),
        ({"messages": []}, "invalid_input", "messages"),
        ({"extra_body": {"grammar": 'root ::= "a"'}}, "unsupported_parameter", "grammar"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_honoured_is_refused_by_name(
    client: openai.OpenAI, arguments: dict[str, Any], code: str, param: str
) -> None:
    asked: Any = {"model": "chat", "messages": CAPITAL, **arguments}
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**asked)
    assert (caught.value.code, caught.value.param) == (code, param)


def test_errors_arrive_as_the_classes_that_programs_catch(chat: Running) -> None:
    with client_of(chat, api_key="wrong") as stranger, pytest.raises(openai.AuthenticationError):
        stranger.models.list()
    with client_of(chat) as client:
        with pytest.raises(openai.NotFoundError) as missing:
            client.chat.completions.create(model="nobody", messages=CAPITAL)
        assert missing.value.code == "model_not_found"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("nobody")


def test_a_key_without_the_right_is_told_so(wired: Operator, chat: Running) -> None:
    made = wired.call("POST", "/keys", json={"name": "looker", "role": "viewer"})
    with client_of(chat, api_key=made["token"]) as looker:
        refused = pytest.raises(openai.PermissionDeniedError)
        with refused:
            looker.chat.completions.create(model="chat", messages=CAPITAL)


def test_embeddings_as_numbers_and_as_base64_agree(embedder: openai.OpenAI) -> None:
    texts = ["the cat sits", "a dog runs", "the car drives"]
    floats = embedder.embeddings.create(model="words", input=texts, encoding_format="float")
    coded = embedder.embeddings.create(model="words", input=texts, encoding_format="base64")
    by_default = embedder.embeddings.create(model="words", input=texts)

    vectors = np.array([one.embedding for one in floats.data], "f4")
    raw: Any = [one.embedding for one in coded.data]
    decoded = np.array([np.frombuffer(base64.b64decode(one), "<f4") for one in raw])
    assert vectors.shape == (3, EMBEDDING_SIZE)
    assert np.array_equal(decoded, vectors)
    assert np.array_equal(np.array([one.embedding for one in by_default.data], "f4"), vectors)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2
    assert floats.usage.prompt_tokens == 9


def test_embeddings_of_token_ids_are_those_of_their_words(embedder: openai.OpenAI) -> None:
    tokens = [[WORDS.index("the"), WORDS.index("cat")], [WORDS.index("car")]]
    by_tokens = embedder.embeddings.create(model="words", input=tokens)
    by_text = embedder.embeddings.create(model="words", input=["the cat", "car"])
    for one, other in zip(by_tokens.data, by_text.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)


def test_dimensions_cut_and_normalise_where_the_model_was_trained_for_it(
    embedder: openai.OpenAI,
) -> None:
    short = embedder.embeddings.create(model="words", input="cat", dimensions=16)
    whole = embedder.embeddings.create(model="words", input="cat")
    cut = np.array(whole.data[0].embedding[:16])
    assert short.data[0].embedding == pytest.approx(cut / np.linalg.norm(cut), abs=1e-6)
    with pytest.raises(openai.BadRequestError) as caught:
        embedder.embeddings.create(model="words", input="cat", dimensions=17)
    assert caught.value.param == "dimensions"


def test_token_ids_that_the_model_does_not_know_are_refused(
    embedder: openai.OpenAI, client: openai.OpenAI
) -> None:
    for asked in ([10**6], [-1], [2**40]):
        with pytest.raises(openai.BadRequestError):
            embedder.embeddings.create(model="words", input=asked)
        with pytest.raises(openai.BadRequestError):
            client.completions.create(model="chat", prompt=asked, max_tokens=1)


def test_rerank_orders_documents_by_meaning(words: Running) -> None:
    with words.http() as http:
        answer = http.post(
            "/v1/rerank",
            json={
                "model": "words",
                "query": "the cat sits",
                "documents": ["the car drives", "a dog runs"],
                "top_n": 2,
                "return_documents": True,
            },
        )
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert [one["index"] for one in results] == [1, 0]
    assert results[0]["relevance_score"] > results[1]["relevance_score"]


def test_a_chat_model_does_not_serve_what_it_cannot(client: openai.OpenAI, words: Running) -> None:
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="words", messages=CAPITAL)


def test_a_stream_that_is_left_stops_the_engine(wired: Operator, chat: Running) -> None:
    body = {"model": "chat", "messages": CAPITAL, "stream": True, "max_completion_tokens": 900}
    with chat.http() as http, http.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = answer.iter_lines()  # while it is there, the stream stays open
        next(lines)
        assert wired.replicas("chat")[0]["in_flight"] == 1
    wait_until(lambda: wired.open_requests() == 0, "the request is over", 5)
    wait_until(lambda: wired.replicas("chat")[0]["in_flight"] == 0, "the slot is free", 5)
