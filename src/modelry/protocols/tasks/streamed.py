"""Explanations as server-sent events: how far they are, then the explanation or what went wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

from starlette.responses import Response

from modelry.domain.errors import InvalidInput, ModelryError
from modelry.explaining.course import Progress
from modelry.protocols.http.endpoint import event_stream, sse_block
from modelry.protocols.http.plain_errors import error_body
from modelry.protocols.http.request import ApiRequest
from modelry.services.inference.explanations import OnProgress
from modelry.tasks.contract import Schema

JOB, STREAM = "job", "stream"
STREAM_WISH: Mapping[str, Schema] = {
    STREAM: {
        "type": "boolean",
        "description": "Whether to be told how far it is, as server-sent events.",
    }
}
STREAMED: Mapping[str, Any] = {
    "schema": {
        "type": "string",
        "description": "With `stream`: events `progress` with `phase` (explaining or checking), "
        "`calls` and `most_calls` of that phase, then one `explanation` or `error`.",
    }
}
FIRST_S = 1.0
"""After which the answer begins though there is nothing to tell; what fails before has a status."""
LIFE_S = 10.0
"""After which a comment tells that somebody is still there."""
_LIFE = b": still at work\n\n"

Make = Callable[[OnProgress], Awaitable[Mapping[str, Any]]]
"""Makes an explanation, as JSON types."""


def check_stream(*, is_stream: bool, is_job: bool) -> None:
    """Refuse both.

    Raises:
        InvalidInput: both are wished.
    """
    if is_stream and is_job:
        raise InvalidInput(
            f"{STREAM} and {JOB} exclude each other: a job's own events tell how far it is.",
            param=STREAM,
        )


async def streamed(request: ApiRequest, make: Make) -> Response:
    """A stream, begun when there is something to tell: what fails before has its own status."""
    blocks = _blocks(make)
    first = await request.while_connected(anext(blocks))

    async def all_blocks() -> AsyncGenerator[bytes, None]:
        async with aclosing(blocks):
            yield first
            async for block in blocks:
                yield block

    return event_stream(all_blocks(), _failure)


def _failure(error: ModelryError) -> list[bytes]:
    return [sse_block(error_body(error), "error")]


async def _blocks(make: Make) -> AsyncGenerator[bytes, None]:
    news = asyncio.Event()
    untold: list[Progress] = []

    def note(far: Progress) -> None:
        if untold and untold[-1].phase == far.phase:
            untold.pop()  # nobody needs to know where it was before
        untold.append(far)
        news.set()

    work = asyncio.ensure_future(make(note))
    work.add_done_callback(lambda _: news.set())
    wait_s = FIRST_S
    try:
        while not work.done():
            try:
                async with asyncio.timeout(wait_s):
                    await news.wait()
            except TimeoutError:
                yield _LIFE
            else:
                news.clear()
            if work.done():
                work.result()  # what failed before anything was told has its own status
            while untold:
                yield sse_block(untold.pop(0).to_wire(), "progress")
            wait_s = LIFE_S
        yield sse_block(work.result(), "explanation")
    finally:
        work.cancel()
