"""What fine-tuning jobs that have not ended need: their files, and the datasets made of these."""

from __future__ import annotations

from collections.abc import Iterable

from modelry.domain.datasets import DatasetVersion
from modelry.domain.jobs import Job
from modelry.services.finetuning.handler import FineTuneHandler
from modelry.services.finetuning.naming import fine_tuning_id


def needing_file(file_id: str, jobs: Iterable[Job]) -> list[str]:
    """The jobs that read a file, in words."""
    return [
        f"the fine-tuning job {fine_tuning_id(one.job_id)}"
        for one in jobs
        if one.kind == FineTuneHandler.kind
        and file_id in (one.parameters["training_file"], one.parameters["validation_file"])
    ]


def needing_dataset(version: DatasetVersion, jobs: Iterable[Job]) -> list[str]:
    """The jobs whose training file became a dataset, in words."""
    return [
        f"the job {one.job_id} ({one.kind})"
        for one in jobs
        if one.kind == FineTuneHandler.kind
        and one.parameters["training_file"] == version.dataset_name
    ]
