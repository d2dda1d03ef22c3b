"""Jobs of kind `fine-tune`: files become a dataset, the dataset a version, the version a model
that answers.

It is one job and not three that wait for each other: who asked for it sees one id, one state and
one list of events, and one act pauses, resumes or cancels it, wherever it is. Importing and
training are those of the jobs `import-dataset` and `train`, done in this one's name; each of its
steps finds what an earlier attempt came to.
"""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from modelry.domain.access import Permission, Principal
from modelry.domain.datasets import DatasetVersion
from modelry.domain.errors import Cancelled, InvalidInput, LeaseLost, ModelryError, NotFound
from modelry.domain.files import FilePurpose, TenantFile
from modelry.services.datasets.importing import ImportHandler
from modelry.services.files.service import NewFile
from modelry.services.finetuning.choices import (
    CHOICES,
    TRAINING_FILE,
    VALIDATION_FILE,
    check_base,
    choice_for,
    chosen_parameters,
    import_options,
)
from modelry.services.finetuning.curves import openai_names
from modelry.services.finetuning.naming import clean_suffix, model_name, results_file_id
from modelry.services.finetuning.order import FineTuningOrder, read_wanted
from modelry.services.finetuning.ports import Bases, Datasets, Files, Lineages, Serving
from modelry.services.finetuning.step_run import VALIDATING, StepRun
from modelry.services.jobs.curves import MetricPoint
from modelry.services.jobs.handlers import JobRun, Json
from modelry.services.training.handler import TrainHandler

RESULTS_NAME = "step_metrics.csv"

Curves = Callable[[Principal, str], Sequence[MetricPoint]]
"""The curves of a job by its id, as far as they are written down."""


