"""Asking for an explanation as a job, and waiting for it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import Any

import orjson

from modelry.domain.access import Permission, Principal
from modelry.domain.errors import (
    Cancelled,
    Conflict,
    ModelryError,
    NotFound,
    Overloaded,
    error_from_code,
)
from modelry.domain.jobs import Job, JobProgress, JobState
from modelry.explaining.asked import Asked
from modelry.explaining.course import CHECKING, EXPLAINING, Progress
from modelry.gradients.contract import EXPLANATION, NAMES
from modelry.services.catalog.contents import Contents
from modelry.services.explanation.following import check_gradients
from modelry.services.explanation.one import KIND
from modelry.services.inference.explanations import OnProgress
from modelry.services.inference.routing import Target
from modelry.services.jobs.service import JobsService

WAIT_S = 60.0
"""How long a request waits for its job; whoever asked gets the job's id then."""
MOST_WAITING = 32
"""Requests that wait for jobs at once."""
_FIRST_LOOK_S, _LAST_LOOK_S, _LOOK_SHARE = 0.1, 0.5, 0.1
"""How often it is looked whether a job has ended that may run on another server: a tenth of what it
takes is waited more. What runs here tells at once."""


class ExplanationJobs:
    """Explanations as jobs.

    Args:
        jobs: the queue.
        contents: keep what is asked.
    """

    def __init__(self, jobs: JobsService, contents: Contents) -> None:
        self._jobs = jobs
        self._contents = contents
        self._waiting = 0

    async def start(self, principal: Principal, target: Target, asked: Asked) -> Job:
        """Put an explanation into the queue.

        Raises:
            PermissionDenied: the caller may start no jobs.
            NotSupported, InvalidInput: it cannot be explained so.
            QuotaExceeded: there is no room for what is asked, or for one more job.
        """
        principal.require(Permission.JOBS_WRITE)
        method = asked.wish.method
        if method in NAMES:
            check_gradients(principal, target, str(method))
        return await asyncio.to_thread(self._submitted, principal, target, asked)

    def _submitted(self, principal: Principal, target: Target, asked: Asked) -> Job:
        kept = self._contents.keep(principal.tenant_id, [asked.to_bytes()])
        parameters = {
            "deployment": target.deployment.name,
            "version": target.version.number,
            "method": asked.wish.method,
            "input": kept.digest,
        }
        return self._jobs.submit(principal, KIND, parameters, retries=0)

    async def explanation(
        self,
        principal: Principal,
        job: Job,
        within_s: float = WAIT_S,
        on_progress: OnProgress | None = None,
    ) -> Mapping[str, Any] | None:
        """What a job found; None if it takes longer. When nobody waits any more it is cancelled.

        Args:
            principal: who waits.
            job: for which.
            within_s: how long.
            on_progress: is told how far it is.

        Raises:
            Overloaded: so many wait already.
            ModelryError: what the job failed with.
        """
        if self._waiting >= MOST_WAITING:
            await self._cancel(principal, job)
            raise Overloaded(
                f"{MOST_WAITING} requests wait for explanations; try again later, or ask for a "
                "job.",
                retry_after_s=5,
            )
        self._waiting += 1
        try:
            ended = await self._ended(principal, job, within_s, on_progress)
        except asyncio.CancelledError:
            await asyncio.shield(self._cancel(principal, job))
            raise
        finally:
            self._waiting -= 1
        if ended is None:
            return None
        return await asyncio.to_thread(self._found, principal, ended)

    async def _ended(
        self, principal: Principal, job: Job, within_s: float, on_progress: OnProgress | None
    ) -> Job | None:
        """The job, once it has ended; None if that takes longer."""
        loop, heard = asyncio.get_running_loop(), asyncio.Event()
        began = time.monotonic()

        def tell() -> None:
            loop.call_soon_threadsafe(heard.set)

        with self._jobs.following(job.job_id, tell):
            while not job.has_ended:
                waited_s = time.monotonic() - began
                if waited_s > within_s:
                    return None
                pause_s = max(_FIRST_LOOK_S, waited_s * _LOOK_SHARE)
                with contextlib.suppress(TimeoutError):  # it may run on another server
                    await asyncio.wait_for(heard.wait(), min(_LAST_LOOK_S, pause_s))
                heard.clear()
                job = await asyncio.to_thread(self._jobs.get, principal, job.job_id)
                if on_progress is not None and job.progress is not None:
                    on_progress(_far(job.progress))
        return job

    async def _cancel(self, principal: Principal, job: Job) -> None:
        try:
            await asyncio.to_thread(self._jobs.cancel, principal, job.job_id)
        except (Conflict, NotFound):  # it has just ended
            return

    def _found(self, principal: Principal, job: Job) -> Mapping[str, Any]:
        if job.state is not JobState.SUCCEEDED:
            raise _failure(job)
        _, chunks = self._jobs.open_artefact(principal, job.job_id, EXPLANATION)
        found: Mapping[str, Any] = orjson.loads(b"".join(chunks))
        return found


def _far(told: JobProgress) -> Progress:
    phase = told.phase if told.phase == CHECKING else EXPLAINING
    return Progress(phase, told.done, told.total)


def _failure(job: Job) -> ModelryError:
    if job.error is None:
        return Cancelled(f"Job '{job.job_id}', which should explain the answer, was cancelled.")
    return error_from_code(job.error.code, job.error.message)
