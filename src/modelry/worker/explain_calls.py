"""EXPLAIN calls: one at a time, in a thread of their own, in small runs between those of others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import orjson

from modelry.domain.errors import NotSupported, Overloaded
from modelry.explaining.asking import Run, Subject
from modelry.explaining.contract import (
    BASELINE,
    OTHERS_ARE_ASKED,
    OUTPUT,
    TENSORS,
    Explained,
    Wish,
)
from modelry.explaining.counterfactuals import COUNTERFACTUAL
from modelry.explaining.course import Tell
from modelry.explaining.explain import explain
from modelry.explaining.language.pairs import Embed, explain_pair
from modelry.explaining.pace import Pace
from modelry.explaining.tensors import TensorPredictor, joined, row_of
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.frames import Frame
from modelry.runtime_api.items import decode_item
from modelry.runtime_api.tensors import Array, pack_tensors, unpack_tensors
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

    def tell(self, asked: Mapping[str, Any], call_id: int) -> Tell | None:
        """Tells the gateway how far a call is, where that is asked."""
        if not asked.get("tells"):
            return None
        return lambda far: self._calls.event(call_id, orjson.dumps(far.to_wire()))

    def busy_s(self, now: float) -> float:
        """The engine is busy with others, too: what hangs is seen at its queue."""
        del now
        return 0.0


class ExplainCalls(ExplanationCalls):
    """Explains answers of engines that take tensors.

    Args:
        predictor: the version's processing; None where it takes tensors alone.
        engine: its engine.
        lane: the queue in front of the engine.
        calls: where calls are answered.
        columns: the columns that a version for tables takes.
        embeds: whether the version's answers are vectors.
        background: rows of tables that stand for what is usual.
    """

    def __init__(
        self,
        predictor: Predictor | None,
        engine: TensorEngine,
        lane: EngineLane,
        calls: OpenCalls,
        columns: Sequence[str],
        *,
        embeds: bool = False,
        background: Sequence[Any] = (),
    ) -> None:
        super().__init__(calls)
        self._predictor = predictor
        self._engine = engine
        self._background = Background(lane)
        self._columns = columns
        self._embeds = embeds
        self._usual_rows = background

    def answer(self, frame: Frame, call: ThreadedCall) -> tuple[bytes, bytes]:
        """See `ThreadedCalls.answer`."""
        asked: Mapping[str, Any] = frame.json()
        if "inputs" in asked:
            return self._of_tensors(asked, frame.body, call.stop)
        predictor = self._predictor
        if predictor is None:
            raise NotSupported("This model has no processing for items; explain tensors.")
        (item,) = (decode_item(one, frame.body) for one in asked["items"])
        wish = Wish.from_wire(asked["wish"])
        if self._embeds:
            pace = self._background.pace(
                self._engine.items_in_bulk, others_are_asked=asked[OTHERS_ARE_ASKED]
            )
            embed = self._embeds_by(predictor, self._runs(call.stop, pace))
            tell = self.tell(asked, call.call_id)
            return told(explain_pair(item, embed, wish, call.stop, pace, tell=tell))
        subject = replace(
            self._subject(item, asked, predictor, call.stop), tell=self.tell(asked, call.call_id)
        )
        if wish.method == COUNTERFACTUAL and not asked.get("is_own", True):
            # its values come from those rows, which are not shared with the model
            subject = replace(subject, background=())
        return told(explain(subject, wish, call.stop))

    def _of_tensors(
        self, asked: Mapping[str, Any], body: bytes, stop: StopSignal
    ) -> tuple[bytes, bytes]:
        """Explain each row of raw tensors by itself."""
        if not self._engine.is_batched:
            raise NotSupported(
                "The model takes one input at a time (its first dimension is fixed), so that "
                "changed ones cannot be asked for together; its tensors cannot be explained."
            )
        inputs = unpack_tensors(asked["inputs"], body)
        item = {name: asked[name] for name in (BASELINE, OUTPUT)}
        rows: list[dict[str, Any]] = []
        arrays: list[Mapping[str, Array]] = []
        usage: Counter[str] = Counter()
        for row in range(len(next(iter(inputs.values())))):
            subject = self._subject(
                {**item, TENSORS: row_of(inputs, row)},
                asked,
                TensorPredictor(self._predictor),
                stop,
            )
            explained = explain(subject, Wish.from_wire(asked["wish"]), stop)
            arrays.append(explained.told["attribution"].pop("arrays"))
            rows.append(explained.told)
            usage.update(explained.usage)
        entries, parts = pack_tensors(joined(rows, arrays))
        header = {"explanations": rows, "usage": dict(usage), "outputs": entries}
        return orjson.dumps(header), b"".join(parts)

    def _subject(
        self,
        item: Mapping[str, Any],
        asked: Mapping[str, Any],
        predictor: Predictor,
        stop: StopSignal,
    ) -> Subject:
        most_rows = self._engine.items_in_bulk
        pace = self._background.pace(most_rows, others_are_asked=asked[OTHERS_ARE_ASKED])
        return Subject(
            item,
            asked.get("options") or {},
            predictor,
            self._runs(stop, pace),
            most_rows,
            self._columns,
            pace=pace,
            background=self._usual_rows,
        )

    def _runs(self, stop: StopSignal, pace: Pace) -> Run:
        def run(inputs: Mapping[str, Array], rows: int) -> Mapping[str, Array]:
            return self._background.run(
                lambda: self._engine.infer_bulk(inputs, rows, stop), rows, pace, stop
            )

        return run

    def _embeds_by(self, predictor: Predictor, run: Run) -> Embed:
        """Embeds texts by the version's processing and its engine."""

        def embed(texts: Sequence[str]) -> tuple[Array, int]:
            prepared = predictor.before([{"text": text} for text in texts], {})
            vectors = [
                predictor.after(part, run(part.inputs, part.count)).arrays[ARRAY]
                for part in predictor.parts(prepared, self._engine.items_in_bulk)
            ]
            return np.concatenate(vectors), prepared.usage.get("input_tokens", 0)

        return embed


def told(explained: Explained) -> tuple[bytes, bytes]:
    """Header and body of the frame that tells an explanation."""
    header = {"explanation": explained.told, "usage": explained.usage}
    return orjson.dumps(header), explained.picture
