"""What following a job has in common for both clients: where it is, when to ask again, what it ends
with. Nothing here does I/O.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from modelry.client.errors import (
    ConnectionLost,
    JobFailed,
    ModelryError,
    NotReachable,
    TimedOut,
    Unavailable,
)
from modelry.client.exchange import Request
from modelry.client.job_records import JobEvent, JobProgress, JobRecord
from modelry.client.operations.jobs import STREAM_TIMEOUT_S, events_request

GIVE_UP_S = 180.0
"""A server may be away so long, such as for a restart, before following it is given up."""
_LONGEST_PAUSE_S = 5.0
_SHORTEST_S = 0.1

OnEvent = Callable[[JobEvent], Any]


class Following:
    """Where somebody is who follows a job.

    Args:
        job_id: which.
        after: the number of the event that was had last.
        timeout_s: how long to follow it; None for as long as it takes.
    """

    def __init__(self, job_id: str, after: int = 0, timeout_s: float | None = None) -> None:
        self._job_id = job_id
        self._after = after
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._heard_at = time.monotonic()
        self._failures = 0
        self.is_over = False

    def request(self) -> Request:
        """Asks for what comes next.

        Raises:
            TimedOut: the time is over.
        """
        self.check_time()
        left = STREAM_TIMEOUT_S if self._deadline is None else self._deadline - time.monotonic()
        return events_request(
            self._job_id, self._after, max(_SHORTEST_S, min(left, STREAM_TIMEOUT_S))
        )

    def heard(self, event: JobEvent) -> None:
        """Note an event.

        Raises:
            TimedOut: the time is over.
        """
        self._heard_at, self._failures = time.monotonic(), 0
        self._after = max(self._after, event.sequence)
        self.is_over = event.kind == "end"
        if not self.is_over:
            self.check_time()

    def pause_after(self, error: ModelryError) -> float:
        """Seconds to wait before asking again; raises `error` when that makes no sense."""
        self.check_time()
        if not isinstance(error, ConnectionLost | NotReachable | TimedOut | Unavailable):
            raise error
        if time.monotonic() - self._heard_at > GIVE_UP_S:
            raise error
        self._failures += 1
        return min(error.retry_after_s or 0.25 * 2.0**self._failures, _LONGEST_PAUSE_S)

    def check_time(self) -> None:
        """See that there is time left.

        Raises:
            TimedOut: there is none.
        """
        if self._deadline is not None and time.monotonic() >= self._deadline:
            raise TimedOut(
                f"Job '{self._job_id}' did not end in the time that was waited for it; it goes on."
            )


class JobView:
    """A job as it was last told; what both kinds of `Job` have in common."""

    def __init__(self, record: JobRecord) -> None:
        self._record = record

    @property
    def record(self) -> JobRecord:
        """All that was last told of it."""
        return self._record

    @property
    def id(self) -> str:
        """Its id."""
        return self._record.job_id

    @property
    def kind(self) -> str:
        """What it does."""
        return self._record.kind

    @property
    def state(self) -> str:
        """As last told: queued, running, paused, succeeded, failed or cancelled."""
        return self._record.state

    @property
    def has_ended(self) -> bool:
        """Whether it had ended when it was last told."""
        return self._record.has_ended

    @property
    def progress(self) -> JobProgress | None:
        """How far it was when it was last told."""
        return self._record.progress

    @property
    def outcome(self) -> Mapping[str, Any]:
        """What it gave; empty until it has succeeded."""
        return self._record.outcome or {}

    @property
    def version(self) -> str | None:
        """The version that it made, as `model@number`, if its kind makes one."""
        found = self.outcome.get("version")
        return found if isinstance(found, str) else None

    def check_success(self) -> None:
        """See that it has succeeded.

        Raises:
            JobFailed: it failed or was cancelled.
        """
        record = self._record
        if record.state == "succeeded":
            return
        error = record.error
        reason = f": {error.message}" if error is not None else "."
        code = error.code if error is not None else record.state
        raise JobFailed(f"Job '{record.job_id}' {_ENDS[record.state]}{reason}", code=code)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r}, kind={self.kind!r}, state={self.state!r})"


_ENDS = {
    "queued": "has not begun",
    "running": "is still running",
    "paused": "is paused",
    "failed": "failed",
    "cancelled": "was cancelled",
}
