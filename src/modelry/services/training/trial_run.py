"""What a training sees of the job when it is one of a search: a trial, or the last one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelry.domain.access import Principal
from modelry.domain.usage import Compute
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.work import Json
from modelry.services.jobs.handlers import JobRun
from modelry.services.training.search_order import SearchOrder, Trial
from modelry.services.training.serving import TrainingClient

EXPORTING = "exporting"
"""The phase of every recipe that comes after its last step."""


class TrialRun:
    """Implements `JobRun` for one trial: watches its curve, and keeps nothing.

    Args:
        run: the search's.
        order: says what is watched.
        trial: gets the curve.
        asked: Optuna's trial, which says when to end it early; None for never.
    """

    def __init__(self, run: JobRun, order: SearchOrder, trial: Trial, asked: Any | None) -> None:
        self._run, self._order, self._trial, self._asked = run, order, trial, asked
        self.stop = StopSignal()
        self.seen: set[str] = set()
        """Names of the curves that were told."""
        self.is_pruned = False
        run.stop.subscribe(self.stop.set)

    @property
    def job_id(self) -> str:
        """See `JobRun.job_id`."""
        return self._run.job_id

    @property
    def principal(self) -> Principal:
        """See `JobRun.principal`."""
        return self._run.principal

    @property
    def parameters(self) -> Json:
        """See `JobRun.parameters`."""
        return self._trial.parameters

    @property
    def inputs(self) -> Mapping[str, Json]:
        """See `JobRun.inputs`."""
        return self._run.inputs

    def progress(self, done: int, total: int | None, unit: str, phase: str = "") -> None:  # noqa: ARG002
        """Told as the search's; a trial is over when there is nothing more to learn."""
        trial = self._trial.number
        self._run.progress(trial, self._order.trials, "trials", f"trial {trial + 1}: {phase}")
        if phase == EXPORTING:
            self.stop.set()

    def metrics(self, step: int, values: Mapping[str, float]) -> None:  # noqa: ARG002
        """Watch the curve, and end the trial when it is worse than others were."""
        self.seen.update(values)
        value = values.get(self._order.metric)
        if value is None or self.stop.is_set():
            return
        self._trial.curve.append(float(value))
        if self._asked is None:
            return
        self._asked.report(float(value), len(self._trial.curve) - 1)
        if self._asked.should_prune():
            self.is_pruned = True
            self.stop.set()

    def log(self, line: str) -> None:
        """See `JobRun.log`."""
        self._run.log(f"trial {self._trial.number}: {line}")

    def save_checkpoint(self, step: int, digest: str, size_bytes: int) -> None:
        """A trial that is interrupted begins anew."""

    def checkpoint(self) -> tuple[int, str] | None:
        """See `save_checkpoint`."""
        return None

    def save_artefact(self, name: str, digest: str, size_bytes: int) -> None:
        """Nothing of a trial is kept but its curve."""

    def used(self, compute: Compute) -> None:
        """See `JobRun.used`."""
        self._run.used(compute)


class TrialClient(TrainingClient):
    """Serves the work of a trial: it may read what a training reads, and nothing is kept."""

    def take_output(self, name: str, file: Path, about: Json) -> Json:  # noqa: ARG002
        """See `WorkClient.take_output`."""
        return {"digest": "", "size_bytes": file.stat().st_size}


class FinalRun:
    """Implements `JobRun` for the training with the best parameters: the search's own run.

    Its checkpoints are not kept, since the search's one says which parameters are the best: a
    search that is interrupted here trains once more.
    """

    def __init__(self, run: JobRun, parameters: Json) -> None:
        self._run = run
        self.parameters = parameters
        self.job_id = run.job_id
        self.principal: Principal = run.principal
        self.inputs = run.inputs
        self.stop = run.stop
        self.log = run.log
        self.save_artefact = run.save_artefact
        self.used = run.used

    def progress(self, done: int, total: int | None, unit: str, phase: str = "") -> None:
        """See `JobRun.progress`."""
        self._run.progress(done, total, unit, f"training the best: {phase}")

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """The job's curves are those of the trials."""

    def save_checkpoint(self, step: int, digest: str, size_bytes: int) -> None:
        """See the class."""

    def checkpoint(self) -> tuple[int, str] | None:
        """See the class."""
        return None
