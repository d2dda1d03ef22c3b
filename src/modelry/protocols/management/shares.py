"""`/shares`: deployments that one tenant lets another one call."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from modelry.domain.access import Permission
from modelry.domain.sharing import DeploymentGrant
from modelry.protocols.management.auditing import note
from modelry.protocols.management.routing import managed_router, needs
from modelry.protocols.management.services import Caller, Sharing
from modelry.protocols.management.shapes import Answer, Body, Moment, Name, TenantId

router = managed_router("shares")


class Share(Answer):
    """A grant as its giver sees it: `tenant_id` may call `deployment` as `shared_name`."""

    grant_id: str
    deployment: str
    tenant_id: str
    shared_name: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    note: str

    @classmethod
    def of(cls, grant: DeploymentGrant) -> Share:
        """The shape of `grant`."""
        return cls(
            grant_id=grant.grant_id,
            deployment=grant.deployment,
            tenant_id=grant.grantee_id,
            shared_name=grant.shared_name,
            created_at=grant.created_at,
            created_by=grant.created_by,
            expires_at=grant.expires_at,
            revoked_at=grant.revoked_at,
            note=grant.note,
        )


class ReceivedShare(Answer):
    """A grant as its receiver sees it: call it `shared_name`."""

    shared_name: str
    owner_id: str
    created_at: datetime
    expires_at: datetime | None
    note: str

    @classmethod
    def of(cls, grant: DeploymentGrant) -> ReceivedShare:
        """The shape of `grant`."""
        return cls(
            shared_name=grant.shared_name,
            owner_id=grant.tenant_id,
            created_at=grant.created_at,
            expires_at=grant.expires_at,
            note=grant.note,
        )


class ShareList(Answer):
    """What the tenant shares or has shared, oldest first."""

    shares: list[Share]


class ReceivedShareList(Answer):
    """What others share with the tenant now, by owner."""

    shares: list[ReceivedShare]


class ShareBody(Body):
    """Whom to let call what; both tenants see the note."""

    deployment: Name
    tenant_id: TenantId
    expires_at: Moment | None = None
    note: Annotated[str, Field(max_length=500)] = ""


@router.get("/shares", summary="What is shared", openapi_extra=needs(Permission.SHARING_READ))
def list_shares(caller: Caller, sharing: Sharing) -> ShareList:
    """Grants of deployments that are still there, also revoked ones."""
    return ShareList(shares=[Share.of(one) for one in sharing.list_given(caller)])


@router.get(
    "/shares/received",
    summary="What others share with this tenant",
    openapi_extra=needs(Permission.SHARING_READ),
)
def list_received(caller: Caller, sharing: Sharing) -> ReceivedShareList:
    """Grants that hold now."""
    found = sharing.list_received(caller)
    return ReceivedShareList(shares=[ReceivedShare.of(one) for one in found])


@router.post(
    "/shares",
    status_code=201,
    summary="Let another tenant call a deployment",
    openapi_extra=needs(
        Permission.SHARING_WRITE, recorded=("deployment", "tenant_id", "expires_at")
    ),
)
def share(body: ShareBody, caller: Caller, sharing: Sharing) -> Share:
    """Its callers name it `<deployment>@<this tenant>`; whether the tenant exists is not told."""
    grant = sharing.share(
        caller, body.deployment, body.tenant_id, expires_at=body.expires_at, note=body.note
    )
    note(grant_id=grant.grant_id)
    return Share.of(grant)


@router.delete(
    "/shares/{grant_id}",
    status_code=204,
    summary="Take a shared deployment back",
    openapi_extra=needs(Permission.SHARING_WRITE),
)
def revoke_share(grant_id: str, caller: Caller, sharing: Sharing) -> None:
    """Requests that are open under it are cut off."""
    sharing.revoke(caller, grant_id)
