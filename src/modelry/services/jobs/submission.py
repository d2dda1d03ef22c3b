"""What is put into the queue, and whether it may be."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import orjson

from modelry.domain.access import Principal
from modelry.domain.errors import Conflict, InvalidInput, NotFound, QuotaExceeded
from modelry.domain.jobs import (
    DEFAULT_RETRIES,
    MAX_DEPENDENCIES,
    MAX_PRIORITY,
    MAX_RETRIES,
    Job,
    JobState,
)
from modelry.services.jobs.handlers import Json
from modelry.services.jobs.handoff import maker_of
from modelry.services.jobs.ports import JobRecords

MAX_OPEN = 10_000
"""Jobs of a tenant that have not ended."""
MAX_NAME_CHARS = 200
MAX_PARAMETERS_BYTES = 2**20
MAX_DELAY = timedelta(days=366)
_ID_CHARS = "0123456789abcdefghijklmnopqrstuvwxyz"


def make_id() -> str:
    """A new job's id."""
    return "job-" + "".join(secrets.choice(_ID_CHARS) for _ in range(12))


@dataclass(frozen=True, slots=True)
class Submission:
    """A job to put into the queue.

    Attributes:
        kind: what is to be done.
        parameters: of the kind, as a caller gives them.
        name: for people.
        priority: -100 to 100; within the tenant the highest goes first.
        after: ids of jobs that must succeed before; their outcomes are the job's `inputs`.
        not_before: when it may begin at the earliest.
        retries: how many failures in a row that another attempt may mend are tried again.
        job_id: what it will be called; others that are put in with it can refer to it.
    """

    kind: str
    parameters: Json
    name: str = ""
    priority: int = 0
    after: Sequence[str] = ()
    not_before: datetime | None = None
    retries: int = DEFAULT_RETRIES
    job_id: str = field(default_factory=make_id)

    def job(self, principal: Principal, parameters: Json, now: datetime) -> Job:
        """The job, its parameters checked and completed.

        Raises:
            InvalidInput: parameters or options are not as expected.
        """
        check_size(parameters)
        maker = maker_of(parameters)
        after = (*self.after, maker) if maker else self.after
        job = Job(
            tenant_id=principal.tenant_id,
            job_id=self.job_id,
            kind=self.kind,
            parameters=parameters,
            submitted_at=now,
            submitted_by=principal.key_id,
            name=self.name,
            priority=self.priority,
            retries=self.retries,
            dependencies=tuple(dict.fromkeys(after)),
            not_before=self.not_before,
        )
        check_options(job)
        return job


def check_options(job: Job) -> None:
    """See that a job's options are possible.

    Raises:
        InvalidInput: they are not.
    """
    if len(job.name) > MAX_NAME_CHARS or not job.name.isprintable():
        raise InvalidInput(
            f"The job's name has {len(job.name)} characters or some that cannot be printed; "
            f"expected up to {MAX_NAME_CHARS} printable ones.",
            param="name",
        )
    if not -MAX_PRIORITY <= job.priority <= MAX_PRIORITY:
        raise InvalidInput(
            f"The priority {job.priority} is out of range; expected -{MAX_PRIORITY} to "
            f"{MAX_PRIORITY}.",
            param="priority",
        )
    if not 0 <= job.retries <= MAX_RETRIES:
        raise InvalidInput(
            f"{job.retries} retries are out of range; expected 0 to {MAX_RETRIES}.",
            param="retries",
        )
    if len(job.dependencies) > MAX_DEPENDENCIES:
        raise InvalidInput(
            f"The job comes after {len(job.dependencies)} others; at most {MAX_DEPENDENCIES} are "
            "possible.",
            param="after",
        )
    due = job.not_before
    if due is not None and (due.tzinfo is None or due > job.submitted_at + MAX_DELAY):
        raise InvalidInput(
            f"'not_before' is {due.isoformat()}; expected a time with a time zone within a year.",
            param="not_before",
        )


def check_size(parameters: Json) -> None:
    """See that parameters can be kept.

    Raises:
        InvalidInput: they are no JSON, or too long.
    """
    try:
        size = len(orjson.dumps(parameters))
    except TypeError as error:
        raise InvalidInput(f"The parameters are not JSON: {error}.", param="parameters") from None
    if size > MAX_PARAMETERS_BYTES:
        raise InvalidInput(
            f"The parameters have {size} bytes as JSON; at most {MAX_PARAMETERS_BYTES} are "
            "possible. Put large contents into uploads and name their digests.",
            param="parameters",
        )


def check_room(records: JobRecords, tenant_id: str, more: int) -> None:
    """See that a tenant may have so many more jobs.

    Raises:
        QuotaExceeded: it has too many that have not ended.
    """
    open_states = (JobState.QUEUED, JobState.RUNNING, JobState.PAUSED)
    count = records.count(tenant_id, open_states)
    if count + more > MAX_OPEN:
        raise QuotaExceeded(
            f"The tenant has {count} jobs that have not ended; {MAX_OPEN} are the most that it may "
            "have. Wait for some, or cancel some.",
            retry_after_s=60,
        )


def check_dependency(records: JobRecords, job: Job, job_id: str) -> None:
    """See that a job that another shall come after may still succeed.

    Raises:
        NotFound: it is not there.
        Conflict: it has not succeeded and never will.
    """
    found = records.find(job.tenant_id, job_id)
    if found is None:
        raise NotFound(
            f"Job '{job_id[:80]}', which the job shall come after, does not exist.", param="after"
        )
    if found.state in (JobState.FAILED, JobState.CANCELLED):
        raise Conflict(
            f"Job '{job_id}', which the job shall come after, is {found.state}; it would never "
            "begin.",
            param="after",
        )
