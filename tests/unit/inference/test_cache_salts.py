"""Whose prompt a worker is told it has: its owner's, or some other tenant's, never whose."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from modelry.domain.access import ROLE_PERMISSIONS, Principal, Role
from modelry.runtime_api.generation import ChatRequest, CompletionRequest
from modelry.services.inference.authentication import Authenticator, KeySnapshot
from modelry.services.inference.routing import RouteTable
from modelry.services.inference.service import InferenceService

pytestmark = pytest.mark.anyio


class Keys:
    def digest(self, token: bytes) -> bytes:
        return token

    def snapshot(self) -> KeySnapshot:
        return KeySnapshot({}, {}, {})


def caller(tenant_id: str) -> Principal:
    return Principal(tenant_id, "k1", Role.OWNER, ROLE_PERMISSIONS[Role.OWNER])


def salt_sent(
    inference: InferenceService, tenant_id: str, request: ChatRequest | CompletionRequest
) -> str:
    calls: list[Any] = []
    group = SimpleNamespace(identity=("acme", "chat", 1, "chat"), submit=calls.append)
    target = SimpleNamespace(group=group, version=SimpleNamespace(task="chat"))
    inference.generate(caller(tenant_id), target, request)  # type: ignore[arg-type] # what is read
    (wire,) = orjson.loads(calls[0].header).values()
    return str(wire["cache_salt"])


@pytest.mark.parametrize(
    "request_", [ChatRequest([{"role": "user", "content": "Hi"}]), CompletionRequest("Hi")]
)
async def test_each_tenant_has_its_own_salt(request_: ChatRequest | CompletionRequest) -> None:
    inference = InferenceService(Authenticator(Keys()), RouteTable())
    assert salt_sent(inference, "acme", request_) == ""
    first, second = (salt_sent(inference, name, request_) for name in ("globex", "initech"))
    assert first != second
    assert salt_sent(inference, "globex", request_) == first
    assert "globex" not in first
    elsewhere = InferenceService(Authenticator(Keys()), RouteTable())
    assert salt_sent(elsewhere, "globex", request_) != first, "it cannot be worked out in advance"


async def test_what_a_caller_calls_its_salt_counts_for_nothing() -> None:
    inference = InferenceService(Authenticator(Keys()), RouteTable())
    sly = CompletionRequest("Hi", cache_salt="")
    assert salt_sent(inference, "globex", sly) != ""
