"""A job's run in memory, for unit tests of handlers."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from modelry.domain.access import DEFAULT_TENANT_ID, Principal
from modelry.domain.errors import LeaseLost
from modelry.domain.usage import Compute
from modelry.runtime_api.engine import StopSignal
from modelry.services.jobs.handlers import Json
from modelry.testing.samples import principal as sample_principal


class FakeJobRun:
    """Implements `JobRun`, and shows what a handler told it.

    Args:
        parameters: as `JobHandler.check` gave them.
        principal: in whose name; an owner of the default tenant by default.
        inputs: outcomes of the jobs that it depends on, by job id.
        checkpoint: step and digest that an earlier attempt left.
        job_id: which job.
    """

    def __init__(
        self,
        parameters: Json | None = None,
        *,
        principal: Principal | None = None,
        inputs: Mapping[str, Json] | None = None,
        checkpoint: tuple[int, str] | None = None,
        job_id: str = "job-1",
    ) -> None:
        self.job_id = job_id
        self.principal = principal or sample_principal(tenant_id=DEFAULT_TENANT_ID)
        self.parameters: Json = dict(parameters or {})
        self.inputs: Mapping[str, Json] = dict(inputs or {})
        self.stop = StopSignal()
        self.told: list[tuple[int, int | None, str, str]] = []
        """Every progress: done, total, unit, phase."""
        self.curves: dict[int, dict[str, float]] = {}
        """Values by step."""
        self.lines: list[str] = []
        self.checkpoints: list[tuple[int, str, int]] = []
        """Every checkpoint that was saved: step, digest, bytes."""
        self.artefacts: dict[str, tuple[str, int]] = {}
        """Digest and bytes by name."""
        self.compute = Compute()
        """What its processes used."""
        self.is_lease_lost = False
        """Set it to have the next write refused."""
        self._checkpoint = checkpoint
        self._lock = threading.Lock()

    def progress(self, done: int, total: int | None, unit: str, phase: str = "") -> None:
        """See `JobRun.progress`."""
        with self._lock:
            self._check()
            self.told.append((done, total, unit, phase))

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """See `JobRun.metrics`."""
        with self._lock:
            self._check()
            self.curves.setdefault(step, {}).update(values)

    def log(self, line: str) -> None:
        """See `JobRun.log`."""
        with self._lock:
            self._check()
            self.lines.append(line)

    def save_checkpoint(self, step: int, digest: str, size_bytes: int) -> None:
        """See `JobRun.save_checkpoint`."""
        with self._lock:
            self._check()
            self.checkpoints.append((step, digest, size_bytes))
            self._checkpoint = (step, digest)

    def checkpoint(self) -> tuple[int, str] | None:
        """See `JobRun.checkpoint`."""
        with self._lock:
            return self._checkpoint

    def save_artefact(self, name: str, digest: str, size_bytes: int) -> None:
        """See `JobRun.save_artefact`."""
        with self._lock:
            self._check()
            self.artefacts[name] = (digest, size_bytes)

    def used(self, compute: Compute) -> None:
        """See `JobRun.used`."""
        with self._lock:
            self._check()
            self.compute += compute

    def next_attempt(self) -> FakeJobRun:
        """The run of another attempt at the same job, after this one was lost."""
        self.is_lease_lost = True
        again = FakeJobRun(
            self.parameters,
            principal=self.principal,
            inputs=self.inputs,
            checkpoint=self._checkpoint,
            job_id=self.job_id,
        )
        again.artefacts = dict(self.artefacts)
        again.curves = {step: dict(values) for step, values in self.curves.items()}
        return again

    def _check(self) -> None:
        if self.is_lease_lost:
            self.stop.set()
            raise LeaseLost("Another attempt at this job has begun.")
