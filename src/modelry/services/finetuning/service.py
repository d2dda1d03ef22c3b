"""Fine-tuning jobs as callers of OpenAI's API see them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from modelry.domain.access import Permission, Principal
from modelry.domain.errors import Conflict, InvalidInput, NotFound
from modelry.domain.jobs import Job, JobEvent, JobState
from modelry.services.finetuning.curves import openai_names
from modelry.services.finetuning.events import FineTuningEvent, Place, newest_first
from modelry.services.finetuning.handler import FineTuneHandler
from modelry.services.finetuning.naming import job_id_of, no_job
from modelry.services.finetuning.order import Wanted
from modelry.services.jobs.curves import MetricPoint
from modelry.services.jobs.service import JobsService

MAX_LISTED = 100
_LOOKED_AT_ONCE = 100
MAX_LOOKED = 10_000
"""Jobs that are looked through for some with wanted metadata."""


@dataclass(frozen=True, slots=True)
class JobsPage:
    """Some fine-tuning jobs; `has_more` whether others come after them."""

    jobs: Sequence[Job]
    has_more: bool


@dataclass(frozen=True, slots=True)
class EventsPage:
    """Some events of a job; `has_more` whether others come after them."""

    job: Job
    events: Sequence[FineTuningEvent]
    has_more: bool


@dataclass(frozen=True, slots=True)
class ModelCheckpoint:
    """A model that came of a job, and what was measured when it was kept."""

    job: Job
    step: int
    metrics: Mapping[str, float | None]


class Metadata(Protocol):
    """Says which jobs are wanted by their metadata."""

    def __call__(self, metadata: Mapping[str, str] | None) -> bool:
        """Whether a job with this metadata is wanted."""
        ...


class FineTuningService:
    """Fine-tuning jobs of the caller's tenant. Every method blocks; call it in a thread.

    Args:
        jobs: runs them.
    """

    def __init__(self, jobs: JobsService) -> None:
        self._jobs = jobs

    def create(self, principal: Principal, wanted: Wanted) -> Job:
        """Put a job into the queue.

        Raises:
            ModelryError: see `FineTuneHandler.check` and `JobsService.submit`.
        """
        return self._jobs.submit(
            principal,
            FineTuneHandler.kind,
            wanted.to_wire(),
            name=f"fine-tune {wanted.model}"[:200],
        )

    def get(self, principal: Principal, fine_tuning_job_id: str) -> Job:
        """One job.

        Raises:
            NotFound: there is no such fine-tuning job.
        """
        principal.require(Permission.JOBS_READ)
        try:
            found = self._jobs.get(principal, job_id_of(fine_tuning_job_id))
        except NotFound:
            raise no_job(fine_tuning_job_id) from None
        if found.kind != FineTuneHandler.kind:
            raise no_job(fine_tuning_job_id)
        return found

    def list(
        self,
        principal: Principal,
        *,
        after: str | None = None,
        limit: int = 20,
        is_wanted: Metadata | None = None,
    ) -> JobsPage:
        """Jobs, newest first.

        Args:
            principal: whose.
            after: the last job of the page before.
            limit: how many at most.
            is_wanted: only jobs with such metadata.

        Raises:
            NotFound: there is no fine-tuning job called `after`.
        """
        before = None if after is None else self.get(principal, after).job_id
        limit = max(1, min(limit, MAX_LISTED))
        jobs = islice(self._newest(principal, before), MAX_LOOKED)
        wanted = (one for one in jobs if is_wanted is None or is_wanted(one.parameters["metadata"]))
        found = list(islice(wanted, limit + 1))
        return JobsPage(found[:limit], len(found) > limit)

    def _newest(self, principal: Principal, before: str | None) -> Iterator[Job]:
        while True:
            page = self._jobs.list(
                principal, kinds=(FineTuneHandler.kind,), before=before, limit=_LOOKED_AT_ONCE
            )
            yield from page.jobs
            if page.following is None:
                return
            before = page.following

    def events(
        self,
        principal: Principal,
        fine_tuning_job_id: str,
        *,
        after: Place | None = None,
        limit: int = 20,
    ) -> EventsPage:
        """What a job told, newest first.

        Raises:
            NotFound: there is no such fine-tuning job.
        """
        job = self.get(principal, fine_tuning_job_id)
        limit = max(1, min(limit, MAX_LISTED))

        def read(low: int, count: int) -> Sequence[JobEvent]:
            return self._jobs.events(principal, job.job_id, after=low, limit=count)[1]

        events = newest_first(job.job_id, read, job.last_sequence, after)
        found = list(islice(events, limit + 1))
        return EventsPage(job, found[:limit], len(found) > limit)

    def checkpoints(
        self, principal: Principal, fine_tuning_job_id: str
    ) -> Sequence[ModelCheckpoint]:
        """Models that came of a job and can be used: the last one, once the job has succeeded.

        States from which a job can go on are none of them: nothing answers from one.

        Raises:
            NotFound: there is no such fine-tuning job.
        """
        job = self.get(principal, fine_tuning_job_id)
        if job.state is not JobState.SUCCEEDED:
            return []
        points = self._jobs.metrics(principal, job.job_id)
        return [ModelCheckpoint(job, points[-1].step if points else 0, _last_values(points))]

    # ---- acts -------------------------------------------------------------------------------

    def cancel(self, principal: Principal, fine_tuning_job_id: str) -> Job:
        """End a job for good; a running one ends soon.

        Raises:
            NotFound: there is no such fine-tuning job.
            InvalidInput: it has ended.
        """
        job = self.get(principal, fine_tuning_job_id)
        try:
            return self._jobs.cancel(principal, job.job_id)
        except Conflict as error:
            raise _ended(error) from None

    def pause(self, principal: Principal, fine_tuning_job_id: str) -> Job:
        """Have a job wait; a running one stops soon.

        Raises:
            NotFound: there is no such fine-tuning job.
            InvalidInput: it has ended.
        """
        job = self.get(principal, fine_tuning_job_id)
        try:
            return self._jobs.pause(principal, job.job_id)
        except Conflict as error:
            raise _ended(error) from None

    def resume(self, principal: Principal, fine_tuning_job_id: str) -> Job:
        """Let a paused or failed job go on from its last state.

        Raises:
            NotFound: there is no such fine-tuning job.
            InvalidInput: it has succeeded or was cancelled.
        """
        job = self.get(principal, fine_tuning_job_id)
        try:
            return self._jobs.resume(principal, job.job_id)
        except Conflict as error:
            raise _ended(error) from None


def _last_values(points: Sequence[MetricPoint]) -> dict[str, float | None]:
    """The last value of each curve."""
    found: dict[str, float | None] = {}
    for point in points:
        found |= point.values
    return openai_names(found)


def _ended(error: Conflict) -> InvalidInput:
    """OpenAI tells it so; its clients take 409 for a lock, and try again."""
    return InvalidInput(error.message, param="fine_tuning_job_id")
