"""Chains: several jobs as one request, each after those before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelry.domain.access import Principal
from modelry.domain.catalog import Version
from modelry.domain.errors import InvalidInput, NotFound
from modelry.domain.jobs import DEFAULT_RETRIES, Job
from modelry.services.evaluation.asked import the_split
from modelry.services.evaluation.handler import KIND as EVALUATE
from modelry.services.evaluation.ports import Datasets
from modelry.services.jobs.handoff import VERSION, VERSION_OF
from modelry.services.jobs.service import JobsService
from modelry.services.jobs.submission import Submission, make_id
from modelry.services.pipelines.conditions import read_conditions
from modelry.services.pipelines.deploying import KIND as DEPLOY
from modelry.services.pipelines.gate import WHEN
from modelry.services.pipelines.ports import Catalogue, Evaluations
from modelry.services.pipelines.registering import KIND as REGISTER
from modelry.services.training.handler import TrainHandler
from modelry.services.training.search import SearchHandler
from modelry.services.training.service import Queueing

MAX_STEPS = 16
TRAIN, SEARCH = TrainHandler.kind, SearchHandler.kind
_MAKERS = frozenset({TRAIN, SEARCH, REGISTER})
_TAKERS = frozenset({EVALUATE, REGISTER, DEPLOY})
_GATED = frozenset({REGISTER, DEPLOY})


@dataclass(frozen=True, slots=True)
class Step:
    """One job of a chain; what it leaves out comes from the steps before."""

    kind: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChainsService:
    """Puts chains into the queue.

    Attributes:
        jobs: the queue.
        catalogue: knows the versions that conditions compare with.
        datasets: knows what is measured on.
        evaluations: knows what was measured already.
    """

    jobs: JobsService
    catalogue: Catalogue
    datasets: Datasets
    evaluations: Evaluations

    def start(self, principal: Principal, steps: Sequence[Step], queueing: Queueing) -> list[Job]:
        """Put the jobs of a chain into the queue, all or none; in their order.

        Each step comes after all before it. A step that works on a version and names none works
        on that of the last step before which makes one; an evaluation without a dataset takes
        that of the training. Where a condition compares with a version that was not measured on
        the rows of the chain's evaluations, an evaluation of that version is put before it.

        Args:
            principal: in whose name.
            steps: 1 to 16.
            queueing: name, priority and retries of all; `after` and `not_before` of the first.

        Raises:
            InvalidInput: a step is not complete, or not possible.
            ModelryError: see `JobsService.submit`.
        """
        if not 1 <= len(steps) <= MAX_STEPS:
            raise InvalidInput(
                f"The chain has {len(steps)} steps; 1 to {MAX_STEPS} are possible.", param="steps"
            )
        links: list[Submission] = []
        for number, step in enumerate(steps):
            parameters = self._completed(number, step, links)
            if step.kind in _GATED:
                links += self._missing(principal, step.kind, parameters, links, queueing)
            links.append(_link(step.kind, parameters, links, queueing))
        return self.jobs.submit_all(principal, links)

    def _completed(
        self, number: int, step: Step, before: Sequence[Submission]
    ) -> Mapping[str, Any]:
        """The parameters of a step with what comes from the steps before."""
        parameters = dict(step.parameters)
        names_one = parameters.get(VERSION) is not None or parameters.get(VERSION_OF) is not None
        if step.kind in _TAKERS and not names_one:
            parameters[VERSION_OF] = _maker(number, step, before)
        if step.kind == EVALUATE and parameters.get("dataset") is None:
            parameters["dataset"] = _dataset(number, before)
        return parameters

    def _missing(
        self,
        principal: Principal,
        kind: str,
        parameters: Mapping[str, Any],
        before: Sequence[Submission],
        queueing: Queueing,
    ) -> list[Submission]:
        """Evaluations of what a gate compares with, where they were not made yet."""
        model = _model(kind, parameters, before)
        wanted: dict[tuple[str, ...], Submission] = {}
        for condition in read_conditions(parameters.get(WHEN)):
            if not condition.reference or ("@" not in condition.reference and not model):
                continue
            try:
                other = self.catalogue.resolve(principal, condition.reference_in(model))
            except NotFound:  # told by the gate, if it is then not there either
                continue
            for one in before:
                asked = one.parameters
                if one.kind != EVALUATE or asked.get(VERSION) == other.ref:
                    continue
                place = (other.ref, str(asked["dataset"]), str(asked.get("split")))
                if place not in wanted and not self._is_measured(principal, other, asked):
                    same = {name: asked[name] for name in asked if name != VERSION_OF}
                    wanted[place] = _link(EVALUATE, {**same, VERSION: other.ref}, (), queueing)
        return [*wanted.values()]

    def _is_measured(
        self, principal: Principal, version: Version, asked: Mapping[str, Any]
    ) -> bool:
        dataset = self.datasets.find(principal, str(asked["dataset"]))
        split = the_split(dataset, asked.get("split"))
        known = self.evaluations.of_version(version.tenant_id, version.model_name, version.number)
        return any(
            (one.version_digest, one.dataset_digest, one.split)
            == (version.digest, dataset.digest, split.name)
            for one in known
        )


def _link(
    kind: str,
    parameters: Mapping[str, Any],
    before: Sequence[Submission],
    queueing: Queueing,
) -> Submission:
    """A job of the chain: after all that come before it."""
    is_first = not before
    return Submission(
        kind,
        parameters,
        name=queueing.name,
        priority=queueing.priority,
        after=tuple(queueing.after) if is_first else tuple(one.job_id for one in before),
        not_before=queueing.not_before if is_first else None,
        retries=DEFAULT_RETRIES if queueing.retries is None else queueing.retries,
        job_id=make_id(),
    )


def _maker(number: int, step: Step, before: Sequence[Submission]) -> str:
    """The id of the last job before that makes a version."""
    for one in reversed(before):
        if one.kind in _MAKERS:
            if one.kind == SEARCH and one.parameters.get("register") is False:
                raise InvalidInput(
                    f"Step {number + 1}, '{step.kind}', needs the version of the search before; "
                    "have it register one.",
                    param="steps",
                )
            return one.job_id
    raise InvalidInput(
        f"Step {number + 1}, '{step.kind[:80]}', names no version, and no step before makes one.",
        param="steps",
    )


def _dataset(number: int, before: Sequence[Submission]) -> str:
    """The dataset that the chain trains on."""
    for one in reversed(before):
        training = one.parameters.get("training") if one.kind == SEARCH else one.parameters
        found = training.get("dataset") if isinstance(training, Mapping) else None
        if isinstance(found, str):
            return found
    raise InvalidInput(
        f"Step {number + 1}, '{EVALUATE}', names no dataset, and no step before has one.",
        param="steps",
    )


def _model(kind: str, parameters: Mapping[str, Any], before: Sequence[Submission]) -> str:
    """The model whose aliases the conditions of a step mean; empty where it is not known yet."""
    if kind == REGISTER and isinstance(parameters.get("model"), str):
        return str(parameters["model"])
    reference = parameters.get(VERSION)
    if isinstance(reference, str):
        return reference.partition("@")[0]
    maker = parameters.get(VERSION_OF)
    for one in before:
        if one.job_id == maker:
            if one.kind == REGISTER:
                return _model(REGISTER, one.parameters, before)
            training = one.parameters.get("training") if one.kind == SEARCH else one.parameters
            model = training.get("model") if isinstance(training, Mapping) else None
            return model if isinstance(model, str) else ""
    return ""
