"""Explanations by jobs: where one is asked for, and gradients where this server does no work."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from modelry.domain.errors import NotSupported
from modelry.explaining.asked import Asked
from modelry.gradients.contract import EXPLANATION
from modelry.protocols.http.endpoint import json_response
from modelry.protocols.http.request import ApiRequest
from modelry.protocols.tasks.streamed import JOB, streamed
from modelry.services.explanation.asking import ExplanationJobs
from modelry.services.inference.explanations import OnProgress
from modelry.services.inference.routing import Target
from modelry.tasks.contract import Schema

JOB_WISH: Mapping[str, Schema] = {
    JOB: {
        "type": "boolean",
        "description": "Whether to be given a job's id at once; the explanation is its artefact.",
    }
}
ACCEPTED: Mapping[str, Any] = {
    "description": "The job that explains.",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {
                    "job_id": {"type": "string"},
                    "artefact": {"type": "string"},
                },
                "required": ["job_id", "artefact"],
            }
        }
    },
}


async def stream_job(
    request: ApiRequest, jobs: ExplanationJobs | None, target: Target, asked: Asked
) -> Response:
    """How far the job is that explains, and the explanation, as events.

    Raises:
        NotSupported: this server has no jobs.
        ModelryError: the job cannot be started, or failed at once.
    """
    found = _there(jobs)

    async def make(on_progress: OnProgress) -> Mapping[str, Any]:
        job = await found.start(request.principal, target, asked)
        told = await found.explanation(request.principal, job, math.inf, on_progress)
        assert told is not None, "it waits until the job has ended"
        return told

    return await streamed(request, make)


def _there(jobs: ExplanationJobs | None) -> ExplanationJobs:
    if jobs is None:
        raise NotSupported("This server explains nothing as a job.", param=JOB)
    return jobs


async def answer_by_job(
    request: ApiRequest,
    jobs: ExplanationJobs | None,
    target: Target,
    asked: Asked,
    *,
    is_job_wanted: bool,
) -> Response:
    """The explanation, once its job has ended, or the job's id.

    Raises:
        NotSupported: this server has no jobs.
        ModelryError: the job cannot be started, or failed.
    """
    known = _there(jobs)
    job = await known.start(request.principal, target, asked)
    if not is_job_wanted:
        found = await request.while_connected(known.explanation(request.principal, job))
        if found is not None:
            return json_response(found)
    return json_response({"job_id": job.job_id, "artefact": EXPLANATION}, 202)
