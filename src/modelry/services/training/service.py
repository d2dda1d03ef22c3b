"""Recipes, starting to train, and where trained versions come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from modelry.domain.access import Permission, Principal
from modelry.domain.errors import NotFound
from modelry.domain.jobs import Job
from modelry.domain.lineage import Lineage
from modelry.services.jobs.handlers import Json
from modelry.services.jobs.service import JobsService
from modelry.services.training.handler import TrainHandler
from modelry.services.training.ports import Catalogue, LineageStore
from modelry.services.training.search import SearchHandler
from modelry.training.contract import Recipe
from modelry.training.registry import recipes


@dataclass(frozen=True, slots=True)
class Queueing:
    """How a job stands in the queue; see `JobsService.submit`."""

    name: str = ""
    priority: int = 0
    after: Sequence[str] = ()
    not_before: datetime | None = None
    retries: int | None = None

    def options(self) -> dict[str, Any]:
        """Arguments of `JobsService.submit`."""
        told: dict[str, Any] = {
            "name": self.name,
            "priority": self.priority,
            "after": tuple(self.after),
            "not_before": self.not_before,
        }
        return told if self.retries is None else {**told, "retries": self.retries}


class TrainingService:
    """Training, as callers see it; may be used from any thread.

    Args:
        jobs: runs it.
        catalogue: knows versions.
        lineages: knows where they come from.
    """

    def __init__(self, jobs: JobsService, catalogue: Catalogue, lineages: LineageStore) -> None:
        self._jobs = jobs
        self._catalogue = catalogue
        self._lineages = lineages

    def recipes(self, principal: Principal) -> Sequence[Recipe]:
        """All recipes, by name."""
        principal.require(Permission.JOBS_READ)
        return list(recipes().values())

    def start(self, principal: Principal, order: Json, queueing: Queueing) -> Job:
        """Queue a job that trains; see `TrainHandler.check` for what `order` holds.

        Raises:
            PermissionDenied, InvalidInput, NotFound, Conflict, QuotaExceeded: see
                `TrainHandler.check` and `JobsService.submit`.
        """
        return self._jobs.submit(principal, TrainHandler.kind, order, **queueing.options())

    def search(self, principal: Principal, order: Json, queueing: Queueing) -> Job:
        """Queue a job that tries parameters; see `SearchHandler.check` for what `order` holds.

        Raises:
            NotSupported: Optuna is not installed on the server.
            PermissionDenied, InvalidInput, NotFound, Conflict, QuotaExceeded: see
                `SearchHandler.check` and `JobsService.submit`.
        """
        return self._jobs.submit(principal, SearchHandler.kind, order, **queueing.options())

    def lineage(self, principal: Principal, reference: str) -> Lineage:
        """Where a version comes from.

        Raises:
            NotFound: there is no such version, or it was not trained here.
        """
        principal.require(Permission.MODELS_READ)
        version = self._catalogue.resolve(principal, reference)
        found = self._lineages.find(version.tenant_id, version.model_name, version.number)
        if found is None:
            raise NotFound(
                f"Version {version.ref} was not trained here; it came from '{version.source}'.",
                param="version",
            )
        return found

    def reproduce(self, principal: Principal, reference: str, queueing: Queueing) -> Job:
        """Queue a job that trains a version again, and tells whether the same comes of it.

        Raises:
            NotFound: the version, its lineage, or the data that it was trained on are not there.
            PermissionDenied: the caller may not train.
        """
        found = self.lineage(principal, reference)
        order: dict[str, Any] = {
            "recipe": found.recipe,
            "dataset": found.dataset,
            "model": found.model_name,
            "parameters": dict(found.parameters),
            "seed": found.seed,
            "reproduces": found.ref,
            "threads": found.threads,
        }
        if found.base:
            order["base"] = found.base
        elif found.base_files:
            order["base_files"] = {role: dict(one) for role, one in found.base_files.items()}
        return self._jobs.submit(principal, TrainHandler.kind, order, **queueing.options())
