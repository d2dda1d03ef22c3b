"""Deployments as fine-tuning sees them: what a model's name means, and serving the new one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol

from modelry.domain.access import Permission, Principal
from modelry.domain.catalog import Version
from modelry.domain.deployments import Deployment, Scale
from modelry.domain.errors import InvalidInput, NotFound
from modelry.runtime_api.engine import StopSignal
from modelry.services.finetuning.ports import Base
from modelry.services.jobs.loop_calls import LoopCaller

IDLE_UNLOAD_S = 900.0
"""After which a fine-tuned model that nobody asks takes no memory; the next request loads it."""


class Catalogue(Protocol):
    """Models and their versions."""

    def resolve(self, principal: Principal, reference: str) -> Version:
        """The version that `name` (its newest), `name@3` or `name@alias` means, or NotFound."""
        ...

    def get_version(self, principal: Principal, name: str, number: int) -> Version:
        """One version, or NotFound."""
        ...


class Deployments(Protocol):
    """What is served; runs on the event loop but for `list`."""

    def list(self, principal: Principal) -> Sequence[Deployment]:
        """The deployments that the caller sees."""
        ...

    def deploy(
        self,
        principal: Principal,
        *,
        model: str,
        version: int | None = None,
        name: str | None = None,
        scale: Scale | None = None,
        engine_options: Mapping[str, Any] | None = None,
    ) -> Coroutine[Any, Any, Deployment]:
        """Create a deployment or change it."""
        ...


class KnownBases:
    """Implements `ports.Bases`.

    Args:
        deployments: knows what is served.
        catalogue: knows versions.
    """

    def __init__(self, deployments: Deployments, catalogue: Catalogue) -> None:
        self._deployments = deployments
        self._catalogue = catalogue

    def find(self, principal: Principal, model: str) -> Base:
        """See `ports.Bases.find`; of a deployment with several versions, that with most traffic."""
        deployment = self._deployment(principal, model)
        if deployment is not None:
            share = max(deployment.traffic, key=lambda one: one.percent)
            version = self._catalogue.get_version(
                principal, deployment.model_name, share.version_number
            )
            return Base(version, dict(deployment.engine_options))
        try:
            return Base(self._catalogue.resolve(principal, model))
        except (NotFound, InvalidInput):
            raise NotFound(
                f"Model '{model[:100]}' does not exist: there is no deployment and no registered "
                "model of that name in this tenant.",
                param="model",
            ) from None

    def _deployment(self, principal: Principal, name: str) -> Deployment | None:
        if Permission.DEPLOYMENTS_READ not in principal.permissions:
            return None
        return next((one for one in self._deployments.list(principal) if one.name == name), None)


class LoopServing:
    """Implements `ports.Serving` for threads.

    Args:
        deployments: deploys.
        loop: gives the event loop that it runs on, once it runs.
    """

    def __init__(
        self, deployments: Deployments, loop: Callable[[], asyncio.AbstractEventLoop]
    ) -> None:
        self._deployments = deployments
        self._loop = loop

    def serve(
        self,
        principal: Principal,
        version: Version,
        engine_options: Mapping[str, Any],
        stop: StopSignal,
    ) -> None:
        """See `ports.Serving.serve`."""
        name = version.model_name
        if any(one.name == name for one in self._deployments.list(principal)):
            return  # an earlier attempt of the job came so far, or somebody did it
        work = self._deployments.deploy(
            principal,
            model=name,
            version=version.number,
            scale=Scale(min_replicas=0, max_replicas=1, idle_unload_s=IDLE_UNLOAD_S),
            engine_options=engine_options,
        )
        LoopCaller(self._loop(), stop).result(work, f"the deployment of {name}")
