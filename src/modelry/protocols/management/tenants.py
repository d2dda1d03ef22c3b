"""`/tenants`: the platform's tenants; `/tenant`: the caller's own."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import Query
from pydantic import Field

from modelry.domain import access
from modelry.domain.access import Permission, TenantState
from modelry.domain.tenants import DeletionStage, TenantDeletion
from modelry.protocols.management.auditing import note
from modelry.protocols.management.keys import MintedKey
from modelry.protocols.management.routing import managed_router, needs
from modelry.protocols.management.services import Caller, Tenants
from modelry.protocols.management.shapes import Answer, Body, TenantId

router = managed_router("tenants")

TenantName = Annotated[str, Field(min_length=1, max_length=200)]


class Tenant(Answer):
    """A tenant; `changed_at` is when it got its state, if that is not its first."""

    tenant_id: str
    name: str
    state: TenantState
    created_at: datetime
    changed_at: datetime | None

    @classmethod
    def of(cls, tenant: access.Tenant) -> Tenant:
        """The shape of `tenant`."""
        return cls(
            tenant_id=tenant.tenant_id,
            name=tenant.name,
            state=tenant.state,
            created_at=tenant.created_at,
            changed_at=tenant.changed_at,
        )


class TenantList(Answer):
    """All tenants, by id."""

    tenants: list[Tenant]


class NewTenant(Answer):
    """A new tenant and its first owner's key, whose token is shown this once."""

    tenant: Tenant
    owner: MintedKey


class TenantBody(Body):
    """A tenant to make; its id is for good, also when it was deleted."""

    tenant_id: TenantId
    name: TenantName


class TenantChange(Body):
    """What can be changed of a tenant."""

    name: TenantName


class Deletion(Answer):
    """How far the deletion of a tenant is; once `done`, its certificate of destruction.

    `destroyed` counts rows by table, files and their bytes, and names the fingerprints of the
    encryption keys.
    """

    tenant_id: str
    deletion_id: str
    requested_at: datetime
    requested_by: str
    stage: DeletionStage
    stage_at: datetime
    destroyed: dict[str, Any]

    @classmethod
    def of(cls, deletion: TenantDeletion) -> Deletion:
        """The shape of `deletion`."""
        return cls(
            tenant_id=deletion.tenant_id,
            deletion_id=deletion.deletion_id,
            requested_at=deletion.requested_at,
            requested_by=deletion.requested_by,
            stage=deletion.stage,
            stage_at=deletion.stage_at,
            destroyed=dict(deletion.destroyed),
        )


@router.get("/tenant", summary="The own tenant", openapi_extra=needs(Permission.TENANT_READ))
def own_tenant(caller: Caller, tenants: Tenants) -> Tenant:
    """The tenant of the key that asks."""
    return Tenant.of(tenants.own(caller))


@router.get("/tenants", summary="List tenants", openapi_extra=needs(Permission.PLATFORM_READ))
def list_tenants(caller: Caller, tenants: Tenants) -> TenantList:
    """All tenants of the platform."""
    return TenantList(tenants=[Tenant.of(one) for one in tenants.list_tenants(caller)])


@router.post(
    "/tenants",
    status_code=201,
    summary="Make a tenant with a first owner's key",
    openapi_extra=needs(Permission.PLATFORM_WRITE, recorded=("tenant_id",)),
)
def create_tenant(body: TenantBody, caller: Caller, tenants: Tenants) -> NewTenant:
    """The key's token is told this once; hand it to the tenant's owner."""
    tenant, minted = tenants.create(caller, body.tenant_id, body.name)
    note(key_id=minted.key.key_id)
    return NewTenant(tenant=Tenant.of(tenant), owner=MintedKey.of(minted))


@router.get(
    "/tenants/{tenant_id}", summary="One tenant", openapi_extra=needs(Permission.PLATFORM_READ)
)
def get_tenant(tenant_id: str, caller: Caller, tenants: Tenants) -> Tenant:
    """Its name and state."""
    return Tenant.of(tenants.get(caller, tenant_id))


@router.patch(
    "/tenants/{tenant_id}",
    summary="Rename a tenant",
    openapi_extra=needs(Permission.PLATFORM_WRITE),
)
def change_tenant(tenant_id: str, body: TenantChange, caller: Caller, tenants: Tenants) -> Tenant:
    """Its id stays."""
    return Tenant.of(tenants.rename(caller, tenant_id, body.name))


@router.post(
    "/tenants/{tenant_id}/suspend",
    summary="Suspend a tenant",
    openapi_extra=needs(Permission.PLATFORM_WRITE),
)
def suspend_tenant(tenant_id: str, caller: Caller, tenants: Tenants) -> Tenant:
    """Its keys answer 403, its streams are cut and its replicas end, on every server in 5 s."""
    return Tenant.of(tenants.suspend(caller, tenant_id))


@router.post(
    "/tenants/{tenant_id}/resume",
    summary="Resume a suspended tenant",
    openapi_extra=needs(Permission.PLATFORM_WRITE),
)
def resume_tenant(tenant_id: str, caller: Caller, tenants: Tenants) -> Tenant:
    """Its keys work again and its replicas are started."""
    return Tenant.of(tenants.resume(caller, tenant_id))


@router.delete(
    "/tenants/{tenant_id}",
    status_code=202,
    summary="Delete a tenant with all that it has",
    openapi_extra=needs(Permission.PLATFORM_WRITE),
)
def delete_tenant(
    tenant_id: str,
    confirm: Annotated[str, Query(max_length=200, description="The tenant's name.")],
    caller: Caller,
    tenants: Tenants,
) -> Deletion:
    """There is no way back. It goes on in the background; ask `/deletion` how far it is."""
    deletion = tenants.delete(caller, tenant_id, confirm)
    note(deletion_id=deletion.deletion_id)
    return Deletion.of(deletion)


@router.get(
    "/tenants/{tenant_id}/deletion",
    summary="How far the deletion of a tenant is, or what it destroyed",
    openapi_extra=needs(Permission.PLATFORM_READ),
)
def get_deletion(tenant_id: str, caller: Caller, tenants: Tenants) -> Deletion:
    """It stays when the tenant is gone, so that the id is never used again."""
    return Deletion.of(tenants.deletion(caller, tenant_id))
