"""Jobs of kind `register`: a version gets an alias, or becomes one of another model, if it is good
enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from modelry.domain.access import Permission, Principal
from modelry.domain.catalog import Version, check_name
from modelry.domain.errors import Conflict, InvalidInput, NotFound
from modelry.services.audit.acts import entered_in_thread
from modelry.services.audit.trail import ChainedTrail
from modelry.services.jobs.handlers import JobRun, Json
from modelry.services.jobs.handoff import VERSION, VERSION_OF, check_one_is_named, version_meant
from modelry.services.pipelines.asked import check_known, read_alias, read_text, read_when
from modelry.services.pipelines.gate import WHEN, Aim, Gate
from modelry.services.pipelines.ports import Catalogue
from modelry.services.training.ports import LineageStore

KIND = "register"
_KNOWN = frozenset({VERSION, VERSION_OF, "model", "alias", WHEN})


@dataclass(frozen=True, slots=True)
class RegisterHandler:
    """A `JobHandler`: `{version | version_of, model?, alias?, when?}`.

    With `model` the version becomes one of that model, too: the same files, and where they come
    from. With `alias` the alias points at it from then on.

    Attributes:
        catalogue: models, versions and aliases.
        lineages: where versions come from.
        gate: checks the conditions.
        trail: takes what is done, since it is done later than it was asked for.
    """

    catalogue: Catalogue
    lineages: LineageStore
    gate: Gate
    trail: ChainedTrail

    kind: ClassVar[str] = KIND

    def check(self, principal: Principal, parameters: Json) -> Json:
        """See `JobHandler.check`.

        Raises:
            InvalidInput: a parameter is wrong, or there is neither a model nor an alias.
            NotFound: the version is not there.
            Conflict: the model has another task than the version.
        """
        principal.require(Permission.MODELS_WRITE)
        check_known(KIND, parameters, _KNOWN)
        reference = check_one_is_named(parameters)
        model, alias = read_text(parameters, "model"), read_alias(parameters)
        if not model and not alias:
            raise InvalidInput(
                "Give 'alias', what will point at the version, such as 'champion', or 'model', "
                "the model that it becomes a version of.",
                param="alias",
            )
        if model:
            check_name(model, "model")
        told: dict[str, Any] = {VERSION_OF: parameters.get(VERSION_OF)}
        if reference is not None:
            version = self.catalogue.resolve(principal, reference)
            if model:
                self._check_task(principal, model, version)
            told = {VERSION: version.ref}
        optional = {"model": model, "alias": alias, WHEN: read_when(parameters)}
        return told | {name: value for name, value in optional.items() if value}

    def _check_task(self, principal: Principal, model: str, version: Version) -> None:
        try:
            task = self.catalogue.get_model(principal, model).model.task
        except NotFound:
            return
        if task != version.task:
            raise Conflict(
                f"Model '{model}' has the task '{task}', and {version.ref} '{version.task}'. A "
                "model keeps its task: choose another name.",
                param="model",
            )

    def run(self, run: JobRun) -> Json:
        """See `JobHandler.run`.

        Raises:
            GateNotMet: the version is not good enough; nothing is changed.
        """
        told, principal = run.parameters, run.principal
        principal.require(Permission.MODELS_WRITE)
        candidate = self.catalogue.resolve(principal, version_meant(run))
        model, alias = told.get("model") or candidate.model_name, told.get("alias", "")
        goal = f"{model}@{alias}" if alias else f"a version of '{model}'"
        conditions = self.gate.check(run, Aim(candidate, model, alias, f"become {goal}"))
        version = candidate
        if model != candidate.model_name:
            version = self._registered(run, candidate, model)
        outcome: dict[str, Any] = {
            VERSION: version.ref,
            "model": version.model_name,
            "number": version.number,
        }
        if version is not candidate:
            outcome["from"] = candidate.ref
        if alias:
            outcome |= {"alias": alias, "previous": self._moved(run, version, alias)}
        return {**outcome, "conditions": conditions}

    def _registered(self, run: JobRun, candidate: Version, model: str) -> Version:
        """The version of another model that has the same files; made once, however often."""
        self._check_task(run.principal, model, candidate)
        detail = {"job_id": run.job_id, "from": candidate.ref}
        with entered_in_thread(
            self.trail, run.principal, "versions.register", f"/models/{model}/versions", detail
        ):
            made = self.catalogue.register_copy(run.principal, candidate, model).version
        lineage = self.lineages.find(candidate.tenant_id, candidate.model_name, candidate.number)
        if lineage is not None:
            self.lineages.add(replace(lineage, model_name=model, number=made.number))
        run.log(f"{candidate.ref} is {made.ref}, too.")
        return made

    def _moved(self, run: JobRun, version: Version, alias: str) -> str | None:
        """Point the alias at the version; what it pointed at before, if at another one."""
        return move_alias(self.catalogue, self.trail, run, version, alias)


def move_alias(
    catalogue: Catalogue, trail: ChainedTrail, run: JobRun, version: Version, alias: str
) -> str | None:
    """Point an alias at a version, and enter that; what it pointed at, if at another one."""
    principal, model = run.principal, version.model_name
    numbers: Mapping[str, int] = {
        one.name: one.version_number for one in catalogue.list_aliases(principal, model)
    }
    before = numbers.get(alias)
    if before == version.number:
        return None
    detail = {"job_id": run.job_id, "version": version.ref}
    place = f"/models/{model}/aliases/{alias}"
    with entered_in_thread(trail, principal, "aliases.set_alias", place, detail):
        catalogue.set_alias(principal, model, alias, version.number, reason=f"job {run.job_id}")
    run.log(f"{model}@{alias} is {version.ref}.")
    return None if before is None else f"{model}@{before}"
