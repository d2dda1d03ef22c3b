"""How much may be used."""

from __future__ import annotations

from modelry.client.decoding import decode, decode_list
from modelry.client.exchange import Flow, Request, send, send_json
from modelry.client.operations.paths import api
from modelry.client.records import QuotaStanding, SetLimits


def my_quotas() -> Flow[list[QuotaStanding]]:
    """What this client's key, and its tenant, may use and have left."""
    body = yield from send_json(Request("GET", api("quotas"), idempotent=True))
    return decode_list(QuotaStanding, body, "quotas")


def key_limits() -> Flow[list[SetLimits]]:
    """The keys that have limits of their own."""
    body = yield from send_json(Request("GET", api("quotas", "keys"), idempotent=True))
    return decode_list(SetLimits, body, "quotas")


def set_key_limits(key_id: str, **limits: float | str) -> Flow[SetLimits]:
    """Set all limits of a key, such as `requests_per_second=5`; others that it had end."""
    request = Request("PUT", api("quotas", "keys", key_id), json=limits, idempotent=True)
    return decode(SetLimits, (yield from send_json(request)))


def clear_key_limits(key_id: str) -> Flow[None]:
    """Let a key have no limits but its tenant's."""
    yield from send(Request("DELETE", api("quotas", "keys", key_id), idempotent=True))


def tenant_limits(tenant_id: str) -> Flow[SetLimits]:
    """The limits that were set for a tenant; needs a key of the platform."""
    request = Request("GET", api("quotas", "tenants", tenant_id), idempotent=True)
    return decode(SetLimits, (yield from send_json(request)))


def set_tenant_limits(tenant_id: str, **limits: float | str) -> Flow[SetLimits]:
    """Set all limits of a tenant; for others the server's defaults hold again."""
    request = Request("PUT", api("quotas", "tenants", tenant_id), json=limits, idempotent=True)
    return decode(SetLimits, (yield from send_json(request)))
