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
    scopes: Sequence[str] | None = None,
) -> Flow[NewKey]:
    """Make a key; its token is told this once.

    Args:
        name: to tell it apart.
        role: owner, admin, developer, operator, viewer, auditor or inference.
        expires_at: when it stops working, with a time zone.
        deployments: the only deployments that it may call; None for all. One that another tenant
            shares is called `<deployment>@<tenant>`.
        scopes: the only rights of the role that it has, such as `models:read`; None for all.
    """
    body: dict[str, Any] = {"name": name, "role": role}
    if expires_at is not None:
        body["expires_at"] = expires_at.isoformat()
    if deployments is not None:
        body["deployments"] = list(deployments)
    if scopes is not None:
        body["scopes"] = list(scopes)
    return decode(NewKey, (yield from send_json(Request("POST", api("keys"), json=body))))


def get_key(key_id: str) -> Flow[ApiKey]:
    """One key, without its secret."""
    return decode(
        ApiKey, (yield from send_json(Request("GET", api("keys", key_id), idempotent=True)))
    )


def rename_key(key_id: str, name: str) -> Flow[ApiKey]:
    """Call a key something else."""
    request = Request("PATCH", api("keys", key_id), json={"name": name}, idempotent=True)
    return decode(ApiKey, (yield from send_json(request)))


def rotate_key(key_id: str, *, overlap_s: float = 0.0) -> Flow[NewKey]:
    """Give a key a new secret, which is told this once; the key stays the same in all else.

    Args:
        key_id: which key.
        overlap_s: seconds for which the secret before stays valid.
    """
    request = Request("POST", api("keys", key_id, "rotate"), json={"overlap_s": overlap_s})
    return decode(NewKey, (yield from send_json(request)))


def revoke_key(key_id: str) -> Flow[None]:
    """Let a key be valid no more."""
    yield from send(Request("DELETE", api("keys", key_id), idempotent=True))


def whoami() -> Flow[Caller]:
    """Who this client's key stands for, and what it may do."""
    return decode(Caller, (yield from send_json(Request("GET", api("whoami"), idempotent=True))))
