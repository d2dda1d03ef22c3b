"""Jobs of kind `deploy`: a version is served, if it is good enough."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from modelry.domain.access import Permission, Principal
from modelry.domain.catalog import Version, check_name
from modelry.domain.deployments import Deployment
from modelry.domain.errors import Conflict, NotFound, PermissionDenied
from modelry.services.audit.acts import entered_in_thread
from modelry.services.audit.trail import ChainedTrail
from modelry.services.jobs.handlers import JobRun, Json
from modelry.services.jobs.handoff import VERSION, VERSION_OF, check_one_is_named, version_meant
from modelry.services.jobs.loop_calls import LoopCaller
from modelry.services.pipelines.asked import check_known, read_alias, read_text, read_when
from modelry.services.pipelines.gate import WHEN, Aim, Gate
from modelry.services.pipelines.ports import Catalogue, Deployments
from modelry.services.pipelines.registering import move_alias

KIND = "deploy"
LOAD_S = 1800.0
"""How long a version may take to be loaded; the deployment's own limit is shorter as a rule."""
CHANGE_S = 60.0
_KNOWN = frozenset({VERSION, VERSION_OF, "deployment", "alias", WHEN})


@dataclass(frozen=True, slots=True)
class DeployHandler:
    """A `JobHandler`: `{version | version_of, deployment?, alias?, when?}`.

    The version is loaded aside first: one that cannot be loaded changes nothing. An existing
    deployment keeps its scale, limits and options. With `alias` the alias points at the version
    once it is served.

    Attributes:
        catalogue: versions and aliases.
        deployments: serves them; on the event loop.
        gate: checks the conditions.
        trail: takes what is done, since it is done later than it was asked for.
    """

    catalogue: Catalogue
    deployments: Callable[[], Deployments]
    gate: Gate
    trail: ChainedTrail

    kind: ClassVar[str] = KIND

    def check(self, principal: Principal, parameters: Json) -> Json:
        """See `JobHandler.check`.

        Raises:
            InvalidInput: a parameter is wrong.
            NotFound: the version is not there.
            PermissionDenied: the key is for other deployments.
            Conflict: the deployment serves another model.
        """
        principal.require(Permission.DEPLOYMENTS_WRITE)
        check_known(KIND, parameters, _KNOWN)
        reference = check_one_is_named(parameters)
        name, alias = read_text(parameters, "deployment"), read_alias(parameters)
        if alias:
            principal.require(Permission.MODELS_WRITE)
        told: dict[str, Any] = {VERSION_OF: parameters.get(VERSION_OF)}
        if reference is not None:
            version = self.catalogue.resolve(principal, reference)
            told = {VERSION: version.ref}
            self._check_place(principal, name or version.model_name, version)
        elif name:
            _check_name(principal, name)
        optional = {"deployment": name, "alias": alias, WHEN: read_when(parameters)}
        return told | {key: value for key, value in optional.items() if value}

    def _check_place(self, principal: Principal, name: str, version: Version) -> Deployment | None:
        """The deployment of that name, if there is one."""
        _check_name(principal, name)
        try:
            found = self.deployments().get(principal, name)
        except NotFound:
            return None
        if found.model_name != version.model_name:
            raise Conflict(
                f"Deployment '{name}' serves model '{found.model_name}', and {version.ref} is of "
                "another one; choose another name for the deployment.",
                param="deployment",
            )
        return found

    def run(self, run: JobRun) -> Json:
        """See `JobHandler.run`.

        Raises:
            GateNotMet: the version is not good enough; nothing is changed.
            ModelFailed: it cannot be loaded; nothing is changed.
        """
        told, principal = run.parameters, run.principal
        version = self.catalogue.resolve(principal, version_meant(run))
        name, alias = told.get("deployment") or version.model_name, told.get("alias", "")
        before = self._check_place(principal, name, version)
        aim = Aim(version, version.model_name, alias, f"be deployed as '{name}'")
        conditions = self.gate.check(run, aim)
        served = _served(before)
        if served != {version.number: 100.0}:
            self._deploy(run, version, name)
        outcome: dict[str, Any] = {
            "deployment": name,
            VERSION: version.ref,
            "model": version.model_name,
            "number": version.number,
            "previous": [
                f"{version.model_name}@{one}" for one in sorted(served) if one != version.number
            ],
        }
        if alias:
            move_alias(self.catalogue, self.trail, run, version, alias)
            outcome["alias"] = alias
        return {**outcome, "conditions": conditions}

    def _deploy(self, run: JobRun, version: Version, name: str) -> None:
        deployments, principal = self.deployments(), run.principal
        caller = LoopCaller(deployments.loop, run.stop)
        run.progress(0, 2, "steps", "loading")
        caller.result(
            _try_out(deployments, version), f"the loading of {version.ref}", timeout_s=LOAD_S
        )
        run.progress(1, 2, "steps", "deploying")
        detail = {"job_id": run.job_id, "version": version.ref}
        with entered_in_thread(
            self.trail, principal, "deployments.deploy", f"/deployments/{name}", detail
        ):
            caller.result(
                deployments.deploy(
                    principal, model=version.model_name, version=version.number, name=name
                ),
                f"the deployment of {version.ref}",
                timeout_s=CHANGE_S,
            )
        caller.result(deployments.load(principal, name), f"the start of '{name}'", timeout_s=LOAD_S)
        run.progress(2, 2, "steps", "deploying")
        run.log(f"'{name}' serves {version.ref}.")


async def _try_out(deployments: Deployments, version: Version) -> None:
    """Load a version aside: what cannot be loaded must not take the place of what is served."""
    async with deployments.privately(version):
        pass


def _served(deployment: Deployment | None) -> dict[int, float]:
    """What each version answers, in percent."""
    if deployment is None:
        return {}
    return {one.version_number: one.percent for one in deployment.traffic}


def _check_name(principal: Principal, name: str) -> None:
    check_name(name, "deployment")
    if not principal.covers(name):
        raise PermissionDenied(
            f"This key is for some deployments only, and '{name}' is none of them: "
            f"{', '.join(sorted(principal.deployments))}."
        )
