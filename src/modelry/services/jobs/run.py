"""One attempt at a job as its handler sees it; what it tells is written in batches."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from modelry.domain.access import Principal
from modelry.domain.errors import LeaseLost
from modelry.domain.jobs import EventKind, Job, JobProgress, Lease
from modelry.domain.usage import Compute
from modelry.runtime_api.engine import StopSignal
from modelry.services.jobs.attempts import Attempts, Told
from modelry.services.jobs.handlers import Json

MAX_LINE_CHARS = 8192
MAX_LINES = 100_000
"""Of one attempt; how many more there were is told at its end."""
MOST_GATHERED = 5000
"""Lines and points in memory; the thread that tells one more writes them down first."""
_NAME_CHARS = 200


class LeasedRun:
    """Implements `JobRun` on what is kept of attempts.

    Args:
        attempts: where to write.
        job: as it was when the attempt began.
        lease: the right to work on it.
        principal: in whose name.
        inputs: outcomes of the jobs that it depends on.
        let_go: told the digest of each checkpoint that is replaced.
        clock: gives the time.
    """

    def __init__(
        self,
        attempts: Attempts,
        job: Job,
        lease: Lease,
        *,
        principal: Principal,
        inputs: Mapping[str, Json],
        let_go: Callable[[str, str], None],
        clock: Callable[[], datetime],
    ) -> None:
        self.job_id = job.job_id
        self.principal = principal
        self.parameters: Json = job.parameters
        self.inputs = inputs
        self.stop = StopSignal()
        self.lease = lease
        self.stopped_at: float | None = None
        self._attempts = attempts
        self._let_go = let_go
        self._clock = clock
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._is_lost = False
        self._progress: JobProgress | None = None
        self._is_told = True
        self._lines: list[tuple[datetime, str]] = []
        self._points: list[tuple[int, dict[str, float | None]]] = []
        self._line_count = 0
        self._compute = Compute()

    # ---- for the handler --------------------------------------------------------------------

    def progress(self, done: int, total: int | None, unit: str, phase: str = "") -> None:
        """See `JobRun.progress`."""
        now = self._clock()
        unit, phase = clean(unit[:_NAME_CHARS]), clean(phase[:_NAME_CHARS])
        with self._lock:
            self._check()
            before = self._progress
            since, since_done = now, done
            is_same = before is not None and (before.phase, before.unit) == (phase, unit)
            if before is not None and is_same and done >= before.since_done:
                since, since_done = before.since, before.since_done
            self._progress = JobProgress(done, total, unit, phase, now, since, since_done)
            self._is_told = False

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """See `JobRun.metrics`."""
        point = (
            int(step),
            {clean(name[:_NAME_CHARS]): finite(value) for name, value in values.items()},
        )
        with self._lock:
            self._check()
            self._points.append(point)
        self._write_if_full()

    def log(self, line: str) -> None:
        """See `JobRun.log`."""
        if len(line) > MAX_LINE_CHARS:
            line = f"{line[:MAX_LINE_CHARS]} … ({len(line) - MAX_LINE_CHARS} more characters)"
        now = self._clock()
        with self._lock:
            self._check()
            self._line_count += 1
            if self._line_count <= MAX_LINES:
                self._lines.append((now, clean(line)))
        self._write_if_full()

    def save_checkpoint(self, step: int, digest: str, size_bytes: int) -> None:
        """See `JobRun.save_checkpoint`."""
        with self._writing:
            told = self._take()
            replaced = self._written(
                lambda: self._attempts.save_checkpoint(self.lease, step, digest, size_bytes, told)
            )
        if replaced is not None:
            self._let_go(self.lease.tenant_id, replaced)

    def checkpoint(self) -> tuple[int, str] | None:
        """See `JobRun.checkpoint`."""
        found = self._attempts.checkpoint(self.lease)
        return None if found is None else (found.step, found.digest)

    def save_artefact(self, name: str, digest: str, size_bytes: int) -> None:
        """See `JobRun.save_artefact`."""
        with self._writing:
            told = self._take()
            self._written(
                lambda: self._attempts.save_artefact(
                    self.lease, clean(name), digest, size_bytes, told
                )
            )

    def used(self, compute: Compute) -> None:
        """See `JobRun.used`."""
        with self._lock:
            self._check()
            self._compute += compute

    # ---- for the runner ---------------------------------------------------------------------

    def ask_to_stop(self) -> None:
        """Raise the stop signal."""
        if self.stopped_at is None:
            self.stopped_at = time.monotonic()
        self.stop.set()

    def lose(self) -> None:
        """Write nothing any more: the lease is lost."""
        with self._lock:
            self._is_lost = True
        self.ask_to_stop()

    @property
    def is_lost(self) -> bool:
        """Whether the lease is lost."""
        return self._is_lost

    def flush(self) -> None:
        """Write down what was told since the last time, if anything was.

        Raises:
            LeaseLost: another attempt has begun.
            ModelryError: it cannot be written now; it is kept for the next time.
        """
        with self._writing:
            told = self._take()
            if told.progress is None and not told.events and not told.compute:
                return
            try:
                self._written(lambda: self._attempts.tell(self.lease, told))
            except LeaseLost:
                raise
            except BaseException:
                self._put_back(told)
                raise

    def last_words(self) -> Told:
        """What was told since the last time, to be written with the attempt's end."""
        with self._writing, self._lock:
            dropped = self._line_count - MAX_LINES
            if dropped > 0:
                line = f"({dropped} more lines of this attempt were not kept)"
                self._lines.append((self._clock(), line))
                self._line_count = 0
        return self._take()

    # ---- inside -----------------------------------------------------------------------------

    def _write_if_full(self) -> None:
        if len(self._lines) + len(self._points) >= MOST_GATHERED:
            self.flush()

    def _take(self) -> Told:
        with self._lock:
            lines, self._lines = self._lines, []
            points, self._points = self._points, []
            progress = None if self._is_told else self._progress
            self._is_told = True
            compute, self._compute = self._compute, Compute()
        now = self._clock()
        events: list[tuple[EventKind, datetime, Mapping[str, Any]]] = []
        if points:
            events.append((EventKind.METRICS, now, {"points": points}))
        if lines:
            told = [[at.isoformat(), line] for at, line in lines]
            events.append((EventKind.LOG, now, {"lines": told}))
        return Told(progress, events, compute)

    def _put_back(self, told: Told) -> None:
        with self._lock:
            for kind, _, data in told.events:
                if kind is EventKind.METRICS:
                    self._points = [*data["points"], *self._points]
                else:
                    lines = [(datetime.fromisoformat(at), line) for at, line in data["lines"]]
                    self._lines = [*lines, *self._lines]
            if told.progress is not None:
                self._is_told = False
            self._compute += told.compute

    def _written(self, write: Callable[[], Any]) -> Any:
        if self._is_lost:
            raise _lost(self.job_id)
        try:
            return write()
        except LeaseLost:
            self.lose()
            raise

    def _check(self) -> None:
        if self._is_lost:
            raise _lost(self.job_id)


def _lost(job_id: str) -> LeaseLost:
    return LeaseLost(f"This server has lost job '{job_id}'; this attempt may write nothing more.")


def finite(value: float) -> float | None:
    """`value` as JSON can tell it: None for NaN and infinities."""
    number = float(value)
    return number if math.isfinite(number) else None


def clean(text: str) -> str:
    """`text` as every database keeps it: without NUL and halves of characters."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
