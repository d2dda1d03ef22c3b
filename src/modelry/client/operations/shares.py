"""Deployments that one tenant lets another one call."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from modelry.client.decoding import decode, decode_list
from modelry.client.exchange import Flow, Request, send, send_json
from modelry.client.operations.paths import api
from modelry.client.records import ReceivedShare, Share


def list_shares() -> Flow[list[Share]]:
    """What this tenant shares or has shared, oldest first."""
    body = yield from send_json(Request("GET", api("shares"), idempotent=True))
    return decode_list(Share, body, "shares")


def list_received_shares() -> Flow[list[ReceivedShare]]:
    """What others share with this tenant now; call each by its `shared_name`."""
    body = yield from send_json(Request("GET", api("shares", "received"), idempotent=True))
    return decode_list(ReceivedShare, body, "shares")


def share(
    deployment: str, tenant_id: str, *, expires_at: datetime | None = None, note: str = ""
) -> Flow[Share]:
    """Let another tenant call a deployment, and nothing else of it.

    Args:
        deployment: its name in this tenant.
        tenant_id: the other tenant; whether it exists is not told.
        expires_at: when it ends, with a time zone; None for when it is revoked.
        note: why; both tenants see it.
    """
    body: dict[str, Any] = {"deployment": deployment, "tenant_id": tenant_id, "note": note}
    if expires_at is not None:
        body["expires_at"] = expires_at.isoformat()
    return decode(Share, (yield from send_json(Request("POST", api("shares"), json=body))))


def revoke_share(grant_id: str) -> Flow[None]:
    """Take a shared deployment back; requests that are open under it are cut off."""
    yield from send(Request("DELETE", api("shares", grant_id), idempotent=True))
