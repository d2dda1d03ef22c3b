"""`POST /v1/explanations` of chats, written texts and embeddings, at a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from tests.support import sequence_models
from tests.support.operating import Operator, wait_until
from tests.support.server import Running

MANIFEST = (
    "name: dictionary\ntask: translation\nfiles: {model: seq2seq.json, encoder: encoder.onnx, "
    "decoder: decoder.onnx, tokenizer: tokenizer.json}\n"
)
FACTS = "Tom owns a green van. Anna works as a dentist. The bridge is of stone."
TALK = [
    {"role": "system", "content": "Answer in one word."},
    {"role": "user", "content": f"{FACTS}\nWhat is the job of Anna?"},
]


@pytest.fixture(scope="module")
def http(wired: Operator, chat: Running, words: Running) -> Iterator[httpx2.Client]:
    del chat, words
    wired.register_manifest(MANIFEST, sequence_models.files())
    wired.deploy("dictionary")
    wired.load("dictionary")
    headers = {"authorization": f"Bearer {wired.server.key}"}
    with httpx2.Client(base_url=wired.server.url, headers=headers, timeout=120) as client:
        yield client


def asked(http: httpx2.Client, model: str, **body: Any) -> httpx2.Response:
    return http.post("/v1/explanations", json={"model": model, **body})


def explained(http: httpx2.Client, model: str, **body: Any) -> Any:
    answer = asked(http, model, **body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_fact_that_a_chat_answers_from_is_found(http: httpx2.Client) -> None:
    told = explained(
        http, "chat", messages=TALK, answer="Anna works as a dentist.", target="dentist", calls=24
    )
    segments = told["attribution"]["segments"]
    best = max(segments, key=lambda one: one["weight"])
    assert best["text"] == "Anna works as a dentist."
    assert (best["message"], best["role"]) == (1, "user")
    assert max(best["words"], key=lambda one: one["weight"])["text"] == "dentist"
    assert told["target"]["label"] == "dentist"
    assert told["faithfulness"]["insertion"] > told["faithfulness"]["random_insertion"][0]
    output = told["attribution"]["output"]
    assert output["text"] == "Anna works as a dentist."
    assert len(told["attribution"]["matrix"]) == len(segments)
    assert len(told["attribution"]["matrix"][0]) == len(output["tokens"])
    usage = told["usage"]
    assert usage["model_calls"] == told["cost"]["model_calls"]
    assert 0 < usage["cached_tokens"] < usage["input_tokens"]


def test_a_chat_writes_the_answer_itself(http: httpx2.Client) -> None:
    question = [{"role": "user", "content": "What is the capital of France?"}]
    told = explained(http, "chat", messages=question, max_tokens=8, checks=False)
    assert "Paris" in told["attribution"]["output"]["text"]
    words = {one["text"]: one["weight"] for one in told["attribution"]["segments"]}
    assert max(words, key=lambda word: words[word]) in ("France", "capital")


def kept_chat(http: httpx2.Client, wired: Operator, rule: dict[str, Any], **body: Any) -> str:
    """The id of a chat that was answered while `rule` held."""
    path = "/deployments/chat/request-log"
    wired.call("PUT", path, json=rule)
    question = [{"role": "user", "content": "Say yes."}]
    asked_for = {"model": "chat", "messages": question, "max_tokens": 3, **body}
    answer = http.post("/v1/chat/completions", json=asked_for)
    assert answer.status_code == 200, answer.text
    request_id = answer.headers["x-request-id"]
    wanted = {"request_id": request_id}
    wait_until(
        lambda: bool(wired.call("GET", "/request-logs", params=wanted)["requests"]),
        "the chat is kept",
    )
    wired.call("DELETE", path)
    return request_id


def test_the_answer_that_an_earlier_chat_gave_is_explained(
    http: httpx2.Client, wired: Operator
) -> None:
    request_id = kept_chat(http, wired, {}, seed=3, temperature=0.1)
    (kept,) = wired.call("GET", "/request-logs", params={"request_id": request_id})["requests"]
    content = wired.call("GET", f"/request-logs/{kept['log_id']}")["content"]
    wish = {"request_id": request_id, "checks": False, "calls": 8}
    told = http.post("/v1/explanations", json=wish).json()
    assert told["attribution"]["output"]["text"] == content["output"]["choices"][0]["text"]
    assert told["attribution"]["segments"][-1]["role"] == "user"
    entries = {"action": "request_logs.explain_request_log"}
    assert not wired.call("GET", "/audit/entries", params=entries)["entries"]
    reader = wired.call("POST", "/keys", json={"name": "reads", "role": "admin"})
    headers = {"authorization": f"Bearer {reader['token']}"}
    apart = {"level": "words", "within": [0]}
    answer = http.post("/v1/explanations", json={**wish, **apart}, headers=headers)
    assert answer.status_code == 200, answer.text
    assert [one["text"] for one in answer.json()["attribution"]["segments"]] == ["Say", "yes", "."]
    (entry,) = wired.call("GET", "/audit/entries", params=entries)["entries"]
    assert entry["actor"] == reader["key"]["key_id"]
    assert entry["resource"] == f"/request-logs/{kept['log_id']}"


@pytest.mark.parametrize(
    ("rule", "body", "message"),
    [
        ({"keep_output": False}, {}, "its answer was not kept"),
        ({"keep_input": False}, {}, "what it asked was not kept"),
        ({}, {"messages": [{"role": "user", "content": "I am bob@example.com"}]}, "(EMAIL)"),
        (
            {},
            {"tools": [{"type": "function", "function": {"name": "find"}}], "tool_choice": "none"},
            "gave the model tools",
        ),
    ],
)
def test_a_chat_that_was_not_kept_whole_is_not_explained_later(
    http: httpx2.Client, wired: Operator, rule: Any, body: Any, message: str
) -> None:
    request_id = kept_chat(http, wired, rule, **body)
    answer = http.post("/v1/explanations", json={"request_id": request_id})
    assert answer.status_code == 400, answer.text
    assert message in answer.json()["error"]["message"]


def test_embeddings_are_not_explained_by_their_id(http: httpx2.Client, wired: Operator) -> None:
    path = "/deployments/words/request-log"
    wired.call("PUT", path, json={})
    request_id = http.post("/v1/embeddings", json={"model": "words", "input": ["cat"]}).headers[
        "x-request-id"
    ]
    wanted = {"request_id": request_id}
    wait_until(
        lambda: bool(wired.call("GET", "/request-logs", params=wanted)["requests"]), "it is kept"
    )
    wired.call("DELETE", path)
    answer = http.post("/v1/explanations", json=wanted)
    assert answer.status_code == 400, answer.text
    assert "asked for embeddings, which are not explained" in answer.json()["error"]["message"]


def test_each_word_of_a_translation_is_told(http: httpx2.Client) -> None:
    told = explained(http, "dictionary", text="the cat eats", beams=1)
    assert told["attribution"]["output"]["text"] == "die katze frisst"
    assert [one["text"] for one in told["attribution"]["words"]] == ["the", "cat", "eats"]


def test_what_two_texts_share_is_told(http: httpx2.Client) -> None:
    told = explained(http, "words", text="the cat", compared_with="a dog", checks=False)
    assert told["attribution"]["kind"] == "pair"
    assert max(told["attribution"]["words"], key=lambda one: one["weight"])["text"] == "cat"


def test_kserve_embeds_texts_and_tokens(http: httpx2.Client) -> None:
    def predicted(*instances: Any) -> httpx2.Response:
        return http.post("/v1/models/words:predict", json={"instances": instances})

    body = {"model": "words", "input": ["cat", "dog"]}
    vectors = [one["embedding"] for one in http.post("/v1/embeddings", json=body).json()["data"]]
    assert predicted("cat", "dog").json()["predictions"] == vectors
    assert len(predicted({"tokens": [1, 2]}, [1]).json()["predictions"]) == 2
    for wrong in ([], [-1], [2**31], [True], ["cat"], {"text": "cat", "tokens": [1]}):
        answer = predicted(wrong, wrong)
        assert answer.status_code == 400, answer.text
        assert "neither a text nor a list of token ids" in answer.json()["error"]


@pytest.mark.parametrize(
    ("model", "body", "message"),
    [
        ("chat", {}, "messages is missing"),
        ("chat", {"text": "Hi"}, "text is not known here"),
        ("chat", {"messages": []}, "messages has 0 entries"),
        ("chat", {"messages": [{"role": "user", "content": " "}]}, "no words"),
        ("chat", {"messages": ["Hi"]}, "messages[0]"),
        ("chat", {"messages": [{"role": "wizard", "content": "Hi"}]}, "wizard"),
        ("chat", {"messages": TALK, "within": [7]}, "from 0 to 1"),
        ("chat", {"messages": TALK, "answer": ""}, "expected a text of 1"),
        ("chat", {"messages": TALK, "answer": "Yes.", "target": "No"}, "not in the answer"),
        ("chat", {"messages": TALK, "answer": "Yes.", "picture": True}, "images alone"),
        ("chat", {"messages": [{"role": "user", "content": "word " * 2000}]}, "Shorten"),
        ("words", {"text": "cat"}, "compared_with"),
        ("words", {"text": "cat", "compared_with": "."}, ""),
        ("dictionary", {"text": " "}, "text has no words"),
        ("dictionary", {"text": "cat", "compared_with": "dog"}, "is not known here"),
    ],
)
def test_what_cannot_be_explained_is_told(
    http: httpx2.Client, model: str, body: dict[str, Any], message: str
) -> None:
    answer = asked(http, model, **body)
    assert answer.status_code == (400 if message else 200), answer.text
    assert message in (answer.json()["error"]["message"] if message else "")


def test_a_chat_is_asked_for_in_json(http: httpx2.Client) -> None:
    form = {"model": "chat", "messages": "Hi"}
    answer = http.post("/v1/explanations", data=form, files={"image": b"1"})
    assert answer.status_code == 400, answer.text


def test_messages_of_several_parts_are_taken_apart_part_by_part(http: httpx2.Client) -> None:
    parts = [{"type": "text", "text": one} for one in ("Tom drives a van.", "Anna is a dentist.")]
    talk = [{"role": "user", "content": parts}]
    told = explained(
        http, "chat", messages=talk, answer="dentist", level="messages", checks=False, stream=False
    )
    places = [(one["part"], one["text"]) for one in told["attribution"]["segments"]]
    assert places == [(0, "Tom drives a van."), (1, "Anna is a dentist.")]
