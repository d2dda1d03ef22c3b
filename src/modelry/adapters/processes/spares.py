"""Processes that wait for the next order of recurring work, their libraries imported.

What an explanation by gradients needs takes seconds to import, and somebody waits for it. So when
such work has ended, a process is started for the next, before anybody asks. It has seen nothing
but its own code; it does one order, as all processes of work do, and ends with it.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from modelry.adapters.processes.work_process import WorkProcess
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.work import Json, WorkClient, WorkLimits

SPARE_S = 60.0
"""How long one waits: it takes memory, and nobody reads its signs of life meanwhile."""
_LOOK_EVERY_S = 1.0
_CLOSE_S = 5.0

_log = logging.getLogger("modelry.works")
_Key = tuple[str, WorkLimits]
Start = Callable[[str, WorkLimits], WorkProcess]
"""Starts a process for a work, with its limits."""


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


_Place = SimpleQueue[Asked | None]
"""Where a process finds what it is asked for; None for nothing any more."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    place: _Place
    thread: threading.Thread


class Spares:
    """At most one waiting process for each work and its limits.

    Each has a thread that lives as long, as processes of work end with the thread that started
    them.

    Args:
        start: starts a process.
        spare_s: how long it waits.
    """

    def __init__(self, start: Start, spare_s: float) -> None:
        self._start = start
        self._spare_s = spare_s
        self._lock = threading.Lock()
        self._is_closed = False
        self._waiting: dict[_Key, _Waiting] = {}

    def do(self, work: str, limits: WorkLimits, asked: Asked) -> Json | None:
        """Have the process that waits do it; None where none does. Blocks.

        Raises:
            ModelryError: as `WorkProcess.do`.
        """
        with self._lock:
            waiting = self._waiting.pop((work, limits), None)
        if waiting is None:
            return None
        waiting.place.put(asked)
        return asked.outcome.result()

    def prepare(self, work: str, limits: WorkLimits) -> None:
        """Start a process that waits, unless one does."""
        key = (work, limits)
        place: _Place = SimpleQueue()
        thread = threading.Thread(
            target=self._keep, args=(key, place), name="spare-work", daemon=True
        )
        with self._lock:
            if key in self._waiting or self._is_closed:
                return
            try:
                thread.start()
            except RuntimeError:  # so many threads are there already
                return
            self._waiting[key] = _Waiting(place, thread)

    def close(self) -> None:
        """End those that wait, and start no more."""
        with self._lock:
            self._is_closed = True
            waiting = list(self._waiting.values())
            self._waiting.clear()
        for one in waiting:
            one.place.put(None)
        for one in waiting:
            one.thread.join(_CLOSE_S)

    def _keep(self, key: _Key, place: _Place) -> None:
        asked: Asked | None = None
        outcome: Json | None = None
        is_begun = False
        try:
            with self._start(*key) as process:
                process.prepare()
                asked = self._asked(key, place, process)
                if asked is not None:
                    try:
                        outcome = asked.of(process)
                    finally:
                        is_begun = process.is_begun
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            if asked is not None and is_begun:
                asked.outcome.set_exception(error)
                return
            _log.warning("No process waits for the work '%s': %s", key[0], error)
            asked = asked or self._withdrawn(key, place)
        if asked is not None:
            asked.outcome.set_result(outcome)

    def _asked(self, key: _Key, place: _Place, process: WorkProcess) -> Asked | None:
        """What the process is asked for, in time; None for nothing."""
        until = time.monotonic() + self._spare_s
        while not process.has_ended() and time.monotonic() < until:
            with contextlib.suppress(Empty):
                return place.get(timeout=min(_LOOK_EVERY_S, self._spare_s))
        return self._withdrawn(key, place)

    def _withdrawn(self, key: _Key, place: _Place) -> Asked | None:
        """Let nobody choose a process any more; what is asked of it, if somebody just did."""
        with self._lock:
            waiting = self._waiting.get(key)
            if waiting is not None and waiting.place is place:
                del self._waiting[key]
                return None
        return place.get()
