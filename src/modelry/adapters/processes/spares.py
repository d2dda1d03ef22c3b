"""Processes that wait for the next order of recurring work, their libraries imported.

What an explanation by gradients needs takes seconds to import, and somebody waits for it. So when
such work has ended, a process is started for the next, before anybody asks. It has seen nothing
but its own code; it does one order, as all processes of work do, and ends with it.
"""

from __future__ import annotations

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
        self._waiting: dict[_Key, SimpleQueue[Asked]] = {}

    def do(self, work: str, limits: WorkLimits, asked: Asked) -> Json | None:
        """Have the process that waits do it; None where none does. Blocks.

        Raises:
            ModelryError: as `WorkProcess.do`.
        """
        with self._lock:
            place = self._waiting.pop((work, limits), None)
        if place is None:
            return None
        place.put(asked)
        return asked.outcome.result()

    def prepare(self, work: str, limits: WorkLimits) -> None:
        """Start a process that waits, unless one does."""
        key = (work, limits)
        with self._lock:
            if key in self._waiting:
                return
            place = self._waiting[key] = SimpleQueue()
        thread = threading.Thread(
            target=self._keep, args=(key, place), name="spare-work", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # so many threads are there already
            asked = self._withdraw(key, place)
            if asked is not None:
                asked.outcome.set_result(None)

    def _keep(self, key: _Key, place: SimpleQueue[Asked]) -> None:
        asked: Asked | None = None
        outcome: Json | None = None
        is_begun = False
        try:
            with self._start(*key) as process:
                process.prepare()
                until = time.monotonic() + self._spare_s
                while asked is None and not process.has_ended() and time.monotonic() < until:
                    asked = _given(place, min(_LOOK_EVERY_S, self._spare_s))
                asked = asked or self._withdraw(key, place)
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
            asked = asked or self._withdraw(key, place)
        if asked is not None:
            asked.outcome.set_result(outcome)

    def _withdraw(self, key: _Key, place: SimpleQueue[Asked]) -> Asked | None:
        """Let nobody choose a process any more; what is asked of it, if somebody just did."""
        with self._lock:
            if self._waiting.get(key) is place:
                del self._waiting[key]
                return None
        return place.get()


def _given(place: SimpleQueue[Asked], wait_s: float) -> Asked | None:
    try:
        return place.get(timeout=wait_s)
    except Empty:
        return None
