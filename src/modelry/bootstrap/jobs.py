"""Jobs of an installation: the queue, what runs it, and every kind of job that there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from modelry.bootstrap.fine_tuning import fine_tune_handler, keep_what_is_needed
from modelry.bootstrap.works import explanation_limits, work_limits
from modelry.services.datasets.deriving import DeriveHandler
from modelry.services.datasets.importing import ImportHandler
from modelry.services.datasets.needed import needing
from modelry.services.evaluation.engines import EngineLoader
from modelry.services.evaluation.handler import EvaluateHandler
from modelry.services.explanation.asking import ExplanationJobs
from modelry.services.explanation.handler import ExplainHandler
from modelry.services.explanation.one import ExplainOneHandler
from modelry.services.jobs.attempts import Attempts
from modelry.services.jobs.handlers import JobHandler
from modelry.services.jobs.letting_go import LettingGo
from modelry.services.jobs.metering import JobMetering
from modelry.services.jobs.ports import Contents
from modelry.services.jobs.queue import LEASE_S, JobQueue
from modelry.services.jobs.runner import JobRunner, RunnerLimits
from modelry.services.jobs.service import JobsService
from modelry.services.pipelines.chains import ChainsService
from modelry.services.pipelines.deploying import DeployHandler
from modelry.services.pipelines.gate import Gate
from modelry.services.pipelines.registering import RegisterHandler
from modelry.services.tenancy.callers import KnownCallers
from modelry.services.training.handler import TrainHandler
from modelry.services.training.search import SearchHandler

if TYPE_CHECKING:
    from modelry.bootstrap.installation import Installation


LIGHT_KINDS = frozenset(
    {
        ImportHandler.kind,
        DeriveHandler.kind,
        RegisterHandler.kind,
        DeployHandler.kind,
        ExplainOneHandler.kind,
    }
)
"""What takes minutes at most and little memory; see `JobsService.add_handler`."""


def handlers_of(installation: Installation) -> Sequence[JobHandler]:
    """Every kind of job, wired; services that submit jobs get `installation.jobs.service`.

    A kind is added here, by one line: its handler is constructed from what `installation` has.
    """
    database, catalog = installation.database, installation.catalog
    limits = work_limits(installation.settings)
    training = TrainHandler(
        installation.datasets, catalog, database.lineages, installation.works, limits
    )
    importing = ImportHandler(installation.datasets, installation.hub_files)
    gate, trail = Gate(catalog, database.evaluations), installation.trail
    engines = EngineLoader(
        installation.deployments, installation.inference, lambda: installation.deployments.loop
    )
    return (
        EvaluateHandler(
            store=database.evaluations,
            versions=catalog,
            datasets=installation.datasets,
            contents=catalog.contents,
            engines=engines,
            works=installation.works,
            limits=limits,
        ),
        ExplainOneHandler(
            installation.inference,
            catalog.contents,
            installation.works,
            explanation_limits(installation.settings),
            lambda: installation.deployments.loop,
        ),
        ExplainHandler(
            store=database.explanations,
            versions=catalog,
            datasets=installation.datasets,
            contents=catalog.contents,
            engines=engines,
            works=installation.works,
            limits=limits,
            let_go=installation.jobs.letting_go,
            niceness=installation.settings.work_niceness,
        ),
        training,
        SearchHandler(training),
        RegisterHandler(catalog, database.lineages, gate, trail),
        DeployHandler(catalog, lambda: installation.deployments, gate, trail),
        DeriveHandler(installation.datasets),
        importing,
        fine_tune_handler(installation, importing, training),
    )


class Jobs:
    """The jobs of an installation.

    Args:
        installation: with database, catalogue and encryption wired.
        contents: the files of artefacts.
    """

    def __init__(self, installation: Installation, contents: Contents) -> None:
        settings, store = installation.settings, installation.database.jobs
        self.letting_go = LettingGo(installation.catalog.discard)
        self.service = JobsService(store, contents)
        self.explanations = ExplanationJobs(self.service, installation.catalog.contents)
        self.metering = JobMetering(store, installation.database.usage)
        self.chains = ChainsService(
            self.service,
            installation.catalog,
            installation.datasets,
            installation.database.evaluations,
        )
        self.runner = JobRunner(
            self.service,
            JobQueue(store, installation.folder.server_id(), lease_s=LEASE_S),
            Attempts(store),
            KnownCallers(installation.database.keys),
            RunnerLimits(
                jobs=settings.jobs,
                light_jobs=settings.light_jobs,
                jobs_per_tenant=settings.tenant_jobs,
                lease_s=LEASE_S,
            ),
            let_go=self.letting_go,
        )

    def add_handlers(self, installation: Installation) -> None:
        """Add every kind of job, once all services are wired."""
        for handler in handlers_of(installation):
            self.service.add_handler(handler, is_light=handler.kind in LIGHT_KINDS)
        installation.datasets.used_by(
            lambda tenant_id, version: needing(version, self.service.open_jobs(tenant_id))
        )
        keep_what_is_needed(installation)
