"""What importing and training see of the fine-tuning job that they are steps of."""

from __future__ import annotations

from modelry.domain.access import Principal
from modelry.services.jobs.handlers import JobRun, Json

VALIDATING = "validating files"
"""Begins the phases of the first step."""


class StepRun:
    """Implements `JobRun`: the job's own run, with the parameters of the step.

    Args:
        run: the job's.
        parameters: the step's.
        phase: put before the phases that it tells.
    """

    def __init__(self, run: JobRun, parameters: Json, phase: str = "") -> None:
        self._run = run
        self._phase = phase
        self.parameters = parameters
        self.job_id = run.job_id
        self.principal: Principal = run.principal
        self.inputs = run.inputs
        self.stop = run.stop
        self.metrics = run.metrics
        self.log = run.log
        self.save_checkpoint = run.save_checkpoint
        self.checkpoint = run.checkpoint
        self.save_artefact = run.save_artefact
        self.used = run.used

    def progress(self, done: int, total: int | None, unit: str, phase: str = "") -> None:
        """See `JobRun.progress`."""
        told = ": ".join(part for part in (self._phase, phase) if part)
        self._run.progress(done, total, unit, told)
