"""`/whoami`, `/usage`, `/status`: about the caller, and about the server."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import Query

from modelry.domain.access import Permission, Role
from modelry.domain.deployments import Deployment, ReplicaState, ReplicaStatus
from modelry.protocols.management.routing import managed_router, needs
from modelry.protocols.management.services import All, Caller, Usage
from modelry.protocols.management.shapes import Answer, Moment
from modelry.services.usage.ports import UsageGroup
from modelry.services.usage.service import TotalsAsked

_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)

router = managed_router("account")


class Whoami(Answer):
    """Who the caller is and what it may do; no `deployments` means all of them."""

    tenant_id: str
    key_id: str
    role: Role
    permissions: list[Permission]
    deployments: list[str]


class UsageTotal(Answer):
    """Sums of all units, for one value of each thing that was grouped by."""

    group: dict[str, str]
    units: dict[str, int]


class UsageTotals(Answer):
    """What was used in the whole minutes from `since` up to `until`."""

    since: datetime
    until: datetime
    usage: list[UsageTotal]


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


@router.get("/usage", summary="What was used", openapi_extra=needs(Permission.METRICS_READ))
def read_usage(
    caller: Caller,
    usage: Usage,
    since: Moment | None = None,
    until: Moment | None = None,
    group_by: Annotated[list[UsageGroup], Query(max_length=len(UsageGroup))] = [],  # noqa: B006 - FastAPI copies it
) -> UsageTotals:
    """By default the last 24 hours, all in one sum."""
    end = until or datetime.now(UTC) + timedelta(minutes=1)
    begin = since or max(end, _EARLIEST) - timedelta(days=1)
    return UsageTotals(
        since=begin,
        until=end,
        usage=[
            UsageTotal(group=one.group, units=one.units)
            for one in usage.totals(caller, TotalsAsked(begin, end, tuple(group_by)))
        ],
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
