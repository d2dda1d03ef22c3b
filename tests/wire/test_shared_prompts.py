"""A chat model that two tenants share tells neither what the other asked."""

from __future__ import annotations

import secrets

import pytest
from tests.support.operating import Operator, wait_until
from tests.support.server import Running


@pytest.fixture(scope="module")
def guest(wired: Operator, chat: Running) -> str:
    """The key of another tenant that `chat` is shared with."""
    tenant = {"tenant_id": f"guest{secrets.token_hex(4)}", "name": "Guest"}
    token: str = wired.call("POST", "/tenants", json=tenant)["owner"]["token"]
    shared = {"deployment": "chat", "tenant_id": tenant["tenant_id"]}
    wired.call("POST", "/shares", json=shared)
    headers = {"authorization": f"Bearer {token}"}
    wait_until(
        lambda: wired.http.get("/v1/models/chat@default", headers=headers).status_code == 200,
        "the guest may call it",
    )
    return token


def cached_tokens(operator: Operator, model: str, key: str, prompt: str) -> int:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "max_completion_tokens": 1,
    }
    answer = operator.http.post(
        "/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"}
    )
    assert answer.status_code == 200, answer.text
    return int(answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"])


def test_no_prompt_of_another_tenant_is_in_the_cache(wired: Operator, guest: str) -> None:
    owner = wired.server.key
    secret = f"The secret word of today is {secrets.token_hex(8)}; which day follows Monday?"
    assert cached_tokens(wired, "chat", owner, secret) < 40
    assert cached_tokens(wired, "chat", owner, secret) > 40, "the owner's own prompt is kept"
    assert cached_tokens(wired, "chat@default", guest, secret) == 0
    assert cached_tokens(wired, "chat@default", guest, secret) > 40, "the guest's own, too"
    other = f"The password is {secrets.token_hex(8)}; how many legs has a spider, and why?"
    assert cached_tokens(wired, "chat@default", guest, other) < 40
    assert cached_tokens(wired, "chat", owner, other) < 40


def test_guests_get_several_choices(wired: Operator, guest: str) -> None:
    body = {
        "model": "chat@default",
        "messages": [{"role": "user", "content": "Say hello."}],
        "max_completion_tokens": 2,
        "n": 2,
    }
    headers = {"authorization": f"Bearer {guest}"}
    answer = wired.http.post("/v1/chat/completions", json=body, headers=headers)
    assert len(answer.json()["choices"]) == 2
