"""API keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from modelry.client.decoding import decode, decode_list
from modelry.client.exchange import Flow, Request, send, send_json
from modelry.client.operations.paths import api
from modelry.client.records import ApiKey, Caller, NewKey


def list_keys() -> Flow[list[ApiKey]]:
    """All keys, without their secrets."""
    body = yield from send_json(Request("GET", api("keys"), idempotent=True))
    return decode_list(ApiKey, body, "keys")


def create_key(
    name: str,
    role: str = "inference",
    *,
    expires_at: datetime | None = None,
    deployments: Sequence[str] | None = None,
) -> Flow[NewKey]:
    """Make a key; its token is told this once.

    Args:
        name: to tell it apart.
        role: owner, admin, developer, operator, viewer, auditor or inference.
        expires_at: when it stops working, with a time zone.
        deployments: the only deployments that it may call; None for all.
    """
    body: dict[str, Any] = {"name": name, "role": role}
    if expires_at is not None:
        body["expires_at"] = expires_at.isoformat()
    if deployments is not None:
        body["deployments"] = list(deployments)
    return decode(NewKey, (yield from send_json(Request("POST", api("keys"), json=body))))


def revoke_key(key_id: str) -> Flow[None]:
    """Let a key be valid no more."""
    yield from send(Request("DELETE", api("keys", key_id), idempotent=True))


def whoami() -> Flow[Caller]:
    """Who this client's key stands for, and what it may do."""
    return decode(Caller, (yield from send_json(Request("GET", api("whoami"), idempotent=True))))
