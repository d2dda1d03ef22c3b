"""PREDICT and EMBED calls: items through the version's processing and engine.

Decoding images and tokenising text happens in a small pool, so that it overlaps the engine; the
engine takes the prepared tensors of several calls as one batch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import orjson

from modelry.domain.errors import InternalError
from modelry.runtime_api.engine import StopSignal, SupportsTextEmbedding
from modelry.runtime_api.frames import Frame, Kind, encode
from modelry.runtime_api.items import decode_item
from modelry.runtime_api.tensors import Array, pack_tensors
from modelry.tasks.prediction import Answer, Predictor, Prepared, join_answers
from modelry.worker.calls import OpenCalls, as_told
from modelry.worker.engine_lane import EngineLane, Work
from modelry.worker.tensor_engine import TensorEngine, run_arrays

_RESULT = int(Kind.RESULT)

Part = tuple[Prepared, Mapping[str, Array]]
"""Some items of a call, and the engine's outputs for them."""


class ItemCalls:
    """Answers calls on items with a predictor and a tensor engine.

    Args:
        predictor: the version's processing.
        engine: its engine.
        lane: the queue in front of the engine.
        calls: where calls are answered.
        threads: size of the pool for processing.
    """

    def __init__(
        self,
        predictor: Predictor,
        engine: TensorEngine,
        lane: EngineLane,
        calls: OpenCalls,
        threads: int,
    ) -> None:
        self.engine = engine
        self._predictor = predictor
        self._lane = lane
        self._calls = calls
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="items")

    def predict(self, frame: Frame, work: ItemsWork) -> None:
        """Start a PREDICT call."""
        self._pool.submit(self._guarded, work, functools.partial(self._prepare_items, frame))

    def embed(self, frame: Frame, work: ItemsWork) -> None:
        """Start an EMBED call."""
        self._pool.submit(self._guarded, work, functools.partial(self._prepare_texts, frame))

    def _guarded(self, work: ItemsWork, step: Callable[[ItemsWork], None]) -> None:
        try:
            step(work)
        except BaseException as error:  # noqa: BLE001 - processing steps may raise anything
            self._calls.fail(work.call_id, as_told(error))

    def _prepare_items(self, frame: Frame, work: ItemsWork) -> None:
        header = frame.json()
        items = [decode_item(item, frame.body) for item in header["items"]]
        self._queue(work, items, header.get("options") or {})

    def _prepare_texts(self, frame: Frame, work: ItemsWork) -> None:
        inputs = frame.json()["inputs"]
        items = [{"text": one} if isinstance(one, str) else {"tokens": one} for one in inputs]
        self._queue(work, items, {})

    def _queue(
        self, work: ItemsWork, items: Sequence[Mapping[str, Any]], options: Mapping[str, Any]
    ) -> None:
        if work.is_cancelled:
            return
        work.take(self._predictor.before(items, options), self.engine.is_batched)
        self._lane.add(work)
        self._lane.run()

    def run(self, works: Sequence[ItemsWork], stop: StopSignal) -> list[list[Part]]:
        """Run prepared calls of the same key; gives the parts of each with their outputs."""
        engine = self.engine
        if engine.is_batched:
            inputs = [work.prepared.inputs for work in works]
            found = run_arrays(engine, inputs, [work.rows for work in works], stop)
            return [[(work.prepared, outputs)] for work, outputs in zip(works, found, strict=True)]
        return [
            [
                (part, engine.infer(part.inputs, part.count, stop))
                for part in self._predictor.parts(work.prepared, engine.items_at_once)
            ]
            for work in works
        ]

    def finish(self, work: ItemsWork, parts: Sequence[Part]) -> None:
        """Go on with the steps after the engine, while it takes the next batch."""
        self._pool.submit(self._guarded, work, functools.partial(self._answer, parts))

    def _answer(self, parts: Sequence[Part], work: ItemsWork) -> None:
        answers = [self._predictor.after(part, outputs) for part, outputs in parts]
        answer = join_answers(answers)
        self._calls.answer_all([work], [_result(work.call_id, answer)])


class ItemsWork(Work):
    """A call on items; becomes work for the engine once it is prepared."""

    __slots__ = ("_owner", "prepared")

    prepared: Prepared

    def __init__(self, call_id: int, deadline: float, owner: ItemCalls) -> None:
        super().__init__(call_id, deadline, None, 0)
        self._owner = owner

    def take(self, prepared: Prepared, is_batched: bool) -> None:  # noqa: FBT001 - one caller
        """Keep the prepared inputs and see with what they may be run together."""
        self.prepared = prepared
        sizes = {len(array) for array in prepared.inputs.values()}
        if not is_batched or len(sizes) != 1:
            self.rows = 1
            return
        self.rows = sizes.pop()
        described = sorted(
            (name, array.dtype.str, array.shape[1:]) for name, array in prepared.inputs.items()
        )
        if self.rows and not any(array.dtype.hasobject for array in prepared.inputs.values()):
            self.key = ("items", *described)

    def run_together(self, works: Sequence[Any], stop: StopSignal) -> Sequence[None]:
        """Run prepared calls of the same key, and hand the outputs on to the later steps."""
        for work, parts in zip(works, self._owner.run(works, stop), strict=True):
            self._owner.finish(work, parts)
        return [None] * len(works)


class TextEmbedWork(Work):
    """An EMBED call for an engine that embeds text by itself."""

    __slots__ = ("_embed", "_inputs")

    def __init__(
        self, call_id: int, deadline: float, engine: SupportsTextEmbedding, inputs: list[Any]
    ) -> None:
        super().__init__(call_id, deadline, ("embed",), len(inputs))
        self._embed = engine.embed
        self._inputs = inputs

    def run_together(self, works: Sequence[Any], stop: StopSignal) -> Sequence[bytes]:
        """Embed the inputs of all calls in one go; gives the RESULT frames."""
        inputs = [one for work in works for one in work._inputs]  # noqa: SLF001 - of this class
        found = self._embed(inputs, stop)
        frames: list[bytes] = []
        at = 0
        for work in works:
            until = at + work.rows
            tokens = sum(found.token_counts[at:until])
            vectors = np.ascontiguousarray(found.vectors[at:until], np.float32)
            answer = Answer(arrays={"embedding": vectors}, usage={"input_tokens": tokens})
            frames.append(_result(work.call_id, answer))
            at = until
        return frames


def _result(call_id: int, answer: Answer) -> bytes:
    arrays, parts = pack_tensors(answer.arrays)
    header = {"items": answer.items, "usage": answer.usage, "arrays": arrays}
    try:
        raw = orjson.dumps(header, option=orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError as error:
        raise InternalError(f"The result of the model cannot be told as JSON: {error}.") from None
    return encode(_RESULT, call_id, raw, b"".join(parts))
