"""What work tells of itself, passed on to the job that it is done for."""

from __future__ import annotations

from collections.abc import Mapping

from modelry.domain.usage import Compute
from modelry.services.jobs.handlers import JobRun


class TellsJob:
    """The half of a `WorkClient` that is the same for all jobs."""

    run: JobRun
    """The attempt that is told."""

    def progress(self, done: int, total: int | None, unit: str, phase: str) -> None:
        """See `WorkClient.progress`."""
        self.run.progress(done, total, unit, phase)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """See `WorkClient.metrics`."""
        self.run.metrics(step, values)

    def log(self, line: str) -> None:
        """See `WorkClient.log`."""
        self.run.log(line)

    def used(self, compute: Compute) -> None:
        """See `WorkClient.used`."""
        self.run.used(compute)
