"""Fine-tuning of an installation: its job, its door's services, and what keeps what it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelry.protocols.http.acts import DoorAudit
from modelry.protocols.openai.routes import FineTuning
from modelry.services.datasets.importing import ImportHandler
from modelry.services.finetuning.handler import FineTuneHandler
from modelry.services.finetuning.needed import needing_dataset, needing_file
from modelry.services.finetuning.service import FineTuningService
from modelry.services.finetuning.serving import KnownBases, LoopServing
from modelry.services.training.handler import TrainHandler

if TYPE_CHECKING:
    from modelry.bootstrap.installation import Installation


def fine_tune_handler(
    installation: Installation, importing: ImportHandler, training: TrainHandler
) -> FineTuneHandler:
    """The job `fine-tune`, on the installation's own imports and trainings."""
    deployments, catalog = installation.deployments, installation.catalog
    return FineTuneHandler(
        files=installation.files,
        bases=KnownBases(deployments, catalog),
        datasets=installation.datasets,
        lineages=installation.database.lineages,
        importing=importing,
        training=training,
        serving=LoopServing(deployments, lambda: deployments.loop),
        curves=installation.jobs.service.metrics,
    )


def keep_what_is_needed(installation: Installation) -> None:
    """Have files and datasets that a job is about to read stay."""
    jobs = installation.jobs.service
    installation.files.used_by(
        lambda tenant_id, file_id: needing_file(file_id, jobs.open_jobs(tenant_id))
    )
    installation.datasets.used_by(
        lambda tenant_id, version: needing_dataset(version, jobs.open_jobs(tenant_id))
    )


def door_of(installation: Installation) -> FineTuning:
    """What OpenAI's door stands on."""
    return FineTuning(
        files=installation.files,
        jobs=FineTuningService(installation.jobs.service),
        audit=DoorAudit(
            installation.trail,
            installation.denials,
            installation.inference.authenticator.is_secret,
        ),
        max_file_bytes=installation.settings.max_upload_bytes,
    )
