"""The replicas of one version in one deployment: how many there are, and when."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping

from modelry.domain.catalog import Version
from modelry.domain.deployments import Deployment, ReplicaState, ReplicaStatus
from modelry.domain.errors import ModelFailed, ModelNotReady
from modelry.domain.usage import Origin
from modelry.runtime_api.engine import LoadSpec
from modelry.services.deployments.ports import OpenFile, ReplicaPool, ReplicaSpec
from modelry.services.deployments.supervisor import ReplicaSupervisor
from modelry.services.inference.call import Call
from modelry.services.inference.metering import Meter
from modelry.services.inference.replica_group import ReplicaGroup, ReplicaLink
from modelry.services.quotas.accounts import Accounts
from modelry.tasks.graphs import graph_digest

SCALE_UP_AFTER_S = 1.0
"""How long requests must have been waiting before another replica is started."""
DRAIN_S = 30.0
"""How long open requests may go on when a replica is taken away."""


def _check_one_tenant(deployment: Deployment, version: Version) -> None:
    """A worker process holds one tenant's version, for deployments of that tenant.

    Raises:
        AssertionError: it would hold another's; a defect of ours.
    """
    if deployment.tenant_id != version.tenant_id:
        raise AssertionError("a replica of one tenant's deployment would load another's version")


class VersionReplicas:
    """Starts and ends replicas between the deployment's minimum and maximum.

    Load on call: a waiting request starts the first replica. Idle unload: all replicas above
    the minimum end after `scale.idle_unload_s` seconds without a request.
    """

    def __init__(
        self,
        pool: ReplicaPool,
        deployment: Deployment,
        version: Version,
        open_files: Callable[[], Mapping[str, OpenFile]],
        accounts: Accounts,
        *,
        meter: Meter,
        niceness: int = 0,
    ) -> None:
        _check_one_tenant(deployment, version)
        self.deployment = deployment
        self.version = version
        self.group = ReplicaGroup(
            (deployment.tenant_id, deployment.name, version.number, version.task),
            deployment.limits,
            accounts,
            self.wake,
            meter=meter,
            origin=Origin(
                tenant_id=deployment.tenant_id,
                deployment=deployment.name,
                model=version.model_name,
                version_number=version.number,
                task=version.task,
                version_digest=version.digest,
                graph_digest=graph_digest(version.task, version.manifest),
                engine_options=deployment.engine_options,
            ),
        )
        self.group.on_overdue = self._kill_overdue
        self._pool = pool
        self._open_files = open_files
        self._load_spec = LoadSpec(
            task=version.task,
            runtime=version.runtime,
            manifest=version.manifest,
            files={},
            options=deployment.engine_options,
            memory_bytes=deployment.limits.memory_bytes,
            niceness=niceness,
        )
        self._supervisors: list[ReplicaSupervisor] = []
        self._leaving: set[asyncio.Task[None]] = set()
        self._crowded_since: float | None = None
        self._fill(deployment.scale.min_replicas)

    def can_become(self, deployment: Deployment, version: Version) -> bool:
        """Whether `deployment` needs no new worker processes for `version`."""
        return (
            version == self.version
            and deployment.engine_options == self.deployment.engine_options
            and deployment.limits.memory_bytes == self.deployment.limits.memory_bytes
        )

    def become(self, deployment: Deployment) -> None:
        """Take on new limits and scale."""
        _check_one_tenant(deployment, self.version)
        self.deployment = deployment
        self.group.limits = deployment.limits
        self._trim(deployment.scale.max_replicas)
        self._fill(deployment.scale.min_replicas)

    @property
    def _alive(self) -> list[ReplicaSupervisor]:
        return [one for one in self._supervisors if one.state is not ReplicaState.FAILED]

    def _fill(self, count: int) -> None:
        while len(self._alive) < count:
            spec = ReplicaSpec(
                replica_id=secrets.token_hex(6),
                load=self._load_spec,
                open_files=self._open_files,
                group=self.group,
                load_timeout_s=self.deployment.limits.load_timeout_s,
                hang_timeout_s=self.deployment.limits.hang_timeout_s,
            )
            self._supervisors.append(ReplicaSupervisor(self._pool, spec, self._gave_up))

    def _trim(self, count: int) -> None:
        while len(self._alive) > count:
            leaving = min(self._alive, key=lambda one: one.status().in_flight)
            self._supervisors.remove(leaving)
            leaving.retire()
            task = asyncio.create_task(leaving.stop(DRAIN_S))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    def _gave_up(self, reason: str) -> None:
        if not self._alive:
            self.group.fail_waiting(reason)

    def _kill_overdue(self, link: ReplicaLink, call: Call) -> None:
        late_s = time.monotonic() - call.deadline
        for supervisor in self._supervisors:
            if supervisor.replica is not None and supervisor.replica.link is link:
                supervisor.kill(f"hung: a request ran on {late_s:.0f} s after its deadline")

    def wake(self) -> None:
        """A request waits: see that at least one replica is there or on its way."""
        if not self._alive and self.group.failure is None:
            self._fill(1)

    def tick(self) -> None:
        """Expire requests, scale up when they wait, unload when idle; a few times a second."""
        self.group.expire()
        now = time.monotonic()
        scale = self.deployment.scale
        if not self.group.waiting or not self.group.is_ready:
            self._crowded_since = None
        elif self._crowded_since is None:
            self._crowded_since = now
        elif now - self._crowded_since > SCALE_UP_AFTER_S:
            self._crowded_since = None
            if len(self._alive) < scale.max_replicas:
                self._fill(len(self._alive) + 1)
        idle_s = now - self.group.last_used
        is_idle = (
            scale.idle_unload_s is not None
            and idle_s > scale.idle_unload_s
            and self.group.in_flight == 0
        )
        if is_idle and len(self._alive) > scale.min_replicas:
            self._trim(scale.min_replicas)

    async def load(self) -> None:
        """Wait until a replica is ready, starting one if there is none.

        Raises:
            ModelFailed: it cannot be loaded.
            ModelNotReady: it took longer than the deployment's load timeout.
        """
        self.restart_failed()
        self._fill(1)
        self.group.last_used = time.monotonic()
        give_up = time.monotonic() + self.deployment.limits.load_timeout_s
        while not self.group.is_ready:
            if self.group.failure is not None:
                raise ModelFailed(
                    f"Deployment '{self.deployment.name}' failed: {self.group.failure}"
                )
            if time.monotonic() > give_up:
                raise ModelNotReady(
                    f"Deployment '{self.deployment.name}' is still being loaded.", retry_after_s=5
                )
            await asyncio.sleep(0.02)

    def restart_failed(self) -> None:
        """Give slots that were given up another try."""
        self.group.failure = None
        self._supervisors = self._alive
        self._fill(self.deployment.scale.min_replicas)

    def holds(self, tenant_id: str, digest: str) -> bool:
        """Whether the version has a file with this content."""
        return self.deployment.tenant_id == tenant_id and any(
            file.digest == digest for file in self.version.files
        )

    def give_up(self, reason: str) -> None:
        """End all replicas at once and answer nothing, until `restart_failed`."""
        for one in self._alive:
            one.give_up(reason)

    async def unload(self) -> None:
        """End all replicas; the next request loads the version again."""
        supervisors, self._supervisors = self._supervisors, []
        await asyncio.gather(*(one.stop(DRAIN_S) for one in supervisors))
        if self.group.waiting:
            self.wake()

    async def restart(self) -> None:
        """End all replicas, then start as many as there shall be; requests wait meanwhile."""
        count = max(len(self._alive), self.deployment.scale.min_replicas)
        await self.unload()
        self.group.failure = None
        self._fill(count)

    async def close(self, drain_s: float) -> None:
        """Take no more requests, let the open ones end, those that wait too, end all processes."""
        group = self.group
        group.close()
        give_up = time.monotonic() + drain_s
        while group.waiting and group.is_ready:
            if time.monotonic() > give_up:
                break
            await asyncio.sleep(0.02)
        group.turn_away()
        left_s = max(0.0, give_up - time.monotonic())
        await asyncio.gather(*(one.stop(left_s) for one in self._supervisors), *self._leaving)

    def statuses(self) -> list[ReplicaStatus]:
        """All replica slots."""
        return [one.status() for one in self._supervisors]

    def logs(self) -> dict[str, list[str]]:
        """Last stderr lines by replica id."""
        return {one.spec.replica_id: one.logs() for one in self._supervisors}
