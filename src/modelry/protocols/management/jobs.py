"""`/jobs`: long work that survives restarts."""

from __future__ import annotations

import asyncio
from typing import Annotated
from urllib.parse import quote

from fastapi import Header, Query, Response
from starlette.responses import StreamingResponse

from modelry.domain.access import Permission
from modelry.domain.errors import InvalidInput
from modelry.domain.jobs import EventKind, JobState
from modelry.protocols.management.auditing import note
from modelry.protocols.management.job_events import Followers, follow
from modelry.protocols.management.job_shapes import (
    Curves,
    JobDetailsShape,
    JobList,
    JobShape,
    Kinds,
    LogPage,
    Point,
    SubmitBody,
)
from modelry.protocols.management.routing import managed_router, needs
from modelry.protocols.management.services import Caller, Jobs
from modelry.services.jobs.reading import MAX_EVENTS, MAX_LISTED

router = managed_router("jobs")

MAX_SEQUENCE = 2**31 - 1
Word = Annotated[str | None, Query(min_length=1, max_length=200)]
After = Annotated[int, Query(ge=0, le=MAX_SEQUENCE)]
_followers = Followers()


@router.post(
    "/jobs",
    status_code=201,
    summary="Put a job into the queue",
    openapi_extra=needs(Permission.JOBS_WRITE, recorded=("kind", "name", "priority")),
)
def submit_job(body: SubmitBody, caller: Caller, jobs: Jobs) -> JobShape:
    """Most kinds have a request of their own, such as for imports and training; this is for all."""
    job = jobs.submit(
        caller,
        body.kind,
        body.parameters,
        name=body.name,
        priority=body.priority,
        after=body.after,
        not_before=body.not_before,
        retries=body.retries,
    )
    note(job_id=job.job_id)
    return JobShape.of(job)


@router.get("/jobs", summary="List jobs", openapi_extra=needs(Permission.JOBS_READ))
def list_jobs(
    *,
    caller: Caller,
    jobs: Jobs,
    kind: Annotated[list[str] | None, Query(max_length=20)] = None,
    state: Annotated[list[JobState] | None, Query(max_length=20)] = None,
    name: Word = None,
    before: Word = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = 50,
) -> JobList:
    """Newest first."""
    page = jobs.list(
        caller, kinds=kind or (), states=state or (), name=name, before=before, limit=limit
    )
    return JobList(jobs=[JobShape.of(one) for one in page.jobs], next=page.following)


@router.get(
    "/job-kinds",
    summary="The kinds of jobs that there are",
    openapi_extra=needs(Permission.JOBS_READ),
)
def list_job_kinds(jobs: Jobs) -> Kinds:
    """What `kind` of a job can be."""
    return Kinds(kinds=list(jobs.kinds()))


@router.get("/jobs/{job_id}", summary="One job", openapi_extra=needs(Permission.JOBS_READ))
def get_job(job_id: str, caller: Caller, jobs: Jobs) -> JobDetailsShape:
    """With its attempts and artefacts."""
    return JobDetailsShape.of_details(jobs.details(caller, job_id))


@router.post(
    "/jobs/{job_id}/cancel",
    summary="End a job for good",
    openapi_extra=needs(Permission.JOBS_WRITE),
)
def cancel_job(job_id: str, caller: Caller, jobs: Jobs) -> JobShape:
    """A running one ends soon; until then `request` is `cancel`."""
    return JobShape.of(jobs.cancel(caller, job_id))


@router.post(
    "/jobs/{job_id}/pause",
    summary="Have a job wait",
    openapi_extra=needs(Permission.JOBS_WRITE),
)
def pause_job(job_id: str, caller: Caller, jobs: Jobs) -> JobShape:
    """A running one stops soon; until then `request` is `pause`."""
    return JobShape.of(jobs.pause(caller, job_id))


@router.post(
    "/jobs/{job_id}/resume",
    summary="Let a paused or failed job go on",
    openapi_extra=needs(Permission.JOBS_WRITE),
)
def resume_job(job_id: str, caller: Caller, jobs: Jobs) -> JobShape:
    """From its last checkpoint, where its kind makes some."""
    return JobShape.of(jobs.resume(caller, job_id))


@router.get(
    "/jobs/{job_id}/log", summary="What a job told", openapi_extra=needs(Permission.JOBS_READ)
)
def get_job_log(
    job_id: str,
    caller: Caller,
    jobs: Jobs,
    after: After = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_EVENTS)] = 200,
) -> LogPage:
    """Lines come in batches; `limit` counts these."""
    _, events = jobs.events(caller, job_id, after=after, kinds=(EventKind.LOG,), limit=limit)
    return LogPage.of(after, events)


@router.get(
    "/jobs/{job_id}/metrics",
    summary="A job's curves",
    openapi_extra=needs(Permission.JOBS_READ),
)
def get_job_metrics(job_id: str, caller: Caller, jobs: Jobs) -> Curves:
    """By step; steps that were done again after a restart have their later values."""
    found = jobs.metrics(caller, job_id)
    return Curves(points=[Point(step=one.step, values=dict(one.values)) for one in found])


@router.get(
    "/jobs/{job_id}/events",
    summary="A job's events while they happen",
    response_class=Response,
    responses={
        200: {
            "description": "Server-sent events: `job` whenever it has changed, `state`, `metrics`, "
            "`log`, `checkpoint`, `artefact`, and `end` last. A stream that ends without `end` is "
            "to be asked for again, with the id of the last event in `Last-Event-ID`.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        }
    },
    openapi_extra=needs(Permission.JOBS_READ),
)
async def follow_job(
    job_id: str,
    caller: Caller,
    jobs: Jobs,
    after: After = 0,
    last_event_id: Annotated[str | None, Header(max_length=20)] = None,
) -> Response:
    """From the first event on, or from after the one that was had last."""
    if last_event_id is not None:
        after = _number(last_event_id)
    await asyncio.to_thread(jobs.get, caller, job_id)
    return StreamingResponse(
        _followers.counted(follow(jobs, caller, job_id, after)),
        media_type="text/event-stream",
        headers={"cache-control": "no-cache", "x-accel-buffering": "no"},
    )


@router.get(
    "/jobs/{job_id}/artefacts/{name}",
    summary="A file that is kept with a job",
    response_class=Response,
    responses={
        200: {
            "description": "Its bytes.",
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
            },
        }
    },
    openapi_extra=needs(Permission.JOBS_READ),
)
def get_job_artefact(job_id: str, name: str, caller: Caller, jobs: Jobs) -> Response:
    """What `get_job` lists."""
    artefact, chunks = jobs.open_artefact(caller, job_id, name)
    return StreamingResponse(
        chunks,
        media_type="application/octet-stream",
        headers={
            "content-length": str(artefact.size_bytes),
            "content-disposition": f"attachment; filename*=UTF-8''{quote(artefact.name, safe='')}",
            "etag": f'"{artefact.digest}"',
        },
    )


def _number(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) <= MAX_SEQUENCE:
        return int(text)
    raise InvalidInput(
        f"The header Last-Event-ID is '{text}'; expected the id of an event of this stream.",
        param="last-event-id",
    )
