"""EXPLAIN calls: one at a time, in a thread of their own, in small runs between those of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from modelry.domain.errors import Overloaded
from modelry.explaining.asking import Run, Subject
from modelry.explaining.contract import Explained, Wish
from modelry.explaining.explain import explain
from modelry.explaining.language.pairs import Embed, explain_pair
from modelry.explaining.pace import Pace
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.frames import Frame
from modelry.runtime_api.items import decode_item
from modelry.runtime_api.tensors import Array
from modelry.tasks.installed.text_embedding import ARRAY
from modelry.tasks.prediction import Predictor
from modelry.worker.background import Background
from modelry.worker.calls import OpenCalls
from modelry.worker.engine_lane import EngineLane
from modelry.worker.tensor_engine import TensorEngine
from modelry.worker.threaded_calls import ThreadedCall, ThreadedCalls

MOST_WAITING = 4
"""Each takes one of the places that the gateway has for calls of a replica."""


class ExplanationCalls(ThreadedCalls):
    """Runs explanations, one at a time; subclasses say of what.

    Args:
        calls: where calls are answered.
    """

    def __init__(self, calls: OpenCalls) -> None:
        super().__init__(1, calls, "explain")

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


class ExplainCalls(ExplanationCalls):
    """Explains answers of engines that take tensors.

    Args:
        predictor: the version's processing.
        engine: its engine.
        lane: the queue in front of the engine.
        calls: where calls are answered.
        columns: the columns that a version for tables takes.
        embeds: whether the version's answers are vectors.
    """

    def __init__(
        self,
        predictor: Predictor,
        engine: TensorEngine,
        lane: EngineLane,
        calls: OpenCalls,
        columns: Sequence[str],
        *,
        embeds: bool = False,
    ) -> None:
        super().__init__(calls)
        self._predictor = predictor
        self._engine = engine
        self._background = Background(lane)
        self._columns = columns
        self._embeds = embeds

    def answer(self, frame: Frame, call: ThreadedCall) -> tuple[bytes, bytes]:
        """See `ThreadedCalls.answer`."""
        asked: Mapping[str, Any] = frame.json()
        (item,) = (decode_item(one, frame.body) for one in asked["items"])
        wish = Wish.from_wire(asked["wish"])
        most_rows = self._engine.items_in_bulk
        pace = self._background.pace(most_rows)
        run = self._runs(call.stop, pace)
        if self._embeds:
            return told(explain_pair(item, self._embeds_by(run), wish, call.stop, pace))
        subject = Subject(
            item,
            asked.get("options") or {},
            self._predictor,
            run,
            most_rows,
            self._columns,
            pace=pace,
        )
        return told(explain(subject, wish, call.stop))

    def _runs(self, stop: StopSignal, pace: Pace) -> Run:
        def run(inputs: Mapping[str, Array], rows: int) -> Mapping[str, Array]:
            return self._background.run(
                lambda: self._engine.infer_bulk(inputs, rows, stop), rows, pace
            )

        return run

    def _embeds_by(self, run: Run) -> Embed:
        """Embeds texts by the version's processing and its engine."""

        def embed(texts: Sequence[str]) -> tuple[Array, int]:
            prepared = self._predictor.before([{"text": text} for text in texts], {})
            vectors = [
                self._predictor.after(part, run(part.inputs, part.count)).arrays[ARRAY]
                for part in self._predictor.parts(prepared, self._engine.items_in_bulk)
            ]
            return np.concatenate(vectors), prepared.usage.get("input_tokens", 0)

        return embed


def told(explained: Explained) -> tuple[bytes, bytes]:
    """Header and body of the frame that tells an explanation."""
    header = {"explanation": explained.told, "usage": explained.usage}
    return orjson.dumps(header), explained.picture
