"""Whether a version is as good as it has to be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelry.domain.access import Permission, Principal
from modelry.domain.catalog import Version
from modelry.domain.errors import Conflict, GateNotMet, InvalidInput, NotFound
from modelry.domain.evaluations import Evaluation
from modelry.services.jobs.handlers import JobRun
from modelry.services.jobs.handoff import VERSION
from modelry.services.pipelines.conditions import Condition, read_conditions
from modelry.services.pipelines.ports import Catalogue, Evaluations

WHEN = "when"


@dataclass(frozen=True, slots=True)
class Aim:
    """What a version is to become.

    Attributes:
        version: the candidate.
        model: whose aliases conditions mean.
        alias: what the job will point at it: conditions that compare with this alias are met while
            nothing has it, since there is nothing to be worse than.
        what: words for it: `be deployed as 'pets'`.
    """

    version: Version
    model: str
    alias: str
    what: str


@dataclass(frozen=True, slots=True)
class _Reading:
    """A metric of the candidate, and where it was measured; None for what its training told."""

    value: float
    evaluation: Evaluation | None


@dataclass(frozen=True, slots=True)
class Gate:
    """Checks conditions of jobs.

    Attributes:
        catalogue: knows what versions are compared with.
        evaluations: knows what was measured.
    """

    catalogue: Catalogue
    evaluations: Evaluations

    def check(self, run: JobRun, aim: Aim) -> list[dict[str, Any]]:
        """See that a job's conditions are met; what was found, for its outcome.

        A condition must hold by every evaluation of the version in the outcomes of the jobs before
        that has its metric; else by what its training told; else by its newest evaluation.

        Raises:
            GateNotMet: they are not.
            InvalidInput: a metric was not measured.
            Conflict: what it is compared with was not measured on the same rows.
            NotFound: what it is compared with is not there.
        """
        conditions = read_conditions(run.parameters.get(WHEN))
        if not conditions:
            return []
        run.principal.require(Permission.MODELS_READ)
        found = [
            self._checked(run.principal, aim, one, reading)
            for one in conditions
            for reading in self._readings(run, aim.version, one.metric)
        ]
        for one in found:
            run.log(_told(one))
        missed = [one for one in found if not one["is_met"]]
        if missed:
            reasons = "; ".join(_told(one) for one in missed)
            raise GateNotMet(
                f"{aim.version.ref} is not as good as it has to be to {aim.what}: {reasons}. "
                "Nothing was changed."
            )
        return found

    def _checked(
        self, principal: Principal, aim: Aim, condition: Condition, reading: _Reading
    ) -> dict[str, Any]:
        told: dict[str, Any] = {"condition": str(condition), "value": reading.value}
        if reading.evaluation is not None:
            told["on"] = f"{reading.evaluation.dataset}, split '{reading.evaluation.split}'"
        bound = condition.number
        if condition.reference:
            other = self._other(principal, aim, condition)
            if other is None:
                return {**told, "bound": None, "compared_with": None, "is_met": True}
            bound += self._same_metric(other, condition.metric, reading)
            told["compared_with"] = other.ref
        return {**told, "bound": bound, "is_met": condition.is_met(reading.value, bound)}

    def _other(self, principal: Principal, aim: Aim, condition: Condition) -> Version | None:
        reference = condition.reference_in(aim.model)
        try:
            return self.catalogue.resolve(principal, reference)
        except NotFound:
            if reference == f"{aim.model}@{aim.alias}":
                return None
            raise NotFound(
                f"The condition '{condition}' compares with '{reference}', which is not there.",
                param=WHEN,
            ) from None

    def _same_metric(self, other: Version, metric: str, reading: _Reading) -> float:
        """The metric of another version on the same rows."""
        mine = reading.evaluation
        if mine is None:
            raise InvalidInput(
                f"To be compared with {other.ref}, '{metric}' must be measured by an evaluation; "
                "its training alone told it.",
                param=WHEN,
            )
        for one in self._of(other):
            if (one.dataset_digest, one.split) == (mine.dataset_digest, mine.split):
                if metric in one.metrics:
                    return one.metrics[metric].value
                break
        raise Conflict(
            f"{other.ref} was not measured on {mine.dataset}, split '{mine.split}', by '{metric}': "
            f"evaluate it there (modelry evaluate {other.ref} --on {mine.dataset} --split "
            f"{mine.split}), then resume this job.",
            param=WHEN,
        )

    def _readings(self, run: JobRun, version: Version, metric: str) -> list[_Reading]:
        refs = {version.ref, *_sources_of(version.ref, run.inputs.values())}
        own = [one for one in run.inputs.values() if one.get(VERSION) in refs]
        measured = list(self._measured(version.tenant_id, own))
        having = [one for one in measured if metric in one.metrics]
        if having:
            return [_Reading(one.metrics[metric].value, one) for one in having]
        told = [one["metrics"][metric] for one in own if _is_told(one, metric)]
        if told:
            return [_Reading(float(told[-1]), None)]
        kept = self._of(version)
        for one in kept:
            if metric in one.metrics:
                return [_Reading(one.metrics[metric].value, one)]
        names = {name for one in (*measured, *kept) for name in one.metrics}
        names |= {name for one in own for name in one.get("metrics", ()) if _is_told(one, name)}
        raise InvalidInput(
            f"'{metric}' of {version.ref} was not measured; there are: "
            f"{', '.join(sorted(names)) or 'none'}.",
            param=WHEN,
        )

    def _measured(
        self, tenant_id: str, outcomes: Sequence[Mapping[str, Any]]
    ) -> Iterator[Evaluation]:
        for one in outcomes:
            evaluation_id = one.get("evaluation_id")
            if isinstance(evaluation_id, str):
                found = self.evaluations.find(tenant_id, evaluation_id)
                if found is not None:
                    yield found

    def _of(self, version: Version) -> list[Evaluation]:
        """The evaluations of this very version, not of one that had its number before."""
        found = self.evaluations.of_version(version.tenant_id, version.model_name, version.number)
        return [one for one in found if one.version_digest == version.digest]


def _sources_of(ref: str, outcomes: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The versions that a version was registered from, by the jobs before."""
    for one in outcomes:
        if one.get(VERSION) == ref and isinstance(one.get("from"), str):
            yield one["from"]


def _is_told(outcome: Mapping[str, Any], metric: str) -> bool:
    """Whether a training told a metric as a plain number."""
    metrics = outcome.get("metrics")
    value = metrics.get(metric) if isinstance(metrics, Mapping) else None
    return isinstance(value, int | float) and not isinstance(value, bool)


def _told(found: Mapping[str, Any]) -> str:
    """`accuracy >= champion: 0.91 on digits@1, split 'test'; pets@2 has 0.92`."""
    where = f" on {found['on']}" if "on" in found else ""
    other = found.get("compared_with")
    if other is not None:
        bound = f"; the bound by {other} is {found['bound']:.6g}"
    elif found["bound"] is None:
        bound = "; there is nothing yet to compare it with"
    else:
        bound = ""
    return f"{found['condition']}: it is {found['value']:.6g}{where}{bound}"
