"""`/chains`: several jobs as one request, such as train, evaluate, deploy."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from modelry.domain.access import Permission
from modelry.protocols.management.auditing import note
from modelry.protocols.management.job_shapes import JobShape
from modelry.protocols.management.routing import managed_router, needs
from modelry.protocols.management.services import Caller, Chains
from modelry.protocols.management.shapes import Answer, Body, ShortText
from modelry.protocols.management.training import QueueingBody
from modelry.services.pipelines.chains import MAX_STEPS, Step

router = managed_router("jobs")


class ChainStep(Body):
    """One job of a chain.

    `kind` is one of `/job-kinds`, and `parameters` are those of the kind. Steps `evaluate`,
    `register` and `deploy` without `version` work on the version that a step before makes; an
    evaluation without `dataset` takes that of the training. `register` takes `alias` and `model`,
    `deploy` takes `deployment` and `alias`, both take conditions in `when`, such as
    `accuracy >= 0.9` or `accuracy >= champion`.
    """

    kind: ShortText
    parameters: dict[str, Any] = Field(default_factory=dict)


class ChainBody(QueueingBody):
    """Jobs that come one after the other; `job_name` is the name of all."""

    steps: Annotated[list[ChainStep], Field(min_length=1, max_length=MAX_STEPS)]


class Chain(Answer):
    """The jobs of a chain, in their order: those that were asked for, and evaluations of what their
    conditions compare with where these were missing.
    """

    jobs: list[JobShape]


@router.post(
    "/chains",
    status_code=201,
    summary="Put several jobs into the queue, each after those before it",
    openapi_extra=needs(Permission.JOBS_WRITE, recorded=("job_name", "priority")),
)
def start_chain(body: ChainBody, caller: Caller, chains: Chains) -> Chain:
    """All or none; needs the rights that each kind needs. If one fails, the rest is cancelled."""
    steps = [Step(one.kind, one.parameters) for one in body.steps]
    jobs = chains.start(caller, steps, body.queueing())
    note(job_ids=[one.job_id for one in jobs], kinds=[one.kind for one in jobs])
    return Chain(jobs=[JobShape.of(one) for one in jobs])
