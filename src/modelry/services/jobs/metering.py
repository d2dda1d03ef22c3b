"""Brings what attempts at jobs used to the ledger of usage: each attempt once, whatever fails.

What an attempt used is a column of it, written while it runs, so that it outlives the server. When
it has ended it becomes a record of the ledger, whose segment is named after job and attempt: to
add it again, by this server or another, changes nothing. Then it is marked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from modelry.domain.jobs import Attempt, AttemptOutcome, Job
from modelry.domain.usage import CPU, Origin
from modelry.services.inference.metering import OK, Meter, Taken
from modelry.services.jobs.ports import JobRecords, JobStore
from modelry.services.usage.ports import Segment
from modelry.services.usage.segments import segments_of

_AT_ONCE = 200
_PURPOSE = "metering jobs"


class UsageLedger(Protocol):
    """Where records are kept; see `services.usage.ports.UsageStore`."""

    def add(self, segments: list[Segment]) -> None:
        """Keep segments; those that are kept already are left out."""
        ...


@dataclass(frozen=True, slots=True)
class JobMetering:
    """Meters attempts that have ended; may be used from any thread, and on several servers.

    Attributes:
        store: knows attempts.
        ledger: keeps records.
    """

    store: JobStore
    ledger: UsageLedger

    def sweep(self) -> int:
        """Bring all attempts that have ended to the ledger; how many.

        Raises:
            ModelryError: the database cannot do it now; the next sweep goes on.
        """
        total = 0
        while True:
            found = self.store.read_all(_PURPOSE, _unmetered)
            for attempt, job in found:
                if attempt.compute:
                    self.ledger.add(_segments(attempt, job))
                self._mark(attempt)
            total += len(found)
            if len(found) < _AT_ONCE:
                return total

    def _mark(self, attempt: Attempt) -> None:
        place = (attempt.tenant_id, attempt.job_id, attempt.number)

        def work(records: JobRecords) -> None:
            known = records.attempt(*place)
            if known is not None:
                records.put_attempt(replace(known, is_metered=True))

        self.store.write(attempt.tenant_id, work)


def _unmetered(records: JobRecords) -> list[tuple[Attempt, Job]]:
    found = []
    for attempt in records.unmetered(_AT_ONCE):
        job = records.find(attempt.tenant_id, attempt.job_id)
        if job is not None:
            found.append((attempt, job))
    return found


def _segments(attempt: Attempt, job: Job) -> list[Segment]:
    """The record of an attempt, as a segment that is the same whenever it is made."""
    model, number = _model_of(job)
    origin = Origin(
        tenant_id=job.tenant_id,
        deployment=f"({job.kind})",  # no real one has such a name
        model=model,
        version_number=number,
        task=job.kind,
    )
    started = _unix_s(attempt.started_at)
    ended = started if attempt.ended_at is None else _unix_s(attempt.ended_at)
    meter = Meter()
    meter.note(
        (origin, job.tenant_id, job.submitted_by, _status(attempt), "", b""),
        started,
        ended,
        f"{job.job_id}.{attempt.number}".encode(),
        ({CPU: attempt.compute.cpu_us}, attempt.compute.engine_us),
    )
    taken = Taken(meter.take().series, clock_offset_s=0.0)
    return segments_of(taken, job.job_id, attempt.number)


def _status(attempt: Attempt) -> str:
    """`ok`, the code of its error, or how else it ended."""
    if attempt.outcome is AttemptOutcome.SUCCEEDED:
        return OK
    if attempt.error is not None:
        return attempt.error.code
    return "cancelled" if attempt.outcome is None else attempt.outcome.value


def _model_of(job: Job) -> tuple[str, int]:
    """The model that a job makes or works on, as its parameters name it, and its version."""
    given: Mapping[str, Any] = job.parameters
    training = given.get("training")
    if isinstance(training, Mapping):
        given = training
    model, version = given.get("model"), given.get("version")
    if isinstance(model, str):
        return model[:64], 0
    if isinstance(version, str):
        name, _, number = version.partition("@")
        return name[:64], int(number) if number.isdecimal() else 0
    return "", 0


def _unix_s(moment: datetime) -> float:
    return moment.timestamp()
