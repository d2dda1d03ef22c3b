"""Shows how far a job is while it is waited for: live in a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from modelry.client.job_records import JobEvent, JobProgress, JobRecord

LINE_EVERY_S = 10.0
"""Without a terminal, progress within one phase is told no more often."""
_SHOWN_VALUES = 4

Show = Callable[[JobEvent], Any]


@contextmanager
def display_for(progress: bool | Show, record: JobRecord) -> Iterator[Show]:  # noqa: FBT001 - a switch or a callback
    """What to call with each event of a job."""
    if callable(progress):
        yield progress
    elif not progress:
        yield lambda _: None
    else:
        with job_display(record) as show:
            yield show


@contextmanager
def job_display(record: JobRecord, stream: TextIO | None = None) -> Iterator[Show]:
    """Shows a job on `stream` (stderr by default)."""
    stream = stream or sys.stderr
    live = _live(record, stream) if stream.isatty() else None
    if live is None:
        yield _Lines(record, stream).show
        return
    with live:
        yield live.show


def _live(record: JobRecord, stream: TextIO) -> Any:
    """A live display, where rich is installed; it comes with the command."""
    try:
        from modelry.client.job_bars import JobBars
    except ImportError:
        return None
    return JobBars(record, stream)


class _Lines:
    """Lines for files and pipes."""

    def __init__(self, record: JobRecord, stream: TextIO) -> None:
        self._stream = stream
        self._title = title_of(record)
        self._state = ""
        self._phase = ""
        self._told_at = 0.0
        self._values = ""

    def show(self, event: JobEvent) -> None:
        """Tell an event, if it is worth a line."""
        if event.kind == "log":
            for line in event.lines:
                self._say(printable(line))
        elif event.kind == "metrics" and event.points:
            self._values = values_text(event.points[-1].values)
        elif event.job is not None:
            self._job(event.job)

    def _job(self, job: JobRecord) -> None:
        if job.state != self._state:
            self._state = job.state
            self._say(state_text(job))
        progress = job.progress
        if progress is None or job.has_ended:
            return
        now = time.monotonic()
        if progress.phase != self._phase or now - self._told_at >= LINE_EVERY_S:
            self._phase, self._told_at = progress.phase, now
            self._say("  ".join(one for one in (progress_text(progress), self._values) if one))

    def _say(self, text: str) -> None:
        self._stream.write(f"{self._title}: {text}\n")
        self._stream.flush()


def title_of(record: JobRecord) -> str:
    """What a job is called."""
    return printable(record.name or record.job_id)


def state_text(job: JobRecord) -> str:
    """A job's state in words."""
    if job.error is not None and job.state in ("failed", "cancelled"):
        return printable(f"{job.state}: {job.error.message}")
    if job.error is None and job.request is not None:
        return f"{job.state} ({job.request} was asked for)"
    if job.state == "queued" and job.attempts:
        return f"queued again, after {job.attempts} attempts"
    return job.state


def progress_text(progress: JobProgress) -> str:
    """`training 3/10 epochs, 2 min left`."""
    done = f"{progress.done}" if progress.total is None else f"{progress.done}/{progress.total}"
    left = "" if progress.left_s is None else f", {duration_text(progress.left_s)} left"
    return printable(f"{progress.phase} {done} {progress.unit}".strip() + left)


def values_text(values: Any) -> str:
    """`loss 0.1234, accuracy 0.9`; the first few."""
    shown = [
        f"{name} {'NaN' if value is None else format(value, '.4g')}"
        for name, value in list(values.items())[:_SHOWN_VALUES]
    ]
    return printable(", ".join(shown))


def duration_text(seconds: float) -> str:
    """`45 s`, `12 min`, `3.5 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def printable(text: str) -> str:
    """`text` without characters that a terminal would obey."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)
