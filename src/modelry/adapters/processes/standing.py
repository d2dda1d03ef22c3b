"""Processes that wait, after an order of work, for the next one of the same kind and name.

What an explanation by gradients needs takes seconds to import and to make, and somebody waits for
it. So the process that has explained an answer of a version stays for a while. What it knows is
that version's, of that tenant: it is found under that name alone (`WorkOrder.stays_for`).
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from queue import Empty, SimpleQueue

from modelry.adapters.processes.work_process import WorkProcess
from modelry.domain.errors import ModelryError, WorkFailed
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.work import Json, WorkClient, WorkLimits

WAIT_S = 60.0
"""How long one waits: it takes memory, and nobody reads its signs of life meanwhile."""
MOST_WAITING = 2
"""Processes that wait at once, of all tenants: each has a model and a framework in memory."""
_LOOK_EVERY_S = 1.0
_CLOSE_S = 5.0

_log = logging.getLogger("modelry.works")
Start = Callable[[str, WorkLimits], WorkProcess]
"""Starts a process that stays, for a work with its limits."""


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a process does, within which limits, and what it stays for."""

    work: str
    limits: WorkLimits
    stays_for: str


@dataclass(frozen=True, slots=True)
class Asked:
    """An order on its way to a process; `outcome` is None where that was gone before it began."""

    request: Json
    client: WorkClient
    stop: StopSignal
    grace_s: float
    outcome: Future[Json | None] = field(default_factory=Future)

    def of(self, process: WorkProcess) -> Json:
        """What a process makes of it; see `WorkProcess.do`."""
        return process.do(self.request, self.client, self.stop, self.grace_s)


@dataclass(frozen=True, slots=True, eq=False)
class _Standing:
    """A process, and where it finds what it is asked for; None for nothing any more."""

    purpose: Purpose
    thread: threading.Thread
    place: SimpleQueue[Asked | None] = field(default_factory=SimpleQueue)


class StandingProcesses:
    """Does orders in processes that stay for more of the same.

    Each has a thread that lives as long, as processes of work end with the thread that started
    them.

    Args:
        start: starts a process.
        wait_s: how long one waits for its next order.
        most: how many wait at once; the one that has waited longest goes.
    """

    def __init__(self, start: Start, wait_s: float = WAIT_S, most: int = MOST_WAITING) -> None:
        self._start = start
        self._wait_s = wait_s
        self._most = most
        self._lock = threading.Lock()
        self._is_closed = False
        self._waiting: list[_Standing] = []
        """The one that has waited longest comes first."""

    def do(self, purpose: Purpose, asked: Asked) -> Json:
        """Have a process that waits for it do it, or else a new one. Blocks.

        Raises:
            ModelryError: as `WorkProcess.do`.
        """
        found = self._taken(purpose)
        if found is not None:
            found.place.put(asked)
            told = asked.outcome.result()
            if told is not None:
                return told
        return self._done_anew(purpose, asked)

    def close(self) -> None:
        """End those that wait; none waits any more."""
        with self._lock:
            self._is_closed = True
            waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.place.put(None)
        for one in waiting:
            one.thread.join(_CLOSE_S)

    # ---- who waits --------------------------------------------------------------------------

    def _taken(self, purpose: Purpose) -> _Standing | None:
        """The process of a purpose that has waited shortest; nobody else finds it any more."""
        with self._lock:
            for one in reversed(self._waiting):
                if one.purpose == purpose:
                    self._waiting.remove(one)
                    return one
        return None

    def _may_wait(self, standing: _Standing) -> bool:
        """Let a process be found, in the place of another where there are so many."""
        with self._lock:
            if self._is_closed:
                return False
            self._waiting.append(standing)
            gone = self._waiting[: -self._most]
            del self._waiting[: -self._most]
        for one in gone:
            one.place.put(None)
        return True

    def _withdrawn(self, standing: _Standing) -> Asked | None:
        """Let nobody find it any more; what is asked of it, if somebody just did."""
        with self._lock:
            if standing in self._waiting:
                self._waiting.remove(standing)
                return None
        return standing.place.get()

    # ---- in the thread of a process ---------------------------------------------------------

    def _done_anew(self, purpose: Purpose, asked: Asked) -> Json:
        first = replace(asked, outcome=Future())

        def keep() -> None:
            self._keep(standing, first)

        thread = threading.Thread(target=keep, name=f"work {purpose.work}", daemon=True)
        standing = _Standing(purpose, thread)
        thread.start()
        told = first.outcome.result()
        assert told is not None, "a new process has an outcome, or an error"
        return told

    def _keep(self, standing: _Standing, first: Asked) -> None:
        asked: Asked | None = first
        tell: Callable[[], None] | None = None
        process: WorkProcess | None = None
        try:
            with self._start(standing.purpose.work, standing.purpose.limits) as process:
                while asked is not None:
                    tell = _done(asked, process)
                    if not process.stays or not self._may_wait(standing):
                        break  # it is told what came of it once its process has ended
                    tell()
                    tell = None
                    asked = self._asked(standing, process)
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            if asked is None:
                _log.warning("A process that waited ended badly: %s", error)
            elif asked is not first and isinstance(error, WorkFailed) and not _has_begun(process):
                asked.outcome.set_result(None)
            else:
                asked.outcome.set_exception(error)
            return
        if tell is not None:
            tell()

    def _asked(self, standing: _Standing, process: WorkProcess) -> Asked | None:
        """What the process is asked for, in time; None for nothing."""
        until = time.monotonic() + self._wait_s
        while not process.has_ended() and time.monotonic() < until:
            with contextlib.suppress(Empty):
                return standing.place.get(timeout=min(_LOOK_EVERY_S, self._wait_s))
        return self._withdrawn(standing)


def _done(asked: Asked, process: WorkProcess) -> Callable[[], None]:
    """Have an order done; tells what came of it when it is called."""
    try:
        outcome = asked.of(process)
    except ModelryError as error:
        if not process.stays:
            raise
        return partial(asked.outcome.set_exception, error)
    return partial(asked.outcome.set_result, outcome)


def _has_begun(process: WorkProcess | None) -> bool:
    return process is not None and process.is_begun
