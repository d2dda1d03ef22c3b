"""The job that explains rows of a dataset, through the engine that serves the version."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import ClassVar

from modelry.domain.access import Permission, Principal
from modelry.domain.catalog import Version
from modelry.domain.datasets import DatasetVersion, Split
from modelry.domain.explanations import DatasetExplanation
from modelry.runtime_api.work import WorkLimits, WorkOrder, Works
from modelry.services.catalog.contents import Contents
from modelry.services.evaluation.asked import the_split, word_in
from modelry.services.evaluation.engines import EngineLoader
from modelry.services.evaluation.ports import Datasets, Versions
from modelry.services.explanation.planning import plan_of, read_parameters
from modelry.services.explanation.ports import ExplanationStore
from modelry.services.explanation.serving import Copies, LetGo, StudyClient
from modelry.services.jobs.handlers import JobRun, Json
from modelry.services.jobs.handoff import VERSION, VERSION_OF, check_one_is_named, version_meant
from modelry.studying.contract import REPORT, ROWS
from modelry.studying.work import ExplainRows

KIND = "explain"


class ExplainHandler:
    """A `JobHandler`: `{version, dataset, …}` as `planning` reads them, or `version_of`.

    Args:
        store: keeps what was found.
        versions: the catalogue.
        datasets: the datasets.
        contents: keeps reports, rows and checkpoints.
        engines: loads versions.
        works: runs the work `explain-rows`.
        limits: what that may use.
        let_go: forgets copies of model files.
        niceness: how far the engine stands back behind those that serve, 0 to 19.
        clock: gives the time.
    """

    kind: ClassVar[str] = KIND

    def __init__(
        self,
        *,
        store: ExplanationStore,
        versions: Versions,
        datasets: Datasets,
        contents: Contents,
        engines: EngineLoader,
        works: Works,
        limits: WorkLimits | None = None,
        let_go: LetGo = lambda _tenant_id, _digest: None,
        niceness: int = 0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._versions = versions
        self._datasets = datasets
        self._contents = contents
        self._engines = engines
        self._works = works
        self._limits = replace(limits or WorkLimits(), threads=1)
        self._let_go = let_go
        self._niceness = niceness
        self._clock = clock

    def check(self, principal: Principal, parameters: Json) -> Json:
        """See `JobHandler.check`.

        Raises:
            NotFound: no such version, dataset or split.
            InvalidInput: a parameter is wrong, or the dataset lacks what the task needs.
            NotSupported: rows of this task cannot be explained.
        """
        principal.require(Permission.MODELS_WRITE)
        principal.require(Permission.DATASETS_READ)
        told = read_parameters(parameters)
        reference = check_one_is_named(parameters)
        dataset = self._datasets.find(principal, word_in(parameters, "dataset"))
        split = the_split(dataset, parameters.get("split"))
        if reference is None:
            which = {VERSION_OF: parameters[VERSION_OF]}
        else:
            version = self._versions.resolve(principal, reference)
            plan_of(version, dataset, split, told, self._limits.scratch_bytes)
            which = {VERSION: version.ref}
        return {**which, "dataset": dataset.ref, "split": split.name, **told}

    def run(self, run: JobRun) -> Json:
        """See `JobHandler.run`."""
        principal = run.principal
        version = self._versions.resolve(principal, version_meant(run))
        dataset = self._datasets.find(principal, run.parameters["dataset"])
        split = the_split(dataset, run.parameters["split"])
        plan = plan_of(version, dataset, split, run.parameters, self._limits.scratch_bytes)
        order = WorkOrder(ExplainRows.name, plan.to_wire(), self._limits)
        run.log(f"{version.ref} is loaded to be explained on {dataset.ref}, split '{split.name}'")
        with ExitStack() as stack:
            loaded = self._engines.loaded(principal, version, run.stop, self._niceness)
            engine = stack.enter_context(loaded)
            copies = stack.enter_context(
                Copies(
                    version,
                    lambda copy: self._engines.loaded(principal, copy, run.stop, self._niceness),
                    self._let_go,
                )
            )
            client = StudyClient(
                run, self._datasets, self._contents, plan=plan, engine=engine, copies=copies
            )
            outcome = self._works.run(order, client, run.stop)
        self._keep(run, (version, dataset, split), outcome, client)
        told = {name: outcome[name] for name in ("rows", "method", "model_calls")}
        return {"explanation_id": run.job_id, "version": version.ref, **told}

    def _keep(
        self,
        run: JobRun,
        explained: tuple[Version, DatasetVersion, Split],
        outcome: Json,
        client: StudyClient,
    ) -> None:
        version, dataset, split = explained
        self._store.add(
            DatasetExplanation(
                tenant_id=version.tenant_id,
                explanation_id=run.job_id,  # so that another attempt at the job adds no second one
                model_name=version.model_name,
                version_number=version.number,
                version_digest=version.digest,
                task=version.task,
                dataset=dataset.ref,
                dataset_digest=dataset.digest,
                split=split.name,
                rows=int(outcome["rows"]),
                method=str(outcome["method"]),
                sentence=str(outcome["sentence"]),
                report_digest=client.kept[REPORT],
                rows_digest=client.kept[ROWS],
                job_id=run.job_id,
                created_at=self._clock(),
                created_by=run.principal.key_id,
            )
        )
