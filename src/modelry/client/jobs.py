"""Jobs for code that waits."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

from modelry.client.errors import ModelryError
from modelry.client.exchange import Flow
from modelry.client.job_display import display_for
from modelry.client.job_following import Following, JobView
from modelry.client.job_records import CurvePoint, JobArtefact, JobEvent, JobLogLine, JobRecord
from modelry.client.keras_models import KEPT, load_model
from modelry.client.methods import SyncResource, blocking, like
from modelry.client.operations import jobs as operations
from modelry.client.transport import Transport

P = ParamSpec("P")


class Job(JobView):
    """A job on the server.

    Args:
        transport: reaches the server.
        record: the job as it was told.
    """

    def __init__(self, transport: Transport, record: JobRecord) -> None:
        super().__init__(record)
        self._transport = transport

    def refresh(self) -> Job:
        """Ask how it is now."""
        self._record = self._transport.run(operations.get_job(self.id))
        return self

    def wait(
        self,
        timeout_s: float | None = None,
        *,
        progress: bool | Callable[[JobEvent], Any] = True,
        check: bool = True,
    ) -> Job:
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
            for event in self.events(timeout_s=timeout_s):
                show(event)
        self.refresh()
        if check:
            self.check_success()
        return self

    def events(self, after: int = 0, *, timeout_s: float | None = None) -> Iterator[JobEvent]:
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
                with self._transport.stream(request, operations.JobEventParser) as stream:
                    for event in stream:
                        following.heard(event)
                        if event.job is not None:
                            self._record = event.job
                        if event.kind != "alive":
                            yield event
            except ModelryError as error:
                time.sleep(following.pause_after(error))

    def cancel(self) -> Job:
        """End it for good; if it runs it ends soon."""
        self._record = self._transport.run(operations.cancel_job(self.id))
        return self

    def pause(self) -> Job:
        """Have it wait until it is resumed; if it runs it stops soon."""
        self._record = self._transport.run(operations.pause_job(self.id))
        return self

    def resume(self) -> Job:
        """Let it go on when it is paused or has failed, from its last checkpoint."""
        self._record = self._transport.run(operations.resume_job(self.id))
        return self

    def log(self) -> list[JobLogLine]:
        """All lines that it told so far."""
        return self._transport.run(operations.job_log(self.id))

    def metrics(self) -> list[CurvePoint]:
        """Its curves, by step."""
        return self._transport.run(operations.job_metrics(self.id))

    def artefacts(self) -> Sequence[JobArtefact]:
        """The files that are kept with it."""
        return self.refresh().record.artefacts

    def read_artefact(self, name: str) -> bytes:
        """The content of one of its files."""
        request = operations.artefact_request(self.id, name)
        with self._transport.stream(request, operations.ArtefactParser) as chunks:
            return b"".join(chunks)

    def keras_model(self) -> Any:
        """The model that a job of the recipe `keras` trained, by the Keras that is installed here.

        Raises:
            NotFound: it has none (yet).
            InvalidInput: Keras is not installed here.
        """
        return load_model(self.read_artefact(KEPT))

    def download(self, name: str, path: str | os.PathLike[str] | None = None) -> Path:
        """Save one of its files; the place is replaced once all of it has come.

        Args:
            name: of the file, as `artefacts` has it.
            path: where to; by default its own name in the working folder.
        """
        target = Path(path if path is not None else Path(name).name)
        partial = target.with_name(target.name + ".part")
        request = operations.artefact_request(self.id, name)
        with (
            self._transport.stream(request, operations.ArtefactParser) as chunks,
            partial.open("wb") as file,
        ):
            for chunk in chunks:
                file.write(chunk)
        partial.replace(target)
        return target


def giving_job(operation: Callable[P, Flow[JobRecord]]) -> Callable[Concatenate[Any, P], Job]:
    """A method that runs `operation`, and gives the job that it made or found."""

    def method(self: SyncResource, /, *args: P.args, **kwargs: P.kwargs) -> Job:
        return Job(self._transport, self._transport.run(operation(*args, **kwargs)))

    return like(operation, method, gives="Job")


def giving_jobs(
    operation: Callable[P, Flow[list[JobRecord]]],
) -> Callable[Concatenate[Any, P], list[Job]]:
    """A method that runs `operation`, and gives the jobs that it made or found."""

    def method(self: SyncResource, /, *args: P.args, **kwargs: P.kwargs) -> list[Job]:
        found = self._transport.run(operation(*args, **kwargs))
        return [Job(self._transport, one) for one in found]

    return like(operation, method, gives="list[Job]")


class Jobs(SyncResource):
    """Long work on the server."""

    submit = giving_job(operations.submit_job)
    chain = giving_jobs(operations.start_chain)
    get = giving_job(operations.get_job)
    kinds = blocking(operations.job_kinds)
    list = giving_jobs(operations.list_jobs)
