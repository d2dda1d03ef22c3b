"""Deployments (desired state) and replicas (observed state)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from modelry.domain.errors import InvalidInput
from modelry.domain.sandbox import SandboxReport


@dataclass(frozen=True, slots=True)
class TrafficShare:
    """The share of a deployment's requests that one version answers, in percent."""

    version_number: int
    percent: float = 100.0


@dataclass(frozen=True, slots=True)
class Scale:
    """How many replicas each version of a deployment has.

    With `min_replicas` 0 the model is loaded on the first call. `idle_unload_s` ends all
    replicas after that many seconds without a request (None: never).
    """

    min_replicas: int = 1
    max_replicas: int = 1
    idle_unload_s: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.min_replicas <= self.max_replicas <= 64 or self.max_replicas < 1:
            raise InvalidInput(
                f"Scale {self.min_replicas}..{self.max_replicas} is not allowed: expected "
                "0 <= min <= max and 1 <= max <= 64.",
                param="scale",
            )
        if self.idle_unload_s is not None and not self.idle_unload_s > 0:
            raise InvalidInput("idle_unload_s must be greater than 0.", param="idle_unload_s")


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one deployment.

    Units: `queue` waiting requests per version; `deadline_s` seconds from admission to the
    end of the answer; `load_timeout_s` seconds a request waits for a model that is being
    loaded, and a replica may take to load; `hang_timeout_s` seconds without a heart-beat
    after which a replica is killed; `memory_bytes` per replica.
    """

    queue: int = 256
    deadline_s: float = 300.0
    load_timeout_s: float = 120.0
    hang_timeout_s: float = 60.0
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Deployment:
    """Which versions of a model answer under which name."""

    tenant_id: str
    name: str
    model_name: str
    traffic: tuple[TrafficShare, ...]
    scale: Scale
    limits: Limits
    created_at: datetime
    updated_at: datetime
    engine_options: dict[str, str | int | float | bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        total = sum(share.percent for share in self.traffic)
        numbers = [share.version_number for share in self.traffic]
        if not self.traffic or abs(total - 100.0) > 1e-6 or len(set(numbers)) != len(numbers):
            raise InvalidInput(
                f"Traffic of deployment '{self.name}' adds up to {total:g} %; expected distinct "
                "versions whose shares add up to 100 %.",
                param="traffic",
            )


class ReplicaState(StrEnum):
    """Where a replica is in its life."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    BACKING_OFF = "backing_off"
    STOPPED = "stopped"
    FAILED = "failed"


REPLICA_TRANSITIONS: dict[ReplicaState, frozenset[ReplicaState]] = {
    ReplicaState.STARTING: frozenset(
        {
            ReplicaState.READY,
            ReplicaState.BACKING_OFF,
            ReplicaState.FAILED,
            ReplicaState.DRAINING,
            ReplicaState.STOPPED,
        }
    ),
    ReplicaState.READY: frozenset(
        {ReplicaState.DRAINING, ReplicaState.BACKING_OFF, ReplicaState.FAILED, ReplicaState.STOPPED}
    ),
    ReplicaState.DRAINING: frozenset({ReplicaState.STOPPED}),
    ReplicaState.BACKING_OFF: frozenset(
        {ReplicaState.STARTING, ReplicaState.FAILED, ReplicaState.STOPPED}
    ),
    ReplicaState.FAILED: frozenset({ReplicaState.STARTING, ReplicaState.STOPPED}),
    ReplicaState.STOPPED: frozenset(),
}
"""The one table of a replica's life; anything else is a defect."""


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """What is known of one replica at a moment."""

    replica_id: str
    tenant_id: str
    deployment: str
    version_number: int
    state: ReplicaState
    pid: int | None = None
    restarts: int = 0
    reason: str | None = None
    memory_bytes: int | None = None
    in_flight: int = 0
    since: datetime | None = None
    sandbox: SandboxReport | None = None
