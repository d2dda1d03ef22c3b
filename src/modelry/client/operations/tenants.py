"""The platform's tenants; for keys of the home tenant."""

from __future__ import annotations

from modelry.client.decoding import decode, decode_list
from modelry.client.exchange import Flow, Request, send_json
from modelry.client.operations.paths import api
from modelry.client.records import NewTenant, Tenant, TenantDeletion


def own_tenant() -> Flow[Tenant]:
    """The tenant of this client's key."""
    return decode(Tenant, (yield from send_json(Request("GET", api("tenant"), idempotent=True))))


def list_tenants() -> Flow[list[Tenant]]:
    """All tenants, by id."""
    body = yield from send_json(Request("GET", api("tenants"), idempotent=True))
    return decode_list(Tenant, body, "tenants")


def get_tenant(tenant_id: str) -> Flow[Tenant]:
    """One tenant."""
    request = Request("GET", api("tenants", tenant_id), idempotent=True)
    return decode(Tenant, (yield from send_json(request)))


def create_tenant(tenant_id: str, name: str | None = None) -> Flow[NewTenant]:
    """Make a tenant and its first owner's key, whose token is told this once.

    Args:
        tenant_id: 2 to 40 lower-case letters, digits or '-'; for good.
        name: what people call it; by default the id.
    """
    body = {"tenant_id": tenant_id, "name": tenant_id if name is None else name}
    return decode(NewTenant, (yield from send_json(Request("POST", api("tenants"), json=body))))


def rename_tenant(tenant_id: str, name: str) -> Flow[Tenant]:
    """Give a tenant another name; its id stays."""
    request = Request("PATCH", api("tenants", tenant_id), json={"name": name}, idempotent=True)
    return decode(Tenant, (yield from send_json(request)))


def suspend_tenant(tenant_id: str) -> Flow[Tenant]:
    """Refuse all keys of a tenant, cut its streams and end its replicas, on every server in 5 s."""
    request = Request("POST", api("tenants", tenant_id, "suspend"), idempotent=True)
    return decode(Tenant, (yield from send_json(request)))


def resume_tenant(tenant_id: str) -> Flow[Tenant]:
    """Let a suspended tenant work again."""
    request = Request("POST", api("tenants", tenant_id, "resume"), idempotent=True)
    return decode(Tenant, (yield from send_json(request)))


def delete_tenant(tenant_id: str, *, confirm: str) -> Flow[TenantDeletion]:
    """Delete a tenant with all that it has, in the background; there is no way back.

    Args:
        tenant_id: which tenant.
        confirm: its name, to prove that this one is meant.
    """
    request = Request("DELETE", api("tenants", tenant_id), {"confirm": confirm}, idempotent=True)
    return decode(TenantDeletion, (yield from send_json(request)))


def tenant_deletion(tenant_id: str) -> Flow[TenantDeletion]:
    """How far the deletion of a tenant is, or what it destroyed."""
    request = Request("GET", api("tenants", tenant_id, "deletion"), idempotent=True)
    return decode(TenantDeletion, (yield from send_json(request)))
