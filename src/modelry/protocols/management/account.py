"""`/whoami`, `/status`: about the caller, and about the server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modelry.domain.access import Permission, Role
from modelry.domain.deployments import Deployment, ReplicaState, ReplicaStatus
from modelry.protocols.management.routing import managed_router, needs
from modelry.protocols.management.services import All, Caller
from modelry.protocols.management.shapes import Answer

router = managed_router("account")


class Whoami(Answer):
    """Who the caller is and what it may do; no `deployments` means all of them."""

    tenant_id: str
    key_id: str
    role: Role
    permissions: list[Permission]
    deployments: list[str]


@router.get("/whoami", summary="Whose key this is", openapi_extra=needs(Permission.SELF_READ))
async def whoami(caller: Caller) -> Whoami:
    """Any valid key may ask."""
    return Whoami(
        tenant_id=caller.tenant_id,
        key_id=caller.key_id,
        role=caller.role,
        permissions=sorted(caller.permissions),
        deployments=sorted(caller.deployments),
    )


@router.get(
    "/status",
    summary="The server, and how many deployments are ready",
    openapi_extra=needs(Permission.DEPLOYMENTS_READ),
)
async def status(caller: Caller, services: All) -> dict[str, Any]:
    """Version, time of the start, readiness, and the tenant's deployments counted."""
    found = services.deployments.list(caller)
    states = [_state(one, services.deployments.replicas(caller, one.name)) for one in found]
    counted = {
        "total": len(found),
        "ready": states.count(ReplicaState.READY),
        "failed": states.count(ReplicaState.FAILED),
    }
    return {**services.status(), "deployments": counted}


def _state(deployment: Deployment, replicas: Sequence[ReplicaStatus]) -> ReplicaState:
    """Ready when every version can answer, failed when one of them cannot and will not."""
    by_version = {
        share.version_number: {
            one.state for one in replicas if one.version_number == share.version_number
        }
        for share in deployment.traffic
    }
    if all(ReplicaState.READY in states for states in by_version.values()):
        return ReplicaState.READY
    if any(states == {ReplicaState.FAILED} for states in by_version.values()):
        return ReplicaState.FAILED
    return ReplicaState.STARTING
