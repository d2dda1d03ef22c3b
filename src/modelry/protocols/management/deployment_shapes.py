"""The JSON shapes of deployments and replicas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr, model_validator

from modelry.domain import deployments as domain
from modelry.protocols.management.shapes import Answer, Body, Name, Number, one_message

MAX_SHARES = 64
MAX_OPTIONS = 64
DAY_S = 86_400.0

ReplicaCount = Annotated[int, Field(strict=True, ge=0, le=64)]
Seconds = Annotated[float, Field(strict=True, gt=0, le=DAY_S)]
OptionName = Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,63}$")]
Option = Annotated[
    StrictBool
    | Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)]
    | Annotated[StrictFloat, Field(ge=-(2**53), le=2**53)]
    | Annotated[StrictStr, Field(max_length=1000)],
    one_message("true or false, a number, or a text of up to 1000 characters"),
]
Which = Annotated[Number | Name, one_message("a version's number or the name of an alias")]


class Share(Answer):
    """The share of a deployment's requests that one version answers."""

    version: int
    percent: float


class Scale(Answer):
    """How many replicas each version has; `idle_unload_s` null means never."""

    min_replicas: int
    max_replicas: int
    idle_unload_s: float | None


class Limits(Answer):
    """Bounds of a deployment; see `LimitsBody`."""

    queue: int
    deadline_s: float
    load_timeout_s: float
    hang_timeout_s: float
    memory_bytes: int | None


class Sandbox(Answer):
    """How far a worker is shut in: measures in force with a word on how, others with the reason."""

    level: str
    in_force: dict[str, str]
    lacking: dict[str, str]


class Replica(Answer):
    """One worker process, or the slot of one that ended."""

    replica_id: str
    version: int
    state: str
    pid: int | None
    restarts: int
    reason: str | None
    memory_bytes: int | None
    in_flight: int
    since: datetime | None
    sandbox: Sandbox | None

    @classmethod
    def of(cls, status: domain.ReplicaStatus) -> Replica:
        """The shape of `status`."""
        return cls(
            replica_id=status.replica_id,
            version=status.version_number,
            state=status.state.value,
            pid=status.pid,
            restarts=status.restarts,
            reason=status.reason,
            memory_bytes=status.memory_bytes,
            in_flight=status.in_flight,
            since=status.since,
            sandbox=Sandbox(**status.sandbox.to_wire()) if status.sandbox else None,
        )


class Deployment(Answer):
    """Desired state, and the replicas that follow it."""

    name: str
    model: str
    traffic: list[Share]
    scale: Scale
    limits: Limits
    engine_options: dict[str, bool | int | float | str]
    created_at: datetime
    updated_at: datetime
    replicas: list[Replica]

    @classmethod
    def of(
        cls, deployment: domain.Deployment, replicas: Sequence[domain.ReplicaStatus]
    ) -> Deployment:
        """The shape of `deployment` with its `replicas`."""
        scale, limits = deployment.scale, deployment.limits
        return cls(
            name=deployment.name,
            model=deployment.model_name,
            traffic=[
                Share(version=share.version_number, percent=share.percent)
                for share in deployment.traffic
            ],
            scale=Scale(
                min_replicas=scale.min_replicas,
                max_replicas=scale.max_replicas,
                idle_unload_s=scale.idle_unload_s,
            ),
            limits=Limits(
                queue=limits.queue,
                deadline_s=limits.deadline_s,
                load_timeout_s=limits.load_timeout_s,
                hang_timeout_s=limits.hang_timeout_s,
                memory_bytes=limits.memory_bytes,
            ),
            engine_options=dict(deployment.engine_options),
            created_at=deployment.created_at,
            updated_at=deployment.updated_at,
            replicas=[Replica.of(one) for one in replicas],
        )


class ShareBody(Body):
    """A version and its share of the requests, in percent."""

    version: Number
    percent: Annotated[float, Field(strict=True, gt=0, le=100)] = 100.0


class ScaleBody(Body):
    """How many replicas each version of the deployment has; what is left out stays.

    With `min_replicas` 0 the model is loaded on the first call. `idle_unload_s` ends all replicas
    above the minimum after so many seconds without a request; null means never.
    """

    min_replicas: ReplicaCount = 1
    max_replicas: Annotated[int, Field(strict=True, ge=1, le=64)] = 1
    idle_unload_s: Seconds | None = None

    def over(self, old: domain.Scale) -> domain.Scale:
        """`old` with what was given.

        Raises:
            InvalidInput: more at least than at most.
        """
        return replace(old, **self.model_dump(exclude_unset=True))


class LimitsBody(Body):
    """Bounds of a deployment; what is left out stays.

    `queue`: waiting requests per version. `deadline_s`: seconds from admission to the end of an
    answer. `load_timeout_s`: seconds that a replica may take to load, and a request waits for
    it. `hang_timeout_s`: seconds without a heart-beat after which a replica is killed.
    `memory_bytes`: of each replica; null means no limit.
    """

    queue: Annotated[int, Field(strict=True, ge=0, le=100_000)] = 256
    deadline_s: Seconds = 300.0
    load_timeout_s: Seconds = 120.0
    hang_timeout_s: Seconds = 60.0
    memory_bytes: Annotated[int, Field(strict=True, ge=16 * 2**20, le=2**50)] | None = None

    def over(self, old: domain.Limits) -> domain.Limits:
        """`old` with what was given."""
        return replace(old, **self.model_dump(exclude_unset=True))


class DeploymentBody(Body):
    """What a deployment shall be; what is left out stays, or takes its default.

    `version` (a number or an alias) gets all requests; alternatively `traffic` splits them. A new
    deployment without either serves the newest version of `model`, which is by default the model
    of the deployment's own name.
    """

    model: Name | None = None
    version: Which | None = None
    traffic: Annotated[list[ShareBody], Field(min_length=1, max_length=MAX_SHARES)] | None = None
    scale: ScaleBody | None = None
    limits: LimitsBody | None = None
    engine_options: Annotated[dict[OptionName, Option], Field(max_length=MAX_OPTIONS)] | None = None

    @model_validator(mode="after")
    def _is_one_of_two(self) -> DeploymentBody:
        if self.version is not None and self.traffic is not None:
            raise ValueError("give 'version' or 'traffic', not both.")
        return self
