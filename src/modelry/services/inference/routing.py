"""Which replica group answers a request: an immutable table that is swapped as a whole."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from modelry.domain.access import Permission, Principal
from modelry.domain.catalog import Version
from modelry.domain.deployments import Deployment
from modelry.domain.errors import NotFound
from modelry.domain.sharing import DeploymentGrant
from modelry.services.inference.replica_group import ReplicaGroup


@dataclass(frozen=True, slots=True)
class Target:
    """One version of a deployment, with the replicas that answer for it."""

    deployment: Deployment
    version: Version
    group: ReplicaGroup


@dataclass(frozen=True, slots=True)
class Route:
    """A deployment as the data plane sees it; `cumulative` are the shares added up, in percent.

    `owner_id` is the tenant that shares it, where another one calls it; None for its own.
    """

    deployment: Deployment
    targets: tuple[Target, ...]
    cumulative: tuple[float, ...]
    owner_id: str | None = None

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


def _shared(route: Route, grant: DeploymentGrant) -> Route:
    """The route under the name by which the grantee calls it, in answers and errors too."""
    deployment = replace(route.deployment, name=grant.shared_name)
    targets = tuple(replace(one, deployment=deployment) for one in route.targets)
    return Route(deployment, targets, route.cumulative, grant.tenant_id)


def _unknown(name: str) -> NotFound:
    return NotFound(
        f"Model '{name[:100]}' does not exist or this key may not use it. "
        "GET /v1/models lists the models that it may use.",
        param="model",
    )


class RouteTable:
    """All routes of all tenants; readers see one consistent table.

    A shared deployment stands in it twice: as its owner's, and as the grantee's under the name
    `<deployment>@<owner>`, so that finding one is a single look-up.
    """

    def __init__(self) -> None:
        self._own: Mapping[tuple[str, str], Route] = {}
        self._grants: frozenset[DeploymentGrant] = frozenset()
        self._routes: Mapping[tuple[str, str], Route] = {}
        self.generation = 0

    def swap(self, routes: Mapping[tuple[str, str], Route]) -> None:
        """Replace the tenants' own routes at once."""
        self._own = dict(routes)
        self._join()

    def share(self, grants: Iterable[DeploymentGrant]) -> None:
        """Let in the grantees of `grants`, and nobody else."""
        wanted = frozenset(grants)
        if wanted != self._grants:
            self._grants = wanted
            self._join()

    def _join(self) -> None:
        shared = {
            (grant.grantee_id, grant.shared_name): _shared(route, grant)
            for grant in self._grants
            if (route := self._own.get((grant.tenant_id, grant.deployment))) is not None
        }
        self._routes = {**self._own, **shared}
        self.generation += 1

    def is_shared_with(self, tenant_id: str, owner_id: str, deployment: str) -> bool:
        """Whether `tenant_id` may call what `owner_id` calls `deployment`."""
        return any(
            (one.grantee_id, one.tenant_id, one.deployment) == (tenant_id, owner_id, deployment)
            for one in self._grants
        )

    def find(self, principal: Principal, name: str) -> Route:
        """The route of a deployment that `principal` may call.

        Raises:
            PermissionDenied: the key may not call models at all.
            NotFound: no such deployment in the tenant or shared with it, or not one that this
                key may call.
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
        route = self._own.get((principal.tenant_id, name))
        if route is None or not principal.covers(name):
            raise _unknown(name)
        return route

    def visible_to(self, principal: Principal) -> list[Route]:
        """The routes that `principal` may call, by name; shared ones too."""
        if Permission.INFERENCE not in principal.permissions:
            return []
        return _covered(self._routes, principal)

    def covered_by(self, principal: Principal) -> list[Route]:
        """The routes of its tenant that `principal` may look at, if not call, by name."""
        return _covered(self._own, principal)

    def all(self) -> list[Route]:
        """Every tenant's own routes, for metrics and sweeps."""
        return list(self._own.values())


def _covered(routes: Mapping[tuple[str, str], Route], principal: Principal) -> list[Route]:
    found = [
        route
        for (tenant_id, name), route in routes.items()
        if tenant_id == principal.tenant_id and principal.covers(name)
    ]
    return sorted(found, key=lambda route: route.deployment.name)
