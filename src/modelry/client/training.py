"""Training for code that waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from modelry.client.jobs import Job
from modelry.client.methods import SyncResource, blocking
from modelry.client.operations import training as operations


class Training(SyncResource):
    """Training models on the server, and where trained versions come from."""

    recipes = blocking(operations.list_recipes)
    lineage = blocking(operations.get_lineage)

    def start(
        self,
        recipe: str,
        dataset: str,
        model: str,
        *,
        parameters: Mapping[str, Any] | None = None,
        seed: int = 0,
        base: str | None = None,
        base_files: Mapping[str, Mapping[str, str]] | None = None,
        threads: int | None = None,
        job_name: str = "",
        priority: int = 0,
        after: Sequence[str | Job] = (),
        not_before: datetime | None = None,
        retries: int | None = None,
    ) -> Job:
        """Queue a job that trains a model; a version comes of it: `job.version`.

        Args:
            recipe: the name of a recipe, such as `image-classification`.
            dataset: a dataset's name (its newest version), or `name@3`.
            model: the name of the model that gets the version; made if it is not there.
            parameters: of the recipe; what is left out has its default.
            seed: all randomness follows from it.
            base: a version to train further, such as `name@3`.
            base_files: uploaded files to begin from: `{"digest", "name"}` by role.
            threads: how many compute; by default the server's choice.
            job_name: for people.
            priority: -100 to 100; the highest of the tenant goes first.
            after: jobs that must succeed before.
            not_before: when it may begin at the earliest, with a time zone.
            retries: how many failures in a row that another attempt may mend are tried again.

        Raises:
            InvalidInput: recipe, parameters and data do not suit each other.
            NotFound: dataset or base are not there.
            Conflict: the model has a task that the recipe does not train for.
        """
        flow = operations.start_training(
            recipe,
            dataset,
            model,
            parameters=parameters,
            seed=seed,
            base=base,
            base_files=base_files,
            threads=threads,
            job_name=job_name,
            priority=priority,
            after=[one.id if isinstance(one, Job) else one for one in after],
            not_before=not_before,
            retries=retries,
        )
        return Job(self._transport, self._transport.run(flow))

    def reproduce(self, model: str, version: int, *, job_name: str = "", priority: int = 0) -> Job:
        """Queue a job that trains a version again; its outcome tells whether the same came.

        Args:
            model: the model.
            version: the number of its version.
            job_name: for people.
            priority: -100 to 100; the highest of the tenant goes first.

        Raises:
            NotFound: the version, its lineage, or the data that it was trained on are not there.
        """
        flow = operations.reproduce_version(model, version, job_name=job_name, priority=priority)
        return Job(self._transport, self._transport.run(flow))
