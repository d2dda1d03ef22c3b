"""Work in a thread that tells how far it is, as lines of JSON for whoever waits for it."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from modelry.domain.errors import Cancelled, InternalError, ModelryError
from modelry.protocols.http.plain_errors import error_body
from modelry.protocols.management.auditing import note_failure
from modelry.services.catalog.ports import FetchProgress

log = logging.getLogger(__name__)

EVERY_S = 0.2
"""Progress of one file is told no more often."""
MAX_WAITING = 256
"""Progress is dropped while so many lines wait for a caller that reads too slowly."""


class ProgressFeed:
    """Takes progress in a thread and gives it out on the event loop, thinned out."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._stopped = threading.Event()
        self._told: dict[str, tuple[str, float]] = {}

    def tell(self, progress: FetchProgress) -> None:
        """Take progress; called in the thread that works.

        Raises:
            Cancelled: nobody waits for the work any more.
        """
        if self._stopped.is_set():
            raise Cancelled("The caller went away; the fetch can go on later.")
        now = time.monotonic()
        phase, told_at = self._told.get(progress.source, ("", 0.0))
        if progress.phase == phase and now - told_at < EVERY_S:
            return
        self._told[progress.source] = (progress.phase, now)
        self._loop.call_soon_threadsafe(self._put, _event(progress))

    def _put(self, event: dict[str, Any]) -> None:
        if self._events.qsize() < MAX_WAITING:
            self._events.put_nowait(event)

    def stop(self) -> None:
        """Have the work end when it next tells something."""
        self._stopped.set()

    async def events_until(self, work: asyncio.Task[Any]) -> AsyncIterator[dict[str, Any]]:
        """Progress until `work` is done."""
        work.add_done_callback(lambda _: self._events.put_nowait(None))
        while (event := await self._events.get()) is not None:
            yield event


class ProgressResponse(StreamingResponse):
    """`{"progress": …}` lines, then `{"<outcome>": …}` or `{"error": …}`.

    When the caller goes away the work is told to stop.

    Args:
        feed: where progress comes from.
        work: gives the outcome, as JSON types.
        outcome: what the outcome is called.
    """

    def __init__(
        self, feed: ProgressFeed, work: asyncio.Task[Mapping[str, Any]], outcome: str
    ) -> None:
        super().__init__(
            _lines(feed, work, outcome),
            media_type="application/x-ndjson",
            headers={"cache-control": "no-cache", "x-accel-buffering": "no"},
        )
        self._feed = feed
        # Nobody else looks at how the work ended when the caller goes away.
        work.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the lines."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._feed.stop()


async def _lines(
    feed: ProgressFeed, work: asyncio.Task[Mapping[str, Any]], outcome: str
) -> AsyncIterator[bytes]:
    async for event in feed.events_until(work):
        yield _line({"progress": event})
    try:
        yield _line({outcome: await work})
    except ModelryError as error:
        note_failure(error.code)
        yield _line(error_body(error))
    except Exception:
        log.exception("work behind a progress stream failed")
        note_failure(InternalError.code)
        yield _line(error_body(InternalError("Something went wrong in the server; see its log.")))


def _event(progress: FetchProgress) -> dict[str, Any]:
    return {
        "source": progress.source,
        "phase": progress.phase,
        "done_bytes": progress.done_bytes,
        "total_bytes": progress.total_bytes,
    }


def _line(value: Mapping[str, Any]) -> bytes:
    return orjson.dumps(value) + b"\n"
