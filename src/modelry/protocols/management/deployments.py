"""`/deployments`: which versions of a model answer under which name."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from modelry.domain.access import Permission, Principal
from modelry.domain.deployments import Deployment as Desired
from modelry.domain.deployments import Limits, Scale, TrafficShare
from modelry.domain.errors import NotFound
from modelry.protocols.management.deployment_shapes import (
    Deployment,
    DeploymentBody,
    ScaleBody,
)
from modelry.protocols.management.routing import managed_router, needs
from modelry.protocols.management.services import All, Caller, Deployments, Services
from modelry.protocols.management.shapes import Answer
from modelry.services.deployments.service import DeploymentsService

# All of these are asynchronous: the deployments service lives on the event loop.

router = managed_router("deployments")


class DeploymentList(Answer):
    """All deployments, by name."""

    deployments: list[Deployment]


@router.get(
    "/deployments",
    summary="List deployments with their replicas",
    openapi_extra=needs(Permission.DEPLOYMENTS_READ),
)
async def list_deployments(caller: Caller, deployments: Deployments) -> DeploymentList:
    """All deployments of the tenant, by name."""
    return DeploymentList(
        deployments=[
            Deployment.of(one, deployments.replicas(caller, one.name))
            for one in deployments.list(caller)
        ]
    )


@router.get(
    "/deployments/{name}",
    summary="One deployment with its replicas",
    openapi_extra=needs(Permission.DEPLOYMENTS_READ),
)
async def get_deployment(name: str, caller: Caller, deployments: Deployments) -> Deployment:
    """One deployment."""
    return _shown(caller, deployments, name)


@router.put(
    "/deployments/{name}",
    summary="Create or change a deployment",
    openapi_extra=needs(Permission.DEPLOYMENTS_WRITE, recorded=("model", "version")),
)
async def deploy(name: str, body: DeploymentBody, caller: Caller, services: All) -> Deployment:
    """Replicas follow in the background; ask again, or load it, to wait for them."""
    old = _found(caller, services.deployments, name)
    model = body.model or (old.model_name if old else name)
    limits = body.limits
    traffic = await _traffic(caller, services, model, body, old)
    await services.deployments.deploy(
        caller,
        model=model,
        name=name,
        traffic=traffic,
        scale=await _scale(caller, services, model, body.scale, traffic=traffic, old=old),
        limits=None if limits is None else limits.over(old.limits if old else Limits()),
        engine_options=body.engine_options,
    )
    return _shown(caller, services.deployments, name)


@router.delete(
    "/deployments/{name}",
    status_code=204,
    summary="Take a deployment away",
    openapi_extra=needs(Permission.DEPLOYMENTS_WRITE),
)
async def undeploy(name: str, caller: Caller, deployments: Deployments) -> None:
    """Open requests are answered first; the model and its versions stay."""
    await deployments.undeploy(caller, name)


@router.post(
    "/deployments/{name}/scale",
    summary="Change how many replicas a deployment has",
    openapi_extra=needs(
        Permission.DEPLOYMENTS_WRITE, recorded=("min_replicas", "max_replicas", "idle_unload_s")
    ),
)
async def scale(name: str, body: ScaleBody, caller: Caller, deployments: Deployments) -> Deployment:
    """What is left out stays."""
    old = deployments.get(caller, name)
    await deployments.scale(caller, name, body.over(old.scale))
    return _shown(caller, deployments, name)


@router.post(
    "/deployments/{name}/load",
    summary="Wait until every version has a ready replica",
    openapi_extra=needs(Permission.DEPLOYMENTS_WRITE),
)
async def load(name: str, caller: Caller, deployments: Deployments) -> Deployment:
    """Also tries replicas again that were given up."""
    await deployments.load(caller, name)
    return _shown(caller, deployments, name)


@router.post(
    "/deployments/{name}/unload",
    summary="End the replicas; the next request loads them again",
    openapi_extra=needs(Permission.DEPLOYMENTS_WRITE),
)
async def unload(name: str, caller: Caller, deployments: Deployments) -> Deployment:
    """Open requests are answered first."""
    await deployments.unload(caller, name)
    return _shown(caller, deployments, name)


@router.post(
    "/deployments/{name}/restart",
    summary="End the replicas and start new ones",
    openapi_extra=needs(Permission.DEPLOYMENTS_WRITE),
)
async def restart(name: str, caller: Caller, deployments: Deployments) -> Deployment:
    """Requests wait meanwhile."""
    await deployments.restart(caller, name)
    return _shown(caller, deployments, name)


def _shown(caller: Principal, deployments: DeploymentsService, name: str) -> Deployment:
    return Deployment.of(deployments.get(caller, name), deployments.replicas(caller, name))


def _found(caller: Principal, deployments: DeploymentsService, name: str) -> Desired | None:
    try:
        return deployments.get(caller, name)
    except NotFound:
        return None


async def _traffic(
    caller: Principal, services: Services, model: str, body: DeploymentBody, old: Desired | None
) -> list[TrafficShare] | None:
    """The wanted shares; None leaves them as they are."""
    if body.traffic is not None:
        return [TrafficShare(share.version, share.percent) for share in body.traffic]
    if body.version is None and old is not None:
        return None
    reference = model if body.version is None else f"{model}@{body.version}"
    version = await asyncio.to_thread(services.catalog.resolve, caller, reference)
    return [TrafficShare(version.number)]


async def _scale(
    caller: Principal,
    services: Services,
    model: str,
    body: ScaleBody | None,
    *,
    traffic: Sequence[TrafficShare] | None,
    old: Desired | None,
) -> Scale | None:
    """The wanted scale, over what there is or the manifest declares; None leaves it to those."""
    if body is None:
        return None
    if old is not None:
        return body.over(old.scale)
    assert traffic, "a new deployment serves something"
    number = traffic[0].version_number
    declared = await services.deployments.declared_scale(caller, model, number)
    return body.over(declared or Scale())
