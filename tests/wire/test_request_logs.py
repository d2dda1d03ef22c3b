"""Nothing of what is said is kept, unless an owner chose so; then redacted, sealed and counted."""

from __future__ import annotations

import asyncio
import io
import json
import secrets
import tarfile
from typing import Any

import httpx2
import pytest
from tests.support.operating import Operator, wait_until
from tests.support.server import Running

from modelry.client import AsyncClient, Client
from modelry.client.errors import NotFound

TEXT = "I am Ada, ada@example.org, card 4111 1111 1111 1111"


@pytest.fixture
def http(words: Running):
    with words.http() as client:
        yield client


def embed(http: httpx2.Client, text: str) -> httpx2.Response:
    answer = http.post("/v1/embeddings", json={"model": "words", "input": [text]})
    assert answer.status_code == 200, answer.text
    return answer


def rule(http: httpx2.Client, **what: Any) -> None:
    answer = http.put("/api/v1/deployments/words/request-log", json=what)
    assert answer.status_code == 200, answer.text


def kept(http: httpx2.Client, request_id: str) -> list[dict[str, Any]]:
    found = http.get("/api/v1/request-logs", params={"request_id": request_id}).json()["requests"]
    return list(found)


def kept_content(http: httpx2.Client, request_id: str) -> dict[str, Any]:
    wait_until(lambda: bool(kept(http, request_id)), "the request is kept")
    (one,) = kept(http, request_id)
    answer = http.get(f"/api/v1/request-logs/{one['log_id']}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def on_the_disk(server: Running, canary: str) -> list[str]:
    found = [
        str(path)
        for path in server.data.rglob("*")
        if path.is_file() and canary.encode() in path.read_bytes()
    ]
    return found + (["the log"] if canary in server.output() else [])


@pytest.fixture
def no_rule(http: httpx2.Client):
    yield
    http.delete("/api/v1/deployments/words/request-log")


def test_by_default_nothing_of_it_is_kept(http, words):
    canary = f"canary-{secrets.token_hex(8)}"
    answer = embed(http, canary)
    http.post("/v1/embeddings", json={"model": "words", "input": {"odd": canary}})
    http.post("/v1/chat/completions", json={"model": canary, "messages": canary})
    http.post("/api/v1/keys", json={"name": canary, "role": "none", canary: canary})
    assert kept(http, answer.headers["x-request-id"]) == []
    assert on_the_disk(words, canary) == []
    entries = http.get("/api/v1/audit/entries", params={"limit": 1000}).text
    assert canary not in entries
    assert http.get("/api/v1/deployments/words/request-log").status_code == 404


def test_what_is_kept_is_redacted_and_sealed_and_reading_it_is_audited(http, words, no_rule):
    rule(http)
    request_id = embed(http, TEXT).headers["x-request-id"]
    found = kept_content(http, request_id)
    assert found["content"]["input"] == {"inputs": ["I am Ada, <EMAIL>, card <CREDIT_CARD>"]}
    (array,) = found["content"]["output"]["arrays"]
    assert "values" not in array
    assert found["redacted"] == {"EMAIL": 1, "CREDIT_CARD": 1}
    assert (found["deployment"], found["key_id"], found["status"]) == ("words", "owner", "ok")
    assert on_the_disk(words, "I am Ada") == []
    acts = http.get(
        "/api/v1/audit/entries", params={"resource": f"/request-logs/{found['log_id']}"}
    )
    assert [one["outcome"] for one in acts.json()["entries"]] == ["ok", "intent"]


def test_what_is_left_out_is_told(http, no_rule):
    rule(http, redact=False, max_bytes=1024, keep_output=False)
    content = kept_content(http, embed(http, "x" * 5000).headers["x-request-id"])["content"]
    assert content == {"input": {"left_out_bytes": pytest.approx(5014, abs=30)}}
    rule(http, redact=False, keep_input=False, tensor_values=True)
    content = kept_content(http, embed(http, TEXT).headers["x-request-id"])["content"]
    assert set(content) == {"output"}
    assert len(content["output"]["arrays"][0]["values"][0]) > 1


def test_a_deleted_rule_keeps_nothing_more_and_subjects_are_erased(http, no_rule):
    rule(http)
    request_id = embed(http, TEXT).headers["x-request-id"]
    log_id = kept_content(http, request_id)["log_id"]
    assert http.delete("/api/v1/deployments/words/request-log").status_code == 204
    later = embed(http, TEXT).headers["x-request-id"]
    assert http.delete("/api/v1/request-logs").status_code == 400
    gone = http.delete("/api/v1/request-logs", params={"key_id": "owner"})
    assert gone.json()["deleted"] >= 1
    assert http.get(f"/api/v1/request-logs/{log_id}").status_code == 404
    assert kept(http, later) == []


def test_images_tensors_and_failures(wired: Operator, colours, http, no_rule):
    http.put("/api/v1/deployments/colours/request-log", json={"redact": False}).raise_for_status()
    answer = http.post(
        "/v1/classify?model=colours", content=b"no image", headers={"content-type": "image/png"}
    )
    assert answer.status_code == 400
    found = kept_content(http, answer.headers["x-request-id"])
    assert found["status"] == "image_invalid"
    assert "left_out_bytes" in json.dumps(found["content"]["input"])
    assert "output" not in found["content"]


def test_a_chat_is_kept_with_what_was_answered(chat: Running):
    with chat.http() as http:
        http.put("/api/v1/deployments/chat/request-log", json={}).raise_for_status()
        question = {"role": "user", "content": "Write to bob@example.com: hi"}
        body = {"model": "chat", "messages": [question], "max_tokens": 8}
        whole = http.post("/v1/chat/completions", json=body)
        streamed = http.post("/v1/chat/completions", json={**body, "stream": True})
        contents = [
            kept_content(http, one.headers["x-request-id"])["content"] for one in (whole, streamed)
        ]
        said = whole.json()["choices"][0]["message"]["content"]
        for content in contents:
            assert content["input"]["chat"]["messages"][-1]["content"] == "Write to <EMAIL>: hi"
            assert "cache_salt" not in content["input"]["chat"]
            (choice,) = content["output"]["choices"]
            assert choice["finish_reason"] in ("length", "stop")
        assert contents[0]["output"]["choices"][0]["text"] == said
        http.delete("/api/v1/deployments/chat/request-log").raise_for_status()


async def _with_the_async_client(words: Running) -> bytes:
    async with AsyncClient(words.url, words.key) as client:
        assert (await client.retention.list())[0].what == "request_logs"
        stream = await client.export_tenant()
        return b"".join([piece async for piece in stream])


def test_the_sdk_does_all_of_it(words: Running, http, no_rule):
    with Client(words.url, words.key) as client:
        rule = client.request_logs.keep("words", retention_days=3)
        assert client.request_logs.get_rule("words") == rule
        request_id = embed(http, TEXT).headers["x-request-id"]
        wait_until(
            lambda: bool(client.request_logs.list(request_id=request_id).requests), "it is kept"
        )
        (one,) = client.request_logs.list(request_id=request_id).requests
        content = client.request_logs.get(one.log_id).content
        assert content is not None
        assert "<EMAIL>" in json.dumps(content)
        client.request_logs.delete(one.log_id)
        with pytest.raises(NotFound):
            client.request_logs.get(one.log_id)
        for _ in range(3):
            embed(http, TEXT)
        wait_until(lambda: len(_pages(client)) >= 3, "all pages are there")
        assert client.request_logs.delete_all(deployment="words") >= 3
        client.request_logs.stop("words")
        kept_days = {one.what: one.days for one in client.retention.set({"request_logs": 20})}
        assert kept_days == {"request_logs": 20, "audit": None, "jobs": 365}
        client.retention.set({"request_logs": None})
        with client.export_tenant() as pieces:
            whole = b"".join(pieces)
    for made in (whole, asyncio.run(_with_the_async_client(words))):
        with tarfile.open(fileobj=io.BytesIO(made)) as tar:
            assert tar.getnames()[-1] == "MANIFEST.json"


def _pages(client: Client) -> list[str]:
    found, before = [], None
    while True:
        page = client.request_logs.list(deployment="words", limit=1, before=before)
        found += [one.log_id for one in page.requests]
        if page.next is None:
            return found
        before = page.next
