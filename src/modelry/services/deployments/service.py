"""Use cases on deployments; runs on the event loop, the database in threads."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import itertools
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from modelry.domain.access import Permission, Principal, TenantState
from modelry.domain.catalog import Version, check_name
from modelry.domain.deployments import Deployment, Limits, ReplicaStatus, Scale, TrafficShare
from modelry.domain.errors import (
    Conflict,
    ModelNotReady,
    ModelryError,
    NotFound,
    PermissionDenied,
)
from modelry.services.deployments.ports import DeploymentStore, ReplicaPool, VersionSource
from modelry.services.deployments.version_replicas import VersionReplicas
from modelry.services.inference.routing import Route, Target
from modelry.services.inference.service import InferenceService

log = logging.getLogger(__name__)

TICK_S = 0.25
PRIVATE_NAME = "(evaluation)"
"""What usage tells as the deployment of versions that are measured; no real one has such a name."""
PRIVATE_DEADLINE_S = 3600.0
"""For an answer to a job, for which no caller waits: to explain one row may take many minutes."""

Key = tuple[str, str]


class DeploymentsService:
    """Keeps the desired state, and makes the replicas follow it.

    Args:
        store: keeps deployments.
        versions: gives versions and their files.
        pool: starts replicas.
        inference: whose route table follows.
    """

    def __init__(
        self,
        store: DeploymentStore,
        versions: VersionSource,
        pool: ReplicaPool,
        inference: InferenceService,
    ) -> None:
        self._store = store
        self._versions = versions
        self._pool = pool
        self._inference = inference
        self._deployments: dict[Key, Deployment] = {}
        self._replicas: dict[Key, dict[int, VersionReplicas]] = {}
        self._private: set[VersionReplicas] = set()
        self._applied: dict[Key, datetime] = {}
        self._told: dict[Key, datetime] = {}
        self._closed: frozenset[str] = frozenset()
        self._changes = asyncio.Lock()
        self._leaving: dict[asyncio.Task[None], str] = {}
        self._ticker: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """Bring up all kept deployments; one that cannot be applied is logged, not fatal."""
        self._loop = asyncio.get_running_loop()
        await self.follow()
        self._ticker = asyncio.create_task(self._tick())

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that it runs on, for threads that have something for it to do.

        Raises:
            ModelNotReady: it was not started yet.
        """
        if self._loop is None:
            raise ModelNotReady("The server is being started.", retry_after_s=1)
        return self._loop

    async def stop(self, drain_s: float = 10.0) -> None:
        """Drain and end every replica."""
        if self._ticker is not None:
            self._ticker.cancel()
        closing = [one.close(drain_s) for one in self._all_replicas()]
        await asyncio.gather(*closing, *self._leaving)

    async def follow(self) -> None:
        """Bring into force here what other servers on the same database changed.

        What cannot be applied is tried again each time, and logged when it is new or changed.
        """
        async with self._changes:
            kept = await asyncio.to_thread(self._store.list_all)
            by_key = {(one.tenant_id, one.name): one for one in kept}
            for key in {*self._deployments} - {*by_key}:
                self._take_away(key)
            for key, deployment in by_key.items():
                await self._take(key, deployment)

    async def _look_again(self, key: Key) -> None:
        """Before a change: another server may have changed the deployment meanwhile."""
        deployment = await asyncio.to_thread(self._store.get, *key)
        if deployment is not None:
            await self._take(key, deployment)
        elif key in self._deployments:
            self._take_away(key)

    async def _take(self, key: Key, deployment: Deployment) -> None:
        if self._applied.get(key) == deployment.updated_at:
            return
        try:
            await self._apply(deployment)
        except ModelryError:
            if self._told.get(key) != deployment.updated_at:
                self._told[key] = deployment.updated_at
                log.exception("deployment %s could not be applied", deployment.name)

    def _take_away(self, key: Key) -> None:
        self._applied.pop(key, None)
        self._deployments.pop(key)
        for replicas in self._replicas.pop(key, {}).values():
            self._let_go(replicas)
        self._publish()

    def _all_replicas(self) -> list[VersionReplicas]:
        routed = itertools.chain.from_iterable(one.values() for one in self._replicas.values())
        return [*routed, *self._private]

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            for replicas in self._all_replicas():
                replicas.tick()

    async def deploy(
        self,
        principal: Principal,
        *,
        model: str,
        version: int | None = None,
        name: str | None = None,
        traffic: Sequence[TrafficShare] | None = None,
        scale: Scale | None = None,
        limits: Limits | None = None,
        engine_options: Mapping[str, Any] | None = None,
    ) -> Deployment:
        """Create a deployment or change it; what is not given stays (or takes its default).

        Args:
            principal: who asks.
            model: the model's name.
            version: all traffic goes to it; alternatively give `traffic`.
            name: the deployment's name, by default the model's.
            traffic: shares of several versions.
            scale: replicas per version; for a new deployment by default what the version's
                manifest declares.
            limits: bounds.
            engine_options: for the runtime (`threads`, `slots`, …).

        Raises:
            NotFound: no such model version.
            Conflict: the name is a deployment of another model.
            PermissionDenied: the key is for other deployments.
            InvalidInput: shares, scale or name are not allowed.
        """
        principal.require(Permission.DEPLOYMENTS_WRITE)
        name = check_name(name or model, "deployment")
        if not principal.covers(name):
            raise PermissionDenied(
                f"This key is for some deployments only, and '{name}' is none of them: "
                f"{', '.join(sorted(principal.deployments))}."
            )
        now = datetime.now(UTC)
        async with self._changes:
            await self._look_again((principal.tenant_id, name))
            old = self._deployments.get((principal.tenant_id, name))
            if old is not None and old.model_name != model:
                raise Conflict(
                    f"Deployment '{name}' serves model '{old.model_name}'; undeploy it first or "
                    "choose another name.",
                    param="name",
                )
            if version is not None:
                traffic = (TrafficShare(version),)
            if traffic is None:
                traffic = old.traffic if old else ()
            if scale is None and old is None and traffic:
                scale = await self.declared_scale(principal, model, traffic[0].version_number)
            deployment = Deployment(
                tenant_id=principal.tenant_id,
                name=name,
                model_name=model,
                traffic=tuple(traffic),
                scale=scale or (old.scale if old else Scale()),
                limits=limits or (old.limits if old else Limits()),
                created_at=old.created_at if old else now,
                updated_at=now,
                engine_options=dict(
                    engine_options
                    if engine_options is not None
                    else (old.engine_options if old else {})
                ),
            )
            await self._change(deployment)
        return deployment

    async def scale(self, principal: Principal, name: str, scale: Scale) -> Deployment:
        """Change how many replicas a deployment has.

        Raises:
            NotFound: no such deployment.
        """
        principal.require(Permission.DEPLOYMENTS_WRITE)
        async with self._changes:
            await self._look_again((principal.tenant_id, name))
            old = self.get(principal, name)
            new = dataclasses.replace(old, scale=scale, updated_at=datetime.now(UTC))
            await self._change(new)
        return new

    async def undeploy(self, principal: Principal, name: str) -> None:
        """Take a deployment away; open requests are answered first.

        Raises:
            NotFound: no such deployment.
        """
        principal.require(Permission.DEPLOYMENTS_WRITE)
        async with self._changes:
            key = (principal.tenant_id, name)
            await self._look_again(key)
            self.get(principal, name)
            await asyncio.to_thread(self._store.delete, *key)
            self._take_away(key)

    async def follow_content(self, tenant_id: str, digest: str, damage: str | None) -> None:
        """Take versions with a damaged content out of service, and mended ones back into it.

        Args:
            tenant_id: whose content.
            digest: which.
            damage: what is told of it; None if it was mended.
        """
        concerned = [one for one in self._all_replicas() if one.holds(tenant_id, digest)]
        for replicas in concerned:
            if damage is None:
                replicas.restart_failed()
            else:
                replicas.give_up(damage)

    async def follow_tenants(self, tenants: Mapping[str, TenantState]) -> None:
        """Serve what active tenants have deployed, and nothing of the others.

        Args:
            tenants: all that there are. Open requests for what is closed are told so.
        """
        owners = {one.tenant_id for one in self._deployments.values()}
        inactive = {name for name, state in tenants.items() if state is not TenantState.ACTIVE}
        closed = frozenset(inactive | (owners - tenants.keys()))
        if closed == self._closed:
            return
        async with self._changes:
            opened, self._closed = self._closed - closed, closed
            ended = [key for key in self._replicas if key[0] in closed]
            leaving = [one for key in ended for one in self._replicas.pop(key).values()]
            self._publish()
            for replicas in leaving:
                replicas.group.cut_off(_closed_error(replicas))
                self._let_go(replicas)
            for replicas in self._private:
                if replicas.deployment.tenant_id in closed:
                    replicas.give_up("its tenant was closed")
                    replicas.group.cut_off(_closed_error(replicas))
            for key, deployment in [*self._deployments.items()]:
                if key[0] in opened:
                    self._applied.pop(key, None)
                    await self._take(key, deployment)

    def has_replicas(self, tenant_id: str) -> bool:
        """Whether a replica of the tenant is there, in whatever state; from any thread."""
        running = any(key[0] == tenant_id and found for key, found in [*self._replicas.items()])
        privately = {one.deployment.tenant_id for one in [*self._private]}
        return running or tenant_id in {*privately, *self._leaving.values()}

    def get(self, principal: Principal, name: str) -> Deployment:
        """One deployment of the caller's tenant.

        Raises:
            NotFound: no such deployment.
        """
        principal.require(Permission.DEPLOYMENTS_READ)
        found = self._deployments.get((principal.tenant_id, name))
        if found is None or not principal.covers(name):
            raise NotFound(f"Deployment '{name[:100]}' does not exist.", param="name")
        return found

    def list(self, principal: Principal) -> Sequence[Deployment]:
        """The tenant's deployments, by name."""
        principal.require(Permission.DEPLOYMENTS_READ)
        found = [
            one
            for one in self._deployments.values()
            if one.tenant_id == principal.tenant_id and principal.covers(one.name)
        ]
        return sorted(found, key=lambda one: one.name)

    def replicas(self, principal: Principal, name: str) -> Sequence[ReplicaStatus]:
        """State of every replica of a deployment."""
        return [status for one in self._of(principal, name) for status in one.statuses()]

    def logs(
        self, principal: Principal, name: str, replica_id: str | None = None
    ) -> Mapping[str, Sequence[str]]:
        """Last stderr lines of the replicas, by replica id.

        Raises:
            NotFound: no such deployment or replica.
        """
        logs: dict[str, Sequence[str]] = {}
        for one in self._of(principal, name):
            logs |= one.logs()
        if replica_id is None:
            return logs
        if replica_id not in logs:
            raise NotFound(f"Replica '{replica_id[:100]}' does not exist.", param="replica_id")
        return {replica_id: logs[replica_id]}

    async def load(self, principal: Principal, name: str) -> None:
        """Wait until every version of the deployment has a ready replica.

        Raises:
            ModelFailed, ModelNotReady: as `VersionReplicas.load`.
        """
        principal.require(Permission.DEPLOYMENTS_WRITE)
        await asyncio.gather(*(one.load() for one in self._of(principal, name)))

    async def unload(self, principal: Principal, name: str) -> None:
        """End the deployment's replicas; the next request loads it again."""
        principal.require(Permission.DEPLOYMENTS_WRITE)
        await asyncio.gather(*(one.unload() for one in self._of(principal, name)))

    async def restart(self, principal: Principal, name: str) -> None:
        """End and start the deployment's replicas; also those that were given up."""
        principal.require(Permission.DEPLOYMENTS_WRITE)
        await asyncio.gather(*(one.restart() for one in self._of(principal, name)))

    def _of(self, principal: Principal, name: str) -> Sequence[VersionReplicas]:
        self.get(principal, name)
        return [*self._replicas.get((principal.tenant_id, name), {}).values()]

    async def declared_scale(self, principal: Principal, model: str, number: int) -> Scale | None:
        """What the manifest of a version says of replicas, if it does.

        Raises:
            NotFound: no such model version.
        """
        version = await asyncio.to_thread(
            self._versions.version, principal.tenant_id, model, number
        )
        declared = version.manifest.get("scale")
        return Scale(**declared) if declared else None

    @contextlib.asynccontextmanager
    async def privately(self, version: Version, niceness: int = 0) -> AsyncIterator[Target]:
        """A replica of `version` that nobody can call but who holds this context.

        It is loaded as a deployment would load it, and is in no table of routes; what is asked of
        it is metered under `PRIVATE_NAME`.

        Args:
            version: what to load.
            niceness: how far it stands back behind replicas that serve, 0 to 19.

        Raises:
            ModelFailed: it cannot be loaded.
        """
        now = datetime.now(UTC)
        deployment = Deployment(
            tenant_id=version.tenant_id,
            name=PRIVATE_NAME,
            model_name=version.model_name,
            traffic=(TrafficShare(version.number),),
            scale=Scale(),
            limits=Limits(deadline_s=PRIVATE_DEADLINE_S),
            created_at=now,
            updated_at=now,
        )
        replicas = VersionReplicas(
            self._pool,
            deployment,
            version,
            functools.partial(self._versions.open_files, version),
            self._inference.accounts,
            meter=self._inference.meter,
            niceness=niceness,
        )
        self._private.add(replicas)
        try:
            await replicas.load()
            yield Target(deployment, version, replicas.group)
        finally:
            self._private.discard(replicas)
            self._let_go(replicas)

    async def _change(self, deployment: Deployment) -> None:
        """Keep the new state first, then follow it: a crash in between is mended by `start`."""
        for share in deployment.traffic:
            await asyncio.to_thread(
                self._versions.version,
                deployment.tenant_id,
                deployment.model_name,
                share.version_number,
            )
        await asyncio.to_thread(self._store.put, deployment)
        await self._apply(deployment)

    async def _apply(self, deployment: Deployment) -> None:
        key = (deployment.tenant_id, deployment.name)
        if deployment.tenant_id in self._closed:
            self._deployments[key] = deployment
            self._applied[key] = deployment.updated_at
            return
        old = self._replicas.get(key, {})
        new: dict[int, VersionReplicas] = {}
        for share in deployment.traffic:
            number = share.version_number
            version = await asyncio.to_thread(
                self._versions.version, deployment.tenant_id, deployment.model_name, number
            )
            current = old.get(number)
            if current is not None and current.can_become(deployment, version):
                current.become(deployment)
                new[number] = current
                continue
            new[number] = VersionReplicas(
                self._pool,
                deployment,
                version,
                functools.partial(self._versions.open_files, version),
                self._inference.accounts,
                meter=self._inference.meter,
            )
        self._deployments[key] = deployment
        self._applied[key] = deployment.updated_at
        self._replicas[key] = new
        self._publish()
        for number, replicas in old.items():
            if new.get(number) is replicas:
                continue
            successor = new.get(number)
            if successor is not None:  # another version would answer under a wrong name
                replicas.group.hand_over(successor.group)
            self._let_go(replicas)

    def _let_go(self, replicas: VersionReplicas) -> None:
        task = asyncio.create_task(replicas.close(drain_s=30.0))
        self._leaving[task] = replicas.deployment.tenant_id
        task.add_done_callback(lambda task: self._leaving.pop(task, None))

    def _publish(self) -> None:
        routes: dict[Key, Route] = {}
        for key, deployment in self._deployments.items():
            if key not in self._replicas:
                continue
            targets = tuple(
                Target(deployment, replicas.version, replicas.group)
                for share in deployment.traffic
                for replicas in (self._replicas[key][share.version_number],)
            )
            cumulative = tuple(itertools.accumulate(share.percent for share in deployment.traffic))
            routes[key] = Route(deployment, targets, cumulative)
        self._inference.routes.swap(routes)


def _closed_error(replicas: VersionReplicas) -> ModelryError:
    """What is told to callers of a deployment whose tenant was closed, its own and others."""
    return ModelNotReady(f"Deployment '{replicas.deployment.name}' is not served at present.")
