"""Jobs of kind `train`: a recipe is run in a process of its own, and a version comes of it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from modelry.domain.access import Permission, Principal
from modelry.domain.catalog import check_name
from modelry.domain.datasets import DatasetVersion
from modelry.domain.errors import Conflict, DataDamaged, ModelFailed, NotFound
from modelry.domain.lineage import Lineage
from modelry.manifest.document import from_mapping
from modelry.runtime_api.work import WorkLimits, WorkOrder, Works
from modelry.services.jobs.handlers import JobRun, Json
from modelry.services.training.comparing import compared
from modelry.services.training.order import TrainingOrder, read_order
from modelry.services.training.ports import Catalogue, Datasets, LineageStore
from modelry.services.training.result import LAST_STEP, TrainingResult, read_result
from modelry.services.training.serving import MadeFile, TrainingClient
from modelry.training.contract import BaseVersion, ChecksBase, Recipe
from modelry.training.registry import check_installed, find_recipe, read_parameters
from modelry.training.request import WORK, TrainRequest, describe, shards_of

RESULT_ARTEFACT = "result.json"
CPU = "cpu"


@dataclass(frozen=True, slots=True)
class TrainHandler:
    """Implements `JobHandler`.

    Attributes:
        datasets: what is trained on.
        catalogue: where the version goes.
        lineages: where it is noted how it came to be.
        works: runs the recipe.
        limits: what one run may use.
        clock: gives the time.
    """

    datasets: Datasets
    catalogue: Catalogue
    lineages: LineageStore
    works: Works
    limits: WorkLimits
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    kind: ClassVar[str] = "train"

    def check(self, principal: Principal, parameters: Json) -> Json:
        """See `JobHandler.check`: data, parameters, model and base suit each other.

        Raises:
            InvalidInput: they do not; says what is the matter.
            NotFound: data, base or version that is reproduced are not there.
            Conflict: the model has a task that the recipe does not train for.
            NotSupported: the server has no library for the recipe.
        """
        principal.require(Permission.MODELS_WRITE)
        principal.require(Permission.DATASETS_READ)
        order = read_order(parameters)
        recipe = find_recipe(order.recipe)
        check_installed(recipe)
        chosen = read_parameters(recipe, order.parameters)
        self._check_model(principal, order.model, recipe)
        if order.reproduces:
            self._first_run(principal, order)
        version = self.datasets.find(principal, order.dataset)
        recipe.check(describe(version), chosen)
        order = self._with_base(principal, order)
        if isinstance(recipe, ChecksBase):
            recipe.check_base(self.base_version(principal, order), order.base_files, chosen)
        return replace(
            order,
            parameters=chosen.model_dump(mode="json"),
            dataset=version.ref,
            dataset_digest=version.digest,
            threads=order.threads or self.limits.threads,
        ).to_wire()

    def _check_model(self, principal: Principal, name: str, recipe: Recipe) -> None:
        check_name(name, "model")
        try:
            task = self.catalogue.get_model(principal, name).model.task
        except NotFound:
            return
        if task not in recipe.tasks:
            raise Conflict(
                f"Model '{name}' has the task '{task}'; recipe '{recipe.name}' trains for "
                f"{', '.join(recipe.tasks)}. A model keeps its task: choose another name.",
                param="model",
            )

    def _first_run(self, principal: Principal, order: TrainingOrder) -> Lineage:
        version = self.catalogue.resolve(principal, order.reproduces)
        found = self.lineages.find(version.tenant_id, version.model_name, version.number)
        if found is None or found.ref != order.reproduces:
            raise NotFound(
                f"'{order.reproduces[:80]}' is no version, as name@3, that was trained here.",
                param="reproduces",
            )
        return found

    def _with_base(self, principal: Principal, order: TrainingOrder) -> TrainingOrder:
        if order.base:
            version = self.catalogue.resolve(principal, order.base)
            return replace(
                order,
                base=version.ref,
                base_files={
                    one.role: {"digest": one.digest, "name": Path(one.name).name}
                    for one in version.files
                },
            )
        for role, digest in order.base_digests.items():
            try:
                self.catalogue.contents.open(principal.tenant_id, digest, role).close()
            except NotFound:
                raise NotFound(
                    f"The content {digest[:80]} of the base file '{role[:64]}' is not there; "
                    "upload it first.",
                    param=f"base_files.{role[:64]}",
                ) from None
        return order

    def base_version(self, principal: Principal, order: TrainingOrder) -> BaseVersion | None:
        """What the catalogue knows of the version that is trained further; None for none.

        Raises:
            NotFound: it is not there (any more).
        """
        if not order.base:
            return None
        version = self.catalogue.resolve(principal, order.base)
        return BaseVersion(version.ref, version.manifest)

    def limits_of(self, parameters: Json) -> WorkLimits:
        """What a run with these parameters of a recipe may use.

        A GPU is in its reach where the recipe can take one, and is not told to keep to the CPU.
        """
        wants_gpu = parameters.get("device", CPU) != CPU
        return replace(self.limits, gpu=self.limits.gpu and wants_gpu)

    def run(self, run: JobRun) -> Json:
        """See `JobHandler.run`.

        Raises:
            ModelFailed: the exported model does not answer as the trained one.
            Conflict: the dataset was changed, which cannot be by itself.
            TrainingDiverged, InvalidInput, WorkFailed …: what the recipe, or its process, said.
        """
        order = TrainingOrder.from_wire(run.parameters)
        result, is_state = self._last_result(run)
        if result is None:
            version = self.datasets.find(run.principal, order.dataset)
            if version.digest != order.dataset_digest:
                raise Conflict(
                    f"Dataset version {version.ref} is not what it was when the job was made; "
                    "start another job.",
                    param="dataset",
                )
            result = self._train(run, order, version, is_fresh=not is_state)
        if order.reproduces:
            return self._compare(run, order, result)
        return self._register(run, order, result)

    def _last_result(self, run: JobRun) -> tuple[TrainingResult | None, bool]:
        """What an earlier attempt finished, and whether one left a state to go on from."""
        found = run.checkpoint()
        if found is None:
            return None, False
        with contextlib.suppress(NotFound, DataDamaged):
            content = self.catalogue.contents.open(
                run.principal.tenant_id, found[1], "the last checkpoint"
            )
            with closing(content):
                result = read_result(content.path)
                return result, result is None
        return None, True  # lost: the work finds out, and says so

    def _train(
        self, run: JobRun, order: TrainingOrder, version: DatasetVersion, *, is_fresh: bool
    ) -> TrainingResult:
        shards = shards_of(version)
        self._hold_base(run, order)
        client = TrainingClient(
            run,
            self.datasets,
            self.catalogue.contents,
            frozenset(digest for digests in shards.values() for digest in digests),
            order.base_digests,
            is_fresh=is_fresh,
        )
        request = TrainRequest(
            order.recipe,
            order.parameters,
            order.seed,
            describe(version),
            shards,
            order.base_names,
            self.base_version(run.principal, order),
        )
        limits = replace(self.limits_of(order.parameters), threads=order.threads)
        made = self.works.run(WorkOrder(WORK, request.to_wire(), limits), client, run.stop)
        result = TrainingResult(
            manifest=made["manifest"],
            files=client.files | _reused(made.get("reused", {}), order),
            metrics=made["metrics"],
            parity=made["parity"],
            weights_digest=str(made["weights_digest"]),
            environment=made["environment"],
        )
        self._keep(run, result)
        return result

    def _hold_base(self, run: JobRun, order: TrainingOrder) -> None:
        """Uploaded files belong to nobody yet: the collector would take them."""
        if order.base:
            return
        for role, digest in order.base_digests.items():
            opened = self.catalogue.contents.open(run.principal.tenant_id, digest, role)
            with closing(opened):
                run.save_artefact(f"base-{order.base_names[role]}", digest, opened.size_bytes)

    def _keep(self, run: JobRun, result: TrainingResult) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / RESULT_ARTEFACT
            file.write_bytes(result.to_bytes())
            kept = self.catalogue.contents.keep_file(run.principal.tenant_id, file)
        run.save_checkpoint(LAST_STEP, kept.digest, kept.size_bytes)

    def _register(self, run: JobRun, order: TrainingOrder, result: TrainingResult) -> Json:
        if not result.parity["is_met"]:
            raise ModelFailed(
                f"The exported model does not answer as the trained one: on "
                f"{result.parity['rows']} rows its answers differ by up to "
                f"{result.parity['max_abs']:.3g}, and {result.parity['tolerance']:.3g} are "
                "allowed. No version was registered; the job's artefacts hold the files."
            )
        document = from_mapping({**result.manifest, "name": order.model})
        digests = {role: one.digest for role, one in result.files.items()}
        registered = self.catalogue.register(
            run.principal, document, digests, f"job:{run.job_id}"
        ).version
        self.lineages.add(
            Lineage(
                tenant_id=registered.tenant_id,
                model_name=registered.model_name,
                number=registered.number,
                job_id=run.job_id,
                recipe=order.recipe,
                parameters=order.parameters,
                seed=order.seed,
                dataset=order.dataset,
                dataset_digest=order.dataset_digest,
                weights_digest=result.weights_digest,
                created_at=self.clock(),
                created_by=run.principal.key_id,
                base=order.base,
                base_files=order.base_files,
                threads=order.threads,
                metrics=result.metrics,
                parity=result.parity,
                environment=result.environment,
            )
        )
        run.log(f"Registered {registered.ref}.")
        return {
            "version": registered.ref,
            "model": registered.model_name,
            "number": registered.number,
            **_measured(result),
        }

    def _compare(self, run: JobRun, order: TrainingOrder, result: TrainingResult) -> Json:
        comparison = compared(self._first_run(run.principal, order), result)
        run.log(
            f"Compared with {order.reproduces}: the weights are "
            f"{'the same' if comparison['has_same_weights'] else 'others'}."
        )
        return {"reproduces": order.reproduces, **comparison, **_measured(result)}


def _reused(roles: Mapping[str, str], order: TrainingOrder) -> dict[str, MadeFile]:
    """Files of the base version that are the new version's too, by its roles for them."""
    return {
        role: MadeFile(order.base_files[kept]["name"], order.base_files[kept]["digest"])
        for role, kept in roles.items()
    }


def _measured(result: TrainingResult) -> dict[str, Any]:
    measured: Mapping[str, Any] = {
        "metrics": result.metrics,
        "parity": result.parity,
        "weights_digest": result.weights_digest,
    }
    return dict(measured)