@dataclass(frozen=True, slots=True)
class FineTuneHandler:
    """Implements `JobHandler`.

    Attributes:
        files: has the files.
        bases: knows what is trained further.
        datasets: knows what was imported.
        lineages: knows how bases were trained.
        importing: imports.
        training: trains, and registers.
        serving: deploys what came of it.
        curves: gives what the job measured.
    """

    files: Files
    bases: Bases
    datasets: Datasets
    lineages: Lineages
    importing: ImportHandler
    training: TrainHandler
    serving: Serving
    curves: Curves

    kind: ClassVar[str] = "fine-tune"

    def check(self, principal: Principal, parameters: Json) -> Json:
        """See `JobHandler.check`; takes what `order.Wanted` says.

        Raises:
            InvalidInput: files, base or parameters do not suit each other.
            NotFound: there is no such model.
            PermissionDenied: the caller may not import, train or register.
        """
        for permission in (
            Permission.DATASETS_WRITE,
            Permission.DATASETS_READ,
            Permission.MODELS_WRITE,
            Permission.MODELS_READ,
            Permission.JOBS_READ,
        ):
            principal.require(permission)
        wanted = read_wanted(parameters)
        clean_suffix(wanted.suffix)
        digests = {TRAINING_FILE: self._file(principal, TRAINING_FILE, wanted.training_file).digest}
        if wanted.validation_file is not None:
            file = self._file(principal, VALIDATION_FILE, wanted.validation_file)
            digests[VALIDATION_FILE] = file.digest
            if file.digest == digests[TRAINING_FILE]:
                raise InvalidInput(
                    "Both files have the same content; measure on other rows than are learnt from, "
                    "or leave validation_file out.",
                    param=VALIDATION_FILE,
                )
        base = self.bases.find(principal, wanted.model)
        version = base.version
        choice, recipe = choice_for(version.task, wanted.model)
        lineage = self.lineages.find(version.tenant_id, version.model_name, version.number)
        training = chosen_parameters(recipe, choice, wanted, lineage)
        check_base(recipe, version, training)
        return FineTuningOrder(
            wanted=wanted,
            base=version.ref,
            task=version.task,
            recipe=choice.recipe,
            format=choice.format,
            digests=digests,
            training=training,
            threads=self.training.limits.threads,
            engine_options=base.engine_options,
        ).to_wire()

    def _file(self, principal: Principal, param: str, file_id: str) -> TenantFile:
        try:
            found = self.files.get(principal, file_id)
        except NotFound:
            raise InvalidInput(
                f"Invalid {param}: there is no file '{file_id[:80]}'. Send it first, with the "
                "purpose 'fine-tune'.",
                param=param,
            ) from None
        if found.purpose is not FilePurpose.FINE_TUNE:
            raise InvalidInput(
                f"Invalid {param}: the file '{file_id}' has the purpose '{found.purpose}'; "
                "expected 'fine-tune'.",
                param=param,
            )
        return found

    def run(self, run: JobRun) -> Json:
        """See `JobHandler.run`.

        Raises:
            RowsInvalid, InvalidInput: the files cannot be learnt from; names file and line.
            ModelryError: see `ImportHandler.run` and `TrainHandler.run`.
        """
        order = FineTuningOrder.from_wire(run.parameters)
        wanted = order.wanted
        base_name = order.base.partition("@")[0]
        name = model_name(base_name, wanted.suffix, run.job_id)
        data = self._imported(run, order)
        pinned = self.training.check(
            run.principal,
            {
                "recipe": order.recipe,
                "dataset": data.ref,
                "model": name,
                "parameters": order.training,
                "seed": wanted.seed,
                "base": order.base,
                "threads": order.threads,
            },
        )
        told = self.training.run(StepRun(run, pinned))
        results = self._keep_results(run)
        is_deployed = self._serve(run, order, told)
        return {
            **told,
            "dataset": data.ref,
            "result_files": [results],
            "deployed": is_deployed,
        }

    # ---- files to a dataset -----------------------------------------------------------------

    def _imported(self, run: JobRun, order: FineTuningOrder) -> DatasetVersion:
        """The dataset version that the files make; not made again where there is one."""
        choice, name = CHOICES[order.task], order.wanted.training_file
        asked = self.importing.check(
            run.principal,
            {
                "name": name,
                "files": [
                    {"name": param, "digest": digest} for param, digest in order.digests.items()
                ],
                "format": choice.format,
                "options": import_options(choice, has_validation=VALIDATION_FILE in order.digests),
            },
        )
        run.progress(0, None, "files", VALIDATING)
        found = self._known(run.principal, name, asked)
        if found is None:
            made = self.importing.run(StepRun(run, asked, VALIDATING))
            found = self.datasets.find(run.principal, made["ref"])
        return found

    def _known(self, principal: Principal, name: str, asked: Json) -> DatasetVersion | None:
        """The version that these files made before, read in the same way."""
        wanted = {key: asked[key] for key in ("files", "format", "options")}
        with contextlib.suppress(NotFound):
            for version in self.datasets.versions(principal, name):
                origin = version.origin.get("import", {})
                if all(origin.get(key) == value for key, value in wanted.items()):
                    return version
        return None

    # ---- after training ---------------------------------------------------------------------

    def _keep_results(self, run: JobRun) -> str:
        """The id of the file with what was measured."""
        text = io.StringIO(newline="")
        write_curves(self.curves(run.principal, run.job_id), text)
        kept = self.files.keep_made(
            run.principal,
            results_file_id(run.job_id),
            NewFile(RESULTS_NAME, FilePurpose.FINE_TUNE_RESULTS),
            [text.getvalue().encode()],
        )
        return kept.file_id

    def _serve(self, run: JobRun, order: FineTuningOrder, told: Json) -> bool:
        """Deploy the version; that it cannot be is no reason to throw away what was learnt."""
        reference = str(told["version"])
        if Permission.DEPLOYMENTS_WRITE not in run.principal.permissions:
            run.log(f"Not deployed: the caller may not deploy. {_how_to_deploy(reference)}")
            return False
        version = self.training.catalogue.resolve(run.principal, reference)
        try:
            self.serving.serve(run.principal, version, order.engine_options, run.stop)
        except (Cancelled, LeaseLost):
            raise
        except ModelryError as error:
            run.log(f"Not deployed: {error.message} {_how_to_deploy(reference)}")
            return False
        run.log(f"Deployed as '{version.model_name}'; its first request loads it.")
        return True


def write_curves(points: Sequence[MetricPoint], text: Any) -> None:
    """Write what was measured as CSV: a row per step, a column per name, in OpenAI's words."""
    rows = [{"step": point.step, **openai_names(point.values)} for point in points]
    names = {name: None for row in rows for name in row}
    writer = csv.DictWriter(text, ["step", *(one for one in names if one != "step")], restval="")
    writer.writeheader()
    writer.writerows(rows)


def _how_to_deploy(reference: str) -> str:
    name, _, number = reference.partition("@")
    return f"Deploy version {number} of '{name}' to call it."
