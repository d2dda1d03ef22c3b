"""`/v1/fine_tuning/jobs`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from starlette.responses import Response

from modelry.domain.access import Permission, Principal
from modelry.domain.errors import InvalidInput
from modelry.domain.jobs import Job
from modelry.protocols.http.endpoint import Endpoint, Handler, json_response
from modelry.protocols.http.request import ApiRequest
from modelry.protocols.openai.fields import body_schema
from modelry.protocols.openai.fine_tuning_answer import (
    checkpoint_answer,
    event_answer,
    event_place,
    is_settled,
    job_answer,
)
from modelry.protocols.openai.fine_tuning_request import CREATE, parse_job
from modelry.protocols.openai.pages import check_queries, limit_of, list_answer
from modelry.services.finetuning.naming import fine_tuning_id
from modelry.services.finetuning.service import MAX_LISTED, FineTuningService, Metadata

JOBS = "/v1/fine_tuning/jobs"
JOB = f"{JOBS}/{{fine_tuning_job_id}}"
MAX_BODY_BYTES = 2**20
USUAL_LISTED = 20
SETTLE_S = 5.0
"""How long an answer waits for a running job to be what was wanted of it."""
_LOOK_S = 0.1

Act = Callable[[Principal, str], Job]


class FineTuningHandlers:
    """The endpoints of fine-tuning jobs.

    Args:
        fine_tuning: does it all.
    """

    def __init__(self, fine_tuning: FineTuningService) -> None:
        self._fine_tuning = fine_tuning

    def endpoints(self) -> tuple[Endpoint, ...]:
        """All of them."""
        content = {"application/json": {"schema": body_schema(CREATE)}}
        return (
            Endpoint(
                JOBS,
                ("POST",),
                Permission.MODELS_WRITE,
                self.create,
                "Start to fine-tune",
                MAX_BODY_BYTES,
                {"requestBody": {"required": True, "content": content}},
                action="fine_tuning.create",
            ),
            Endpoint(
                JOBS,
                ("GET",),
                Permission.JOBS_READ,
                self.all,
                "List fine-tuning jobs",
                queries=("after", "limit", "metadata"),
            ),
            Endpoint(JOB, ("GET",), Permission.JOBS_READ, self.get, "One fine-tuning job"),
            _listed("events", self.events, "What a fine-tuning job told, newest first"),
            _listed("checkpoints", self.checkpoints, "The models that came of a fine-tuning job"),
            self._act("cancel", self._fine_tuning.cancel, "End a fine-tuning job for good"),
            self._act("pause", self._fine_tuning.pause, "Have a fine-tuning job wait"),
            self._act("resume", self._fine_tuning.resume, "Let a fine-tuning job go on"),
        )

    def _act(self, name: str, act: Act, summary: str) -> Endpoint:
        async def handle(request: ApiRequest) -> Response:
            check_queries(request, ())
            principal, job_id = request.principal, request.path_params["fine_tuning_job_id"]
            job = await asyncio.to_thread(act, principal, job_id)
            deadline = time.monotonic() + SETTLE_S
            while not is_settled(job) and time.monotonic() < deadline:
                await asyncio.sleep(_LOOK_S)
                job = await asyncio.to_thread(self._fine_tuning.get, principal, job_id)
            return json_response(job_answer(job))

        return Endpoint(
            f"{JOB}/{name}",
            ("POST",),
            Permission.JOBS_WRITE,
            handle,
            summary,
            MAX_BODY_BYTES,
            action=f"fine_tuning.{name}",
        )

    async def create(self, request: ApiRequest) -> Response:
        """Put a job into the queue."""
        wanted = parse_job(await request.json_object())
        job = await asyncio.to_thread(self._fine_tuning.create, request.principal, wanted)
        request.told.update(job_id=job.job_id, model=wanted.model, file=wanted.training_file)
        return json_response(job_answer(job))

    async def all(self, request: ApiRequest) -> Response:
        """Jobs, newest first."""
        queries = check_queries(request, ("after", "limit", "metadata"))
        limit = limit_of(queries, USUAL_LISTED, MAX_LISTED)
        page = await asyncio.to_thread(
            lambda: self._fine_tuning.list(
                request.principal,
                after=queries.get("after"),
                limit=limit,
                is_wanted=_metadata_of(queries),
            )
        )
        entries = [job_answer(one) for one in page.jobs]
        return json_response(list_answer(entries, has_more=page.has_more))

    async def get(self, request: ApiRequest) -> Response:
        """One job."""
        check_queries(request, ())
        job_id = request.path_params["fine_tuning_job_id"]
        return json_response(
            job_answer(await asyncio.to_thread(self._fine_tuning.get, request.principal, job_id))
        )

    async def events(self, request: ApiRequest) -> Response:
        """What a job told."""
        queries = check_queries(request, ("after", "limit"))
        after = event_place(queries.get("after"))
        limit = limit_of(queries, USUAL_LISTED, MAX_LISTED)
        job_id = request.path_params["fine_tuning_job_id"]
        page = await asyncio.to_thread(
            lambda: self._fine_tuning.events(request.principal, job_id, after=after, limit=limit)
        )
        entries = [event_answer(page.job, one) for one in page.events]
        return json_response(list_answer(entries, has_more=page.has_more))

    async def checkpoints(self, request: ApiRequest) -> Response:
        """Models that came of a job."""
        queries = check_queries(request, ("after", "limit"))
        limit_of(queries, USUAL_LISTED, MAX_LISTED)
        job_id = request.path_params["fine_tuning_job_id"]
        found = await asyncio.to_thread(self._fine_tuning.checkpoints, request.principal, job_id)
        entries = [checkpoint_answer(one) for one in found]
        after = queries.get("after")
        if after is not None:
            if after not in [one["id"] for one in entries]:
                raise InvalidInput(
                    f"after is '{after[:80]}'; expected the id of a checkpoint of "
                    f"{fine_tuning_id(job_id)}.",
                    param="after",
                )
            entries = []
        return json_response(list_answer(entries, has_more=False))


def _listed(name: str, handler: Handler, summary: str) -> Endpoint:
    return Endpoint(
        f"{JOB}/{name}",
        ("GET",),
        Permission.JOBS_READ,
        handler,
        summary,
        queries=("after", "limit"),
    )


def _metadata_of(queries: Mapping[str, Any]) -> Metadata | None:
    """The filter that `metadata[key]=value` makes; `metadata=null` is for jobs without any.

    Raises:
        InvalidInput: another form.
    """
    wanted: dict[str, str] = {}
    for name, value in queries.items():
        if not name.startswith("metadata"):
            continue
        if name == "metadata":
            if value != "null" or len([one for one in queries if one.startswith("metadata")]) > 1:
                raise InvalidInput(
                    "metadata is a filter of the form metadata[key]=value, or metadata=null.",
                    param="metadata",
                )
            return lambda metadata: metadata is None
        if not name.endswith("]"):
            raise InvalidInput(
                f"'{name[:80]}' is no filter; expected metadata[key]=value.", param="metadata"
            )
        wanted[name.removeprefix("metadata[").removesuffix("]")] = value
    if not wanted:
        return None

    def is_wanted(metadata: Mapping[str, str] | None) -> bool:
        return metadata is not None and wanted.items() <= metadata.items()

    return is_wanted
