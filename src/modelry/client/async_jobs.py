"""Jobs for asyncio."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from modelry.client.async_transport import AsyncTransport
from modelry.client.errors import ModelryError
from modelry.client.job_display import display_for
from modelry.client.job_following import Following, JobView
from modelry.client.job_records import CurvePoint, JobArtefact, JobEvent, JobLogLine, JobRecord
from modelry.client.keras_models import KEPT, load_model
from modelry.client.methods import AsyncResource
from modelry.client.operations import jobs as operations


class AsyncJob(JobView):
    """A job on the server.

    Args:
        transport: reaches the server.
        record: the job as it was told.
    """

    def __init__(self, transport: AsyncTransport, record: JobRecord) -> None:
        super().__init__(record)
        self._transport = transport

    async def refresh(self) -> AsyncJob:
        """Ask how it is now."""
        self._record = await self._transport.run(operations.get_job(self.id))
        return self

    async def wait(
        self,
        timeout_s: float | None = None,
        *,
        progress: bool | Callable[[JobEvent], Any] = True,
        check: bool = True,
    ) -> AsyncJob:
        """Wait until it has ended; a server that restarts meanwhile is waited for.

        Args:
            timeout_s: how long at most; None for as long as it takes. A paused job is waited for.
            progress: show it on stderr (live in a terminal, else a line now and then); or what is
                called with each event.
            check: raise unless it has succeeded.

        Raises:
            JobFailed: it failed or was cancelled; not without `check`.
            TimedOut: it did not end in time. It goes on.
        """
        with display_for(progress, self._record) as show:
            async for event in self.events(timeout_s=timeout_s):
                show(event)
        await self.refresh()
        if check:
            self.check_success()
        return self

    async def events(
        self, after: int = 0, *, timeout_s: float | None = None
    ) -> AsyncIterator[JobEvent]:
        """What happens to it and what it tells, until it has ended.

        Args:
            after: the number of the event that was had last; 0 begins with the first.
            timeout_s: how long at most.

        Raises:
            TimedOut: it did not end in time.
        """
        following = Following(self.id, after, timeout_s)
        while not following.is_over:
            try:
                request = following.request()
                async with await self._transport.stream(
                    request, operations.JobEventParser
                ) as stream:
                    async for event in stream:
                        following.heard(event)
                        if event.job is not None:
                            self._record = event.job
                        if event.kind != "alive":
                            yield event
            except ModelryError as error:
                await asyncio.sleep(following.pause_after(error))

    async def cancel(self) -> AsyncJob:
        """End it for good; if it runs it ends soon."""
        self._record = await self._transport.run(operations.cancel_job(self.id))
        return self

    async def pause(self) -> AsyncJob:
        """Have it wait until it is resumed; if it runs it stops soon."""
        self._record = await self._transport.run(operations.pause_job(self.id))
        return self

    async def resume(self) -> AsyncJob:
        """Let it go on when it is paused or has failed, from its last checkpoint."""
        self._record = await self._transport.run(operations.resume_job(self.id))
        return self

    async def log(self) -> list[JobLogLine]:
        """All lines that it told so far."""
        return await self._transport.run(operations.job_log(self.id))

    async def metrics(self) -> list[CurvePoint]:
        """Its curves, by step."""
        return await self._transport.run(operations.job_metrics(self.id))

    async def artefacts(self) -> Sequence[JobArtefact]:
        """The files that are kept with it."""
        return (await self.refresh()).record.artefacts

    async def read_artefact(self, name: str) -> bytes:
        """The content of one of its files."""
        request = operations.artefact_request(self.id, name)
        async with await self._transport.stream(request, operations.ArtefactParser) as chunks:
            return b"".join([chunk async for chunk in chunks])

    async def keras_model(self) -> Any:
        """The model that a job of the recipe `keras` trained, by the Keras that is installed here.

        Raises:
            NotFound: it has none (yet).
            InvalidInput: Keras is not installed here.
        """
        return load_model(await self.read_artefact(KEPT))

    async def download(self, name: str, path: str | os.PathLike[str] | None = None) -> Path:
        """Save one of its files; the place is replaced once all of it has come.

        Args:
            name: of the file, as `artefacts` has it.
            path: where to; by default its own name in the working folder.
        """
        target = Path(path if path is not None else Path(name).name)
        partial = target.with_name(target.name + ".part")
        request = operations.artefact_request(self.id, name)
        async with await self._transport.stream(request, operations.ArtefactParser) as chunks:
            with await asyncio.to_thread(partial.open, "wb") as file:
                async for chunk in chunks:
                    await asyncio.to_thread(file.write, chunk)
        await asyncio.to_thread(partial.replace, target)
        return target


class AsyncJobs(AsyncResource):
    """Long work on the server."""

    async def submit(
        self,
        kind: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        name: str = "",
        priority: int = 0,
        after: Sequence[str | AsyncJob] = (),
        not_before: datetime | None = None,
        retries: int | None = None,
    ) -> AsyncJob:
        """Put a job into the queue.

        Args:
            kind: what is to be done; `kinds` tells which there are.
            parameters: of the kind.
            name: for people.
            priority: -100 to 100; the highest of the tenant goes first.
            after: jobs that must succeed before.
            not_before: when it may begin at the earliest, with a time zone.
            retries: how many failures in a row that another attempt may mend are tried again.
        """
        flow = operations.submit_job(
            kind,
            parameters,
            name=name,
            priority=priority,
            after=[one.id if isinstance(one, AsyncJob) else one for one in after],
            not_before=not_before,
            retries=retries,
        )
        return AsyncJob(self._transport, await self._transport.run(flow))

    async def get(self, job_id: str) -> AsyncJob:
        """One job."""
        return AsyncJob(self._transport, await self._transport.run(operations.get_job(job_id)))

    async def kinds(self) -> Sequence[str]:
        """The kinds of jobs that the server knows."""
        return await self._transport.run(operations.job_kinds())

    async def list(
        self,
        *,
        kind: str | Sequence[str] = (),
        state: str | Sequence[str] = (),
        name: str | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> Sequence[AsyncJob]:
        """Jobs, newest first.

        Args:
            kind: only of this kind, or these.
            state: only in this state, or these.
            name: only of this name.
            before: only those submitted before this one; the last one's id gives the next page.
            limit: how many at most, up to 500.
        """
        flow = operations.list_jobs(kind=kind, state=state, name=name, before=before, limit=limit)
        return [AsyncJob(self._transport, one) for one in await self._transport.run(flow)]
