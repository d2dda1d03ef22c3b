"""Fine-tuning jobs, their events and checkpoints in OpenAI's shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from modelry.domain.errors import InvalidInput
from modelry.domain.jobs import ENDED, Job, JobState
from modelry.services.finetuning.choices import (
    TRAINING_FILE,
    VALIDATION_FILE,
    told_hyperparameters,
)
from modelry.services.finetuning.events import FineTuningEvent, Place
from modelry.services.finetuning.naming import fine_tuning_id
from modelry.services.finetuning.order import FineTuningOrder
from modelry.services.finetuning.service import ModelCheckpoint
from modelry.services.finetuning.step_run import VALIDATING

_EVENT_ID = re.compile(r"ftevent-[a-z0-9]{1,64}-([0-9]{1,10})-([0-9]{1,10})")
_CHECKPOINT_METRICS = (
    "train_loss",
    "train_mean_token_accuracy",
    "valid_loss",
    "valid_mean_token_accuracy",
    "full_valid_loss",
    "full_valid_mean_token_accuracy",
)


def job_answer(job: Job) -> dict[str, Any]:
    """A job; `modelry` tells what OpenAI's shape has no place for."""
    order = FineTuningOrder.from_wire(job.parameters)
    wanted, outcome = order.wanted, job.outcome or {}
    hyperparameters = told_hyperparameters(wanted, order.training)
    trained_tokens = outcome.get("metrics", {}).get("trained_tokens")
    return {
        "id": fine_tuning_id(job.job_id),
        "object": "fine_tuning.job",
        "created_at": _seconds(job.submitted_at),
        "finished_at": _seconds(job.ended_at),
        "model": wanted.model,
        "fine_tuned_model": outcome.get("model"),
        "organization_id": job.tenant_id,
        "status": status_of(job),
        "error": _error(job),
        "training_file": wanted.training_file,
        "validation_file": wanted.validation_file,
        "result_files": list(outcome.get("result_files", ())),
        "hyperparameters": hyperparameters,
        "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
        "seed": wanted.seed,
        "suffix": wanted.suffix or None,
        "metadata": None if wanted.metadata is None else dict(wanted.metadata),
        "trained_tokens": None if trained_tokens is None else int(trained_tokens),
        "estimated_finish": _finish(job),
        "integrations": [],
        "modelry": {
            "job_id": job.job_id,
            "base": order.base,
            "recipe": order.recipe,
            "parameters": dict(order.training),
            "dataset": outcome.get("dataset"),
            "version": outcome.get("version"),
            "deployed": outcome.get("deployed"),
        },
    }


def status_of(job: Job) -> str:
    """OpenAI's word for where a job is.

    One that somebody cancelled or paused is told as such as soon as its state says so; until then
    it is what it still is.
    """
    if job.state is JobState.RUNNING and _is_validating(job):
        return "validating_files"
    return job.state.value


def is_settled(job: Job) -> bool:
    """Whether what was wanted of the job has happened to it."""
    return job.request is None or job.state in ENDED


def _is_validating(job: Job) -> bool:
    return job.progress is None or job.progress.phase.startswith(VALIDATING)


def _error(job: Job) -> dict[str, Any] | None:
    """Why it failed; `param` is the file that is the matter, if one is."""
    error = job.error
    if error is None:
        return None
    param = None
    if job.state is JobState.FAILED:
        named = [one for one in (VALIDATION_FILE, TRAINING_FILE) if one in error.message]
        if named or (_is_validating(job) and error.code in ("invalid_input", "rows_invalid")):
            param = named[0] if named else TRAINING_FILE
    code = error.code if param is None else f"invalid_{param}"
    return {"code": code, "message": error.message, "param": param}


def _finish(job: Job) -> int | None:
    if job.state is not JobState.RUNNING or job.progress is None or _is_validating(job):
        return None
    left_s = job.progress.left_s()
    return None if left_s is None else _seconds(job.progress.at + timedelta(seconds=left_s))


def _seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())


def event_answer(job: Job, event: FineTuningEvent) -> dict[str, Any]:
    """One event."""
    sequence, at = event.place
    return {
        "id": f"ftevent-{_suffix(job)}-{sequence}-{at}",
        "object": "fine_tuning.job.event",
        "created_at": _seconds(event.at),
        "level": event.level,
        "message": event.message,
        "type": event.kind,
        "data": dict(event.data),
    }


def event_place(event_id: str | None) -> Place | None:
    """Where an event is, by its id.

    Raises:
        InvalidInput: no event is called so.
    """
    if event_id is None:
        return None
    match = _EVENT_ID.fullmatch(event_id)
    if match is None:
        raise InvalidInput(
            f"after is '{event_id[:80]}'; expected the id of an event of this job.", param="after"
        )
    return int(match[1]), int(match[2])


def checkpoint_answer(checkpoint: ModelCheckpoint) -> dict[str, Any]:
    """One model that came of a job."""
    job = checkpoint.job
    model = (job.outcome or {})["model"]
    return {
        "id": f"ftckpt-{_suffix(job)}",
        "object": "fine_tuning.job.checkpoint",
        "created_at": _seconds(job.ended_at),
        "fine_tuned_model_checkpoint": model,
        "fine_tuning_job_id": fine_tuning_id(job.job_id),
        "step_number": checkpoint.step,
        "metrics": {"step": checkpoint.step, **_measured(checkpoint.metrics)},
    }


def _measured(metrics: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name in _CHECKPOINT_METRICS if (value := metrics.get(name)) is not None}


def _suffix(job: Job) -> str:
    return job.job_id.rpartition("-")[2]
