"""The job that explains rows of a dataset, through the engine that serves the version."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar

from modelry.domain.access import Principal
from modelry.domain.catalog import Version
from modelry.domain.explanations import DatasetExplanation
from modelry.runtime_api.work import WorkOrder
from modelry.services.evaluation.assessing import Assessing, Subject
from modelry.services.evaluation.engines import OpenEngine
from modelry.services.explanation.planning import plan_of, read_parameters
from modelry.services.explanation.serving import Copies, LetGo, StudyClient
from modelry.services.jobs.handlers import JobRun, Json
from modelry.studying.contract import REPORT, ROWS, Plan
from modelry.studying.work import ExplainRows

KIND = "explain"


def _nothing(tenant_id: str, digest: str) -> None:
    del tenant_id, digest


@dataclass(kw_only=True)
class ExplainHandler(Assessing[DatasetExplanation]):
    """A `JobHandler`: `{version, dataset, …}` as `planning` reads them, or `version_of`.

    Attributes:
        let_go: forgets copies of model files.
        niceness: how far the engine stands back behind those that serve, 0 to 19.
    """

    kind: ClassVar[str] = KIND

    let_go: LetGo = _nothing
    niceness: int = 0

    def check(self, principal: Principal, parameters: Json) -> Json:
        """See `JobHandler.check`.

        Raises:
            NotFound: no such version, dataset or split.
            InvalidInput: a parameter is wrong, or the dataset lacks what the task needs.
            NotSupported: rows of this task cannot be explained.
        """
        told = read_parameters(parameters)
        checked = self._checked(principal, parameters, lambda asked: self._plan(asked, told))
        return {**checked, **told}

    def _plan(self, asked: Subject, told: Json) -> Plan:
        return plan_of(*asked, told, self.limits.scratch_bytes)

    def run(self, run: JobRun) -> Json:
        """See `JobHandler.run`."""
        asked = self._meant(run)
        version, dataset, split = asked
        plan = self._plan(asked, run.parameters)
        order = WorkOrder(ExplainRows.name, plan.to_wire(), self.limits)

        def load(which: Version) -> AbstractContextManager[OpenEngine]:
            return self.engines.loaded(run.principal, which, run.stop, self.niceness)

        run.log(f"{version.ref} is loaded to be explained on {dataset.ref}, split '{split.name}'")
        with load(version) as engine, Copies(version, load, self.let_go) as copies:
            client = StudyClient(
                run, self.datasets, self.contents, plan=plan, engine=engine, copies=copies
            )
            outcome = self.works.run(order, client, run.stop)
        self.store.add(
            DatasetExplanation(
                **self._common(run, asked, outcome, client.kept.get(REPORT)),
                explanation_id=run.job_id,  # so that another attempt at the job adds no second one
                task=version.task,
                method=str(outcome["method"]),
                sentence=str(outcome["sentence"]),
                rows_digest=client.kept[ROWS],
            )
        )
        told = {name: outcome[name] for name in ("rows", "method", "model_calls")}
        return {"explanation_id": run.job_id, "version": version.ref, **told}
