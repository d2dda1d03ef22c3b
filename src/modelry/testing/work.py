"""Work in a thread of this process, for tests of services; has the walls of none."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from modelry.domain.errors import Cancelled, LeaseLost, NotFound
from modelry.domain.usage import Compute
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.work import Answer, Json, Work, WorkClient, WorkOrder


class ThreadWorks:
    """Implements `Works` without a process.

    Args:
        works: what can be asked for, by name.
    """

    def __init__(self, *works: Work) -> None:
        self._works = {one.name: one for one in works}

    def run(self, order: WorkOrder, client: WorkClient, stop: StopSignal) -> Json:
        """See `Works.run`."""
        work = self._works.get(order.work)
        if work is None:
            raise NotFound(f"There is no work '{order.work}'.", param="work")
        if stop.is_set():
            raise Cancelled("The work was stopped before it began.")
        begun, cpu = time.monotonic(), time.thread_time()
        try:
            with tempfile.TemporaryDirectory() as folder:
                return work.run(ThreadHost(order.request, client, stop, Path(folder)))
        finally:
            seconds = (time.monotonic() - begun, time.thread_time() - cpu)
            with contextlib.suppress(LeaseLost):
                client.used(Compute(*(round(one * 1e6) for one in seconds)))


class ThreadHost:
    """Implements `WorkHost` by calling the client itself."""

    def __init__(self, request: Json, client: WorkClient, stop: StopSignal, scratch: Path) -> None:
        self.request = request
        self.stop = stop
        self.scratch = scratch
        self._client = client

    @contextmanager
    def open(self, name: str) -> Iterator[Path]:
        """See `WorkHost.open`."""
        file = self._client.open_input(name)
        try:
            yield file.path
        finally:
            file.close()

    def put(self, name: str, file: Path, about: Json | None = None) -> Json:
        """See `WorkHost.put`."""
        return self._client.take_output(name, file, about or {})

    def ask(self, what: str, header: Json, body: bytes = b"") -> Answer:
        """See `WorkHost.ask`."""
        return self._client.answer(what, header, body)

    def progress(self, done: int, total: int | None, unit: str, phase: str = "") -> None:
        """See `WorkHost.progress`."""
        self._client.progress(done, total, unit, phase)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """See `WorkHost.metrics`."""
        self._client.metrics(step, values)

    def log(self, line: str) -> None:
        """See `WorkHost.log`."""
        self._client.log(line)
