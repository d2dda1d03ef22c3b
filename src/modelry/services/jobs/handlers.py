"""What a kind of job must offer to be run, and what it gets to work with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from modelry.domain.access import Principal
from modelry.domain.usage import Compute
from modelry.runtime_api.engine import StopSignal

Json = Mapping[str, Any]


class JobRun(Protocol):
    """One attempt at a job, for its handler. May be used from any thread.

    Every method that writes does so under the attempt's lease, and raises `LeaseLost` when another
    attempt has begun meanwhile: then the handler must end and touch nothing more.
    """

    @property
    def job_id(self) -> str:
        """Which job."""
        ...

    @property
    def principal(self) -> Principal:
        """In whose name it runs: tenant and rights of who asked for it, as they are now."""
        ...

    @property
    def parameters(self) -> Json:
        """What `JobHandler.check` gave."""
        ...

    @property
    def inputs(self) -> Mapping[str, Json]:
        """The outcomes of the jobs that it depends on, by job id."""
        ...

    @property
    def stop(self) -> StopSignal:
        """Raised when the job is cancelled or paused, the lease is lost, or the server ends."""
        ...

    def progress(self, done: int, total: int | None, unit: str, phase: str = "") -> None:
        """How far it is; kept now and then."""
        ...

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """A point of the live curves; one of an earlier attempt's steps is replaced."""
        ...

    def log(self, line: str) -> None:
        """A line of the log."""
        ...

    def save_checkpoint(self, step: int, digest: str, size_bytes: int) -> None:
        """A content of the tenant from which another attempt can go on; older ones are let go."""
        ...

    def checkpoint(self) -> tuple[int, str] | None:
        """Step and digest of the last checkpoint, of any attempt."""
        ...

    def save_artefact(self, name: str, digest: str, size_bytes: int) -> None:
        """A content of the tenant that is kept with the job under `name`."""
        ...

    def used(self, compute: Compute) -> None:
        """What a process of its work used since this was told last; see `WorkClient.used`."""
        ...


class JobHandler(Protocol):
    """One kind of job."""

    kind: ClassVar[str]

    def check(self, principal: Principal, parameters: Json) -> Json:
        """See that the job can be done, before it is queued.

        Returns:
            Its parameters with every default filled in and every name pinned (`data@3`).

        Raises:
            ModelryError: it cannot, or the principal may not.
        """
        ...

    def run(self, run: JobRun) -> Json:
        """Do it; blocks, in a thread of its own. It may be the second attempt at it.

        Returns:
            The outcome, as JSON types.

        Raises:
            ModelryError: told as the job's error. `retryable` errors are tried again.
            Cancelled: `run.stop` was raised.
        """
        ...
