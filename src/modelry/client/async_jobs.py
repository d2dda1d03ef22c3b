"""Jobs for asyncio."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

from modelry.client.async_transport import AsyncTransport
from modelry.client.errors import ModelryError
from modelry.client.exchange import Flow
from modelry.client.job_display import display_for
from modelry.client.job_following import Following, JobView
from modelry.client.job_records import CurvePoint, JobArtefact, JobEvent, JobLogLine, JobRecord
from modelry.client.keras_models import KEPT, load_model
from modelry.client.methods import AsyncResource, awaitable, like
from modelry.client.operations import jobs as operations

P = ParamSpec("P")


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


def giving_job(
    operation: Callable[P, Flow[JobRecord]],
) -> Callable[Concatenate[Any, P], Awaitable[AsyncJob]]:
    """A method that runs `operation`, and gives the job that it made or found."""

    async def method(self: AsyncResource, /, *args: P.args, **kwargs: P.kwargs) -> AsyncJob:
        return AsyncJob(self._transport, await self._transport.run(operation(*args, **kwargs)))

    return like(operation, method, gives="AsyncJob")


def giving_jobs(
    operation: Callable[P, Flow[list[JobRecord]]],
) -> Callable[Concatenate[Any, P], Awaitable[list[AsyncJob]]]:
    """A method that runs `operation`, and gives the jobs that it made or found."""

    async def method(self: AsyncResource, /, *args: P.args, **kwargs: P.kwargs) -> list[AsyncJob]:
        found = await self._transport.run(operation(*args, **kwargs))
        return [AsyncJob(self._transport, one) for one in found]

    return like(operation, method, gives="list[AsyncJob]")


class AsyncJobs(AsyncResource):
    """Long work on the server."""

    submit = giving_job(operations.submit_job)
    chain = giving_jobs(operations.start_chain)
    get = giving_job(operations.get_job)
    kinds = awaitable(operations.job_kinds)
    list = giving_jobs(operations.list_jobs)
