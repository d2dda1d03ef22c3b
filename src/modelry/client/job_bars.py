"""The live display of a job in a terminal; needs rich."""

from __future__ import annotations

from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from modelry.client.job_display import (
    duration_text,
    printable,
    state_text,
    title_of,
    values_text,
)
from modelry.client.job_records import JobEvent, JobRecord


class JobBars:
    """A bar for each phase, the newest values of the curves beside it, log lines above."""

    def __init__(self, record: JobRecord, stream: TextIO) -> None:
        self._title = title_of(record)
        self._console = Console(file=stream, highlight=False, markup=False)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self._console,
        )
        self._bar: TaskID | None = None
        self._phase: str | None = None
        self._state = ""
        self._values = ""

    def show(self, event: JobEvent) -> None:
        """Take an event."""
        if event.kind == "log":
            for line in event.lines:
                self._console.print(printable(line))
        elif event.kind == "metrics" and event.points:
            self._values = values_text(event.points[-1].values)
        elif event.job is not None:
            self._job(event.job)

    def _job(self, job: JobRecord) -> None:
        state = state_text(job)
        if state != self._state:
            self._state = state
            self._console.print(f"{self._title}: {state}")
        progress = job.progress
        if progress is None:
            return
        if self._bar is None or progress.phase != self._phase:
            self._phase = progress.phase
            self._bar = self._progress.add_task(
                printable(progress.phase or job.kind), total=progress.total, count="", note=""
            )
        whole = "" if progress.total is None else f"/{progress.total}"
        left = "" if progress.left_s is None else f"{duration_text(progress.left_s)} left  "
        self._progress.update(
            self._bar,
            completed=progress.done,
            total=progress.total,
            count=printable(f"{progress.done}{whole} {progress.unit}"),
            note=(left if not job.has_ended else "") + self._values,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()
