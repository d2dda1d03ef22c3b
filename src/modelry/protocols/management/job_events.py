"""A job's events while they happen, as server-sent events."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

import orjson
from fastapi.encoders import jsonable_encoder

from modelry.domain.access import Principal
from modelry.domain.errors import ModelryError, Overloaded
from modelry.domain.jobs import Job, JobEvent
from modelry.protocols.management.job_shapes import JobShape
from modelry.services.jobs.reading import MAX_EVENTS
from modelry.services.jobs.service import JobsService

log = logging.getLogger(__name__)

EVERY_S = 0.5
"""How late an event is told."""
SILENT_S = 15.0
"""After which something is sent, so that nobody in between takes the connection for dead."""
LONGEST_S = 300.0
"""A stream ends then, and who follows it asks again: with a key that may have been revoked."""
MOST = 128
"""Streams at once."""


class Followers:
    """Counts who follows jobs on this server."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._count = 0

    def counted(self, events: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
        """`events`, whose follower counts until they end or the caller has gone away.

        Raises:
            Overloaded: there are as many followers as may be.
        """
        if self._count >= self._most:
            raise Overloaded(
                f"{self._count} streams follow jobs, which is the most at once. Try again later, "
                "or ask for the job now and then.",
                retry_after_s=10,
            )
        return self._counted(events)

    async def _counted(self, events: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
        self._count += 1
        try:
            async with aclosing(events):
                async for block in events:
                    yield block
        except ModelryError as error:  # such as a job that was deleted: who follows asks again
            log.info("a stream of a job's events ended: %s", error.message)
        finally:
            self._count -= 1


async def follow(
    jobs: JobsService, principal: Principal, job_id: str, after: int
) -> AsyncGenerator[bytes, None]:
    """Blocks of server-sent events until the job has ended.

    First `job`, the job as it is; then `state`, `metrics`, `log`, `checkpoint` and `artefact`, each
    with its number as the event's id; `job` again when its progress or state has changed; last
    `end`.

    Args:
        jobs: where to look.
        principal: who follows; the right was checked before.
        job_id: which job.
        after: the number of the event that was had last.
    """
    began = told_at = time.monotonic()
    shown: Mapping[str, Any] | None = None
    yield b"retry: 1000\n\n"
    while True:
        job, events = await asyncio.to_thread(jobs.events, principal, job_id, after=after)
        for event in events:
            after = event.sequence
            yield _event_block(event)
        wire = jsonable_encoder(JobShape.of(job))
        if wire != shown:
            shown = wire
            yield _block("job", wire)
            told_at = time.monotonic()
        if len(events) == MAX_EVENTS:
            continue
        if _is_over(job, after):
            yield _block("end", {"state": job.state.value})
            return
        now = time.monotonic()
        if now - began > LONGEST_S or jobs.ending.is_set():
            return
        if now - told_at > SILENT_S:
            told_at = now
            yield b": still there\n\n"
        await asyncio.sleep(EVERY_S)


def _is_over(job: Job, after: int) -> bool:
    return job.has_ended and after >= job.last_sequence


def _event_block(event: JobEvent) -> bytes:
    told = {"at": event.at.isoformat(), "attempt": event.attempt, **event.data}
    return b"id: %d\n" % event.sequence + _block(event.kind.value, told)


def _block(kind: str, value: Mapping[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), orjson.dumps(value))
