"""Work: what is done in a locked-down process of its own, for a job or for a moment's question.

Work reads hostile bytes (files to import), runs for hours (training), or both. So it has no
network, no database and no key: it asks the server for each file that it reads, hands over each
file that it makes, and tells how far it is, all through its `WorkHost`. The same work runs in a
process (`job_host/`, `adapters/processes/`) and, for tests, in a thread (`modelry.testing.work`).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from modelry.domain.usage import Compute
from modelry.runtime_api.engine import StopSignal

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server answers to `WorkHost.ask`."""

    header: Json
    body: bytes = b""


class WorkHost(Protocol):
    """What work may do beside computing. May be used from any thread of the work."""

    @property
    def request(self) -> Json:
        """What the work was asked for; JSON types."""
        ...

    @property
    def scratch(self) -> Path:
        """An empty folder in memory for what libraries insist on writing; it is gone afterwards."""
        ...

    @property
    def stop(self) -> StopSignal:
        """Raised when the job is cancelled, paused, or the server ends."""
        ...

    def open(self, name: str) -> AbstractContextManager[Path]:
        """A readable path of an input file, in memory until the context ends.

        Raises:
            NotFound: the server has no input of that name for this work.
        """
        ...

    def put(self, name: str, file: Path, about: Json | None = None) -> Json:
        """Hand a file over; it may be changed or removed afterwards.

        Args:
            name: what it is, as the one who asked for the work expects it.
            file: its content.
            about: what to tell with it.

        Returns:
            What the server says of it, such as `{"digest": "sha256:…", "size_bytes": …}`.

        Raises:
            ModelryError: it cannot be kept (disk full, quota).
        """
        ...

    def ask(self, what: str, header: Json, body: bytes = b"") -> Answer:
        """Ask the server something, such as predictions of a version; waits for the answer.

        Raises:
            ModelryError: the server refused, or failed.
        """
        ...

    def progress(self, done: int, total: int | None, unit: str, phase: str = "") -> None:
        """Tell how far it is; may be told often, the server thins it out."""
        ...

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Tell a point of the live curves; every one is kept."""
        ...

    def log(self, line: str) -> None:
        """Tell a line for the job's log."""
        ...


class Work(Protocol):
    """One kind of work. Its module is imported in the work's process only.

    It is made once in a process and run once, unless its orders say what the process stays for
    (`WorkOrder.stays_for`): then what it has made for one order it may keep for the next.
    """

    name: ClassVar[str]

    def run(self, host: WorkHost) -> Json:
        """Do it.

        Returns:
            The outcome, as JSON types.

        Raises:
            ModelryError: told to the one who asked, as it is.
            Cancelled: `host.stop` was raised.
        """
        ...


@dataclass(frozen=True, slots=True)
class WorkLimits:
    """What a piece of work may use.

    Attributes:
        memory_bytes: beyond it the work is ended; None for no limit of its own.
        scratch_bytes: how much its scratch folder may hold.
        threads: for computing; None for all cores.
        niceness: how far it stands back behind serving, 0 (not) to 19; None: as works usually do.
        silent_s: it is ended when it tells nothing (its process, not the work) for so long.
        gpu: whether it may compute on the machine's GPUs, if there are any.
        threads_sleep: whether threads sleep while they wait for each other. By default they turn
            for some milliseconds, which is faster where all that is computed is long, and takes
            cores from others where it is short.
        is_by_settings: whether the operator's settings bound memory and scratch, so that they can
            be told as a remedy.
    """

    memory_bytes: int | None = None
    scratch_bytes: int = 2**30
    threads: int | None = None
    niceness: int | None = None
    silent_s: float = 30.0
    gpu: bool = False
    threads_sleep: bool = False
    is_by_settings: bool = False


@dataclass(frozen=True, slots=True)
class WorkOrder:
    """What to do.

    Attributes:
        work: names an entry of `modelry.works`.
        request: is given to it.
        limits: what it may use.
        stays_for: what the process knows once it has done this, in a name that is never used for
            anything else. It waits for the next order of the same work, limits and name, and for
            no other; somebody waits for its outcome. Empty: the process ends with the order.
    """

    work: str
    request: Json
    limits: WorkLimits = field(default_factory=WorkLimits)
    stays_for: str = ""


class InputFile(Protocol):
    """An open input; `path` is readable in this process until `close`."""

    @property
    def path(self) -> Path:
        """Where it can be read."""
        ...

    def close(self) -> None:
        """Let it go."""
        ...


class WorkClient(Protocol):
    """The server's side of a piece of work: what its host passes on. Called in one thread."""

    def open_input(self, name: str) -> InputFile:
        """An input file, open.

        Raises:
            NotFound: there is none of that name.
        """
        ...

    def take_output(self, name: str, file: Path, about: Json) -> Json:
        """Keep a file that the work made; see `WorkHost.put`."""
        ...

    def answer(self, what: str, header: Json, body: bytes) -> Answer:
        """Answer a question of the work; see `WorkHost.ask`."""
        ...

    def progress(self, done: int, total: int | None, unit: str, phase: str) -> None:
        """See `WorkHost.progress`."""
        ...

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """See `WorkHost.metrics`."""
        ...

    def log(self, line: str) -> None:
        """See `WorkHost.log`."""
        ...

    def used(self, compute: Compute) -> None:
        """What its process used since this was told last; every few seconds, and at its end."""
        ...


class Works(Protocol):
    """Runs work; a port of the services that need some."""

    def run(self, order: WorkOrder, client: WorkClient, stop: StopSignal) -> Json:
        """Do it, and wait; blocks.

        Args:
            order: what to do.
            client: serves the work.
            stop: ends it early; work that does not end soon is killed.

        Returns:
            Its outcome.

        Raises:
            Cancelled: `stop` was raised.
            WorkFailed: it ended without an outcome; the message says how.
            ModelryError: what the work raised.
        """
        ...
