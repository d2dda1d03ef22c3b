"""What the deployments service needs from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from modelry.domain.catalog import Version
from modelry.domain.deployments import Deployment
from modelry.runtime_api.engine import LoadSpec
from modelry.services.inference.replica_group import ReplicaGroup, ReplicaLink


class DeploymentStore(Protocol):
    """Keeps deployments; every method is one transaction."""

    def list_all(self) -> list[Deployment]:
        """All deployments of all tenants (server start only)."""
        ...

    def list(self, tenant_id: str) -> list[Deployment]:
        """A tenant's deployments, by name."""
        ...

    def get(self, tenant_id: str, name: str) -> Deployment | None:
        """One deployment, or None."""
        ...

    def put(self, deployment: Deployment) -> None:
        """Insert or replace."""
        ...

    def delete(self, tenant_id: str, name: str) -> bool:
        """Remove; False if it was not there."""
        ...


class OpenFile(Protocol):
    """A file of a version in memory, open."""

    @property
    def descriptor(self) -> int:
        """The open file, which nobody can change."""
        ...

    def close(self) -> None:
        """Let it go; again does nothing."""
        ...


class VersionSource(Protocol):
    """Gives versions and the files to load them from."""

    def version(self, tenant_id: str, model_name: str, number: int) -> Version:
        """One version.

        Raises:
            NotFound: there is none.
        """
        ...

    def open_files(self, version: Version) -> Mapping[str, OpenFile]:
        """The version's files, by role; whoever asked closes each.

        Raises:
            DataDamaged: a file was changed.
            KeyUnavailable, NotFound, Overloaded: a file cannot be had.
        """
        ...


@dataclass(frozen=True, slots=True)
class ReplicaSpec:
    """What one replica shall be; `group` is where it takes its calls from.

    `load` names no files: `open_files` opens them, each time that a process is started.
    """

    replica_id: str
    load: LoadSpec
    open_files: Callable[[], Mapping[str, OpenFile]]
    group: ReplicaGroup
    load_timeout_s: float
    hang_timeout_s: float


@dataclass(frozen=True, slots=True)
class ReplicaEnd:
    """Why a replica's process ended: in words, with the last lines it wrote to stderr.

    `permanent` says that the same load will fail again (the engine refused the files).
    """

    reason: str
    permanent: bool = False


class Replica(Protocol):
    """One replica process; made by `ReplicaPool.start`, in whatever state it is."""

    pid: int | None
    ready_info: Mapping[str, Any]

    @property
    def link(self) -> ReplicaLink:
        """Its data connection."""
        ...

    async def ready(self) -> ReplicaEnd | None:
        """Wait until it can answer (None), or until it ended before that."""
        ...

    async def ended(self) -> ReplicaEnd:
        """Wait until the process is gone and its calls have been failed."""
        ...

    async def stop(self, drain_s: float) -> None:
        """Let open calls end for at most `drain_s` seconds, then end the process."""
        ...

    def kill(self, reason: str) -> None:
        """End the process now; `ended` will tell `reason`."""
        ...

    def logs(self) -> list[str]:
        """The last lines it wrote to stderr."""
        ...

    def memory_bytes(self) -> int | None:
        """Resident memory, or None when the process is gone."""
        ...


class ReplicaPool(Protocol):
    """Starts replicas somewhere."""

    async def start(self, spec: ReplicaSpec, files: Mapping[str, OpenFile]) -> Replica:
        """Start a replica; it is loading when this returns.

        Args:
            spec: what it shall be.
            files: the files to load, by role; open until the replica has ended, or told in its
                `ready_info`, under `mapped`, that it needs others only.
        """
        ...
