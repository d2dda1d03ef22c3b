"""`/deployments/{name}/replicas` and `/logs`: what runs, and what it says."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from modelry.domain.access import Permission
from modelry.protocols.management.deployment_shapes import Replica
from modelry.protocols.management.routing import managed_router, needs
from modelry.protocols.management.services import Caller, Deployments
from modelry.protocols.management.shapes import Answer

router = managed_router("replicas")


class ReplicaList(Answer):
    """All replicas of a deployment."""

    replicas: list[Replica]


class Logs(Answer):
    """The last lines that replicas wrote to stderr, by replica id."""

    logs: dict[str, list[str]]


@router.get(
    "/deployments/{name}/replicas",
    summary="State of every replica",
    openapi_extra=needs(Permission.DEPLOYMENTS_READ),
)
async def list_replicas(name: str, caller: Caller, deployments: Deployments) -> ReplicaList:
    """Replicas that failed are there with their reason."""
    return ReplicaList(replicas=[Replica.of(one) for one in deployments.replicas(caller, name)])


@router.get(
    "/deployments/{name}/logs",
    summary="Last lines of the replicas' stderr",
    openapi_extra=needs(Permission.DEPLOYMENTS_READ, audited=True),
)
async def logs(
    name: str,
    caller: Caller,
    deployments: Deployments,
    replica_id: Annotated[str | None, Query(max_length=100)] = None,
) -> Logs:
    """Of all replicas, or of one."""
    found = deployments.logs(caller, name, replica_id)
    return Logs(logs={key: list(lines) for key, lines in found.items()})
