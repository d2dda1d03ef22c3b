"""Work in the background of an engine, in short runs that stand back while others want it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from modelry.domain.errors import Cancelled
from modelry.explaining.pace import Pace
from modelry.runtime_api.engine import StopSignal
from modelry.worker.courtesy import Courtesy
from modelry.worker.engine_lane import EngineLane, Work
from modelry.worker.pressure import used_s, waited_s

_NO_CALL = 0
T = TypeVar("T")


class Background:
    """Runs pieces of work through an engine's queue, for one thread.

    The rest that a run calls for is taken before the next one: an answer that is known waits for
    none, and what passes until the next work is a rest, too.

    Args:
        lane: the queue.
    """

    def __init__(self, lane: EngineLane) -> None:
        self._lane = lane
        self._courtesy = Courtesy(lane.is_wanted, self._seconds)
        self._lost_s = 0.0
        self._free_at = -math.inf
        self._owed_s = 0.0

    def pace(self, most_rows: int, *, others_are_asked: bool) -> Pace:
        """How many rows runs may have, of which `run` must be told; work begins.

        Args:
            most_rows: of a run.
            others_are_asked: see `Courtesy.begin`.
        """
        now = time.monotonic()
        idle_s = now - self._free_at
        self._courtesy.begin(now, idle_s, others_are_asked=others_are_asked)
        self._owed_s = max(0.0, self._owed_s - idle_s)
        self._free_at = now
        return Pace(most_rows, self._courtesy.slice_s)

    def run(self, call: Callable[[], T], rows: int, pace: Pace, stop: StopSignal) -> T:
        """What `call` gives, once the engine was free for it, and the rest is over that is owed.

        Args:
            call: runs the engine.
            rows: that it gives the engine.
            pace: is told how long that took.
            stop: ends the rest; what is left of it is owed by the next work.

        Raises:
            Cancelled: `stop` was raised before the run.
        """
        made_s = time.monotonic() - self._free_at
        self._rest(stop)
        work = _Run(call, rows)
        self._lane.add(work)
        self._lane.run()
        found: T = work.found()
        pace.ran(rows, work.took_s)
        self._lost_s += work.lost_s
        now = self._free_at = time.monotonic()
        self._courtesy.look(now)
        self._owed_s = self._courtesy.rest_s(now, made_s + work.took_s)
        return found

    def _rest(self, stop: StopSignal) -> None:
        if self._owed_s:
            is_gone = threading.Event()
            stop.subscribe(is_gone.set)
            try:
                if is_gone.wait(self._owed_s):
                    raise Cancelled("The explanation was stopped because its caller went away.")
            finally:
                stop.unsubscribe(is_gone.set)
        self._owed_s = 0.0

    def _seconds(self) -> tuple[float, float]:
        """In which somebody waited for cores, and others used them.

        Where the machine does not tell, what this thread has waited tells something, and others
        are taken to use what passes.
        """
        waited, used = waited_s(), used_s()
        return (
            self._lost_s if waited is None else waited,
            time.monotonic() if used is None else used - time.process_time(),
        )


class _Run(Work):
    """Work for which somebody waits in a thread of their own; no call is answered.

    Attributes:
        took_s: how long the engine took.
        lost_s: for how much of that the thread that ran it had no core.
    """

    is_background = True

    __slots__ = ("_call", "_done", "_failure", "_found", "lost_s", "took_s")

    def __init__(self, call: Callable[[], Any], rows: int) -> None:
        super().__init__(_NO_CALL, math.inf, None, rows)
        self._call = call
        self._done = threading.Event()
        self._found: Any = None
        self._failure: BaseException | None = None
        self.took_s = self.lost_s = 0.0

    def run_together(self, works: Sequence[Any], stop: StopSignal) -> Sequence[None]:
        """Run it alone; what goes wrong is raised where it is waited for."""
        del works, stop  # the signal of who waits ends it
        began, cpu_s = time.perf_counter(), time.thread_time()
        try:
            self._found = self._call()
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            self._failure = error
        self.took_s = time.perf_counter() - began
        self.lost_s = max(0.0, self.took_s - (time.thread_time() - cpu_s))
        self._done.set()
        return [None]

    def found(self) -> Any:
        """What it gave, once it has run."""
        self._done.wait()
        if self._failure is not None:
            raise self._failure
        return self._found
