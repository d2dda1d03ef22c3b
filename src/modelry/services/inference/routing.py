"""Which replica group answers a request: an immutable table that is swapped as a whole."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from modelry.domain.access import Permission, Principal
from modelry.domain.catalog import Version
from modelry.domain.deployments import Deployment
from modelry.domain.errors import NotFound
from modelry.services.inference.replica_group import ReplicaGroup


@dataclass(frozen=True, slots=True)
class Target:
    """One version of a deployment, with the replicas that answer for it."""

    deployment: Deployment
    version: Version
    group: ReplicaGroup


@dataclass(frozen=True, slots=True)
class Route:
    """A deployment as the data plane sees it; `cumulative` are the shares added up, in percent."""

    deployment: Deployment
    targets: tuple[Target, ...]
    cumulative: tuple[float, ...]

    def pick(self) -> Target:
        """One target, at random by the traffic shares."""
        if len(self.targets) == 1:
            return self.targets[0]
        point = random.random() * 100.0  # noqa: S311 - traffic split, not a secret
        for target, bound in zip(self.targets, self.cumulative, strict=True):
            if point < bound:
                return target
        return self.targets[-1]

    def version(self, number: int) -> Target:
        """The target of one version.

        Raises:
            NotFound: the deployment does not serve that version.
        """
        for target in self.targets:
            if target.version.number == number:
                return target
        served = ", ".join(str(target.version.number) for target in self.targets)
        raise NotFound(
            f"Deployment '{self.deployment.name}' does not serve version {number}; it serves: "
            f"{served}."
        )


def _unknown(name: str) -> NotFound:
    return NotFound(
        f"Model '{name[:100]}' does not exist or this key may not use it. "
        "GET /v1/models lists the models that it may use.",
        param="model",
    )


class RouteTable:
    """All routes of all tenants; readers see one consistent table."""

    def __init__(self) -> None:
        self._routes: Mapping[tuple[str, str], Route] = {}
        self.generation = 0

    def swap(self, routes: Mapping[tuple[str, str], Route]) -> None:
        """Replace the whole table at once."""
        self._routes = dict(routes)
        self.generation += 1

    def find(self, principal: Principal, name: str) -> Route:
        """The route of a deployment that `principal` may call.

        Raises:
            PermissionDenied: the key may not call models at all.
            NotFound: no such deployment in the tenant, or not one that this key may call.
        """
        route = self._routes.get((principal.tenant_id, name))
        if route is not None and principal.may_call(name):
            return route
        principal.require(Permission.INFERENCE)
        raise _unknown(name)

    def look_up(self, principal: Principal, name: str) -> Route:
        """The route of a deployment that `principal` may look at, if not call.

        Raises:
            NotFound: no such deployment in the tenant, or not one that this key covers.
        """
        route = self._routes.get((principal.tenant_id, name))
        if route is None or not principal.covers(name):
            raise _unknown(name)
        return route

    def visible_to(self, principal: Principal) -> list[Route]:
        """The routes that `principal` may call, by name."""
        return self.covered_by(principal) if Permission.INFERENCE in principal.permissions else []

    def covered_by(self, principal: Principal) -> list[Route]:
        """The routes that `principal` may look at, if not call, by name."""
        found = [
            route
            for (tenant_id, name), route in self._routes.items()
            if tenant_id == principal.tenant_id and principal.covers(name)
        ]
        return sorted(found, key=lambda route: route.deployment.name)

    def all(self) -> list[Route]:
        """Every route of every tenant, for metrics and sweeps."""
        return list(self._routes.values())
