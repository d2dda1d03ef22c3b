"""EXPLAIN calls: one at a time, in a thread of their own, in small runs between those of others."""

from __future__ import annotations

import math
import resource
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from modelry.domain.errors import Overloaded
from modelry.explaining.asking import Subject
from modelry.explaining.contract import Wish
from modelry.explaining.explain import explain
from modelry.explaining.pace import Pace
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.frames import Frame
from modelry.runtime_api.items import decode_item
from modelry.runtime_api.tensors import Array
from modelry.tasks.prediction import Predictor
from modelry.worker.calls import OpenCalls
from modelry.worker.courtesy import Courtesy
from modelry.worker.engine_lane import EngineLane, Work
from modelry.worker.tensor_engine import TensorEngine
from modelry.worker.threaded_calls import ThreadedCall, ThreadedCalls

MOST_WAITING = 4
"""Each takes one of the places that the gateway has for calls of a replica."""
_NO_CALL = 0


class ExplainCalls(ThreadedCalls):
    """Runs explanations.

    Args:
        predictor: the version's processing.
        engine: its engine.
        lane: the queue in front of the engine.
        calls: where calls are answered.
        columns: the columns that a version for tables takes.
    """

    def __init__(
        self,
        predictor: Predictor,
        engine: TensorEngine,
        lane: EngineLane,
        calls: OpenCalls,
        columns: Sequence[str],
    ) -> None:
        super().__init__(1, calls, "explain")
        self._predictor = predictor
        self._engine = engine
        self._lane = lane
        self._columns = columns
        self._courtesy = Courtesy(lane.is_wanted)

    def start(self, frame: Frame, deadline: float) -> ThreadedCall:
        """Start a call.

        Raises:
            Overloaded: so many wait already that they would keep predictions out.
        """
        if len(self._running) > MOST_WAITING:
            raise Overloaded(
                f"{MOST_WAITING} explanations wait for this model already; try again later.",
                retry_after_s=1,
            )
        return super().start(frame, deadline)

    def busy_s(self, now: float) -> float:
        """The engine is busy with others, too: what hangs is seen at its queue."""
        del now
        return 0.0

    def answer(self, frame: Frame, call: ThreadedCall) -> tuple[bytes, bytes]:
        """See `ThreadedCalls.answer`."""
        asked: Mapping[str, Any] = frame.json()
        (item,) = (decode_item(one, frame.body) for one in asked["items"])
        most_rows = self._engine.items_in_bulk
        pace = Pace(most_rows, self._courtesy.slice_s)
        subject = Subject(
            item,
            asked.get("options") or {},
            self._predictor,
            lambda inputs, rows: self._through_lane(inputs, rows, call.stop, pace),
            most_rows,
            self._columns,
            pace=pace,
        )
        explained = explain(subject, Wish.from_wire(asked["wish"]), call.stop)
        header = {"explanation": explained.told, "usage": explained.usage}
        return orjson.dumps(header), explained.picture

    def _through_lane(
        self, inputs: Mapping[str, Array], rows: int, stop: StopSignal, pace: Pace
    ) -> Mapping[str, Array]:
        work = _Run(self._engine, inputs, rows, stop)
        self._lane.add(work)
        self._lane.run()
        outputs = work.outputs()
        pace.ran(rows, work.took_s)
        self._courtesy.ran(work.took_s, work.taken)
        rest_s = self._courtesy.rest_s
        if rest_s:
            time.sleep(rest_s)
        return outputs


class _Run(Work):
    """Some rows of an explanation: who waits for them is told, and no call is answered.

    Attributes:
        took_s: how long the engine took.
        taken: how often a core was taken from a thread of this process meanwhile.
    """

    is_background = True

    __slots__ = ("_done", "_engine", "_failure", "_found", "_inputs", "_stop", "taken", "took_s")

    def __init__(
        self, engine: TensorEngine, inputs: Mapping[str, Array], rows: int, stop: StopSignal
    ) -> None:
        super().__init__(_NO_CALL, math.inf, None, rows)
        self._engine = engine
        self._inputs = inputs
        self._stop = stop
        self._done = threading.Event()
        self._found: Mapping[str, Array] = {}
        self._failure: BaseException | None = None
        self.took_s, self.taken = 0.0, 0

    def run_together(self, works: Sequence[Any], stop: StopSignal) -> Sequence[None]:
        """Run it alone; what goes wrong is raised where it is waited for."""
        del works, stop  # the explanation's own signal ends it
        began, taken = time.perf_counter(), _cores_taken()
        try:
            self._found = self._engine.infer_bulk(self._inputs, self.rows, self._stop)
        except BaseException as error:  # noqa: BLE001 - raised again in the explanation's thread
            self._failure = error
        self.took_s = time.perf_counter() - began
        self.taken = _cores_taken() - taken
        self._done.set()
        return [None]

    def outputs(self) -> Mapping[str, Array]:
        """What the engine gave, once it has run."""
        self._done.wait()
        if self._failure is not None:
            raise self._failure
        return self._found


def _cores_taken() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
