"""A replica that answers typed calls in this process, for tests of doors and of the data plane.

Subclass `InProcessModel`, override what the test needs, and attach a link to a replica group:

    class Parrot(InProcessModel):
        def generate(self, request):
            yield TextDelta(0, request.messages[-1]["content"])
            yield Finished(0, "stop")
            yield TokenUsage(3, 1)

    group.attach(InProcessLink("r1", group, Parrot()))

Calls are decoded from the frames that a worker would get and answered in its frames, so that
encoding is tested too. Events come one per turn of the event loop; `HOLD` leaves the call running
until it is cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from modelry.domain.errors import ModelryError, NotSupported
from modelry.runtime_api.engine import Embeddings
from modelry.runtime_api.frames import Kind
from modelry.runtime_api.generation import (
    ChatRequest,
    CompletionRequest,
    EngineEvent,
    event_to_wire,
    request_from_wire,
)
from modelry.runtime_api.tensors import Array, pack_tensors, unpack_tensors
from modelry.services.inference.call import Call
from modelry.services.inference.replica_group import ReplicaGroup
from modelry.testing.replica_pool import FakeLink

HOLD = None
"""Yielded by `InProcessModel.generate`: nothing more comes until the call is cancelled."""

Items = tuple[list[dict[str, Any]], dict[str, int]]
Explained = tuple[dict[str, Any], dict[str, int]]


class InProcessModel:
    """Refuses everything; override what a test needs. Raise `ModelryError` to fail a call."""

    def generate(self, request: ChatRequest | CompletionRequest) -> Iterable[EngineEvent | None]:
        """The events of a generation, `Finished` per choice and `TokenUsage` last."""
        raise NotSupported(f"This model does not answer {type(request).__name__}.")

    def predict(self, items: Sequence[dict[str, Any]], options: Mapping[str, Any]) -> Items:
        """One result per item, and the usage."""
        raise NotSupported(f"This model takes no items ({len(items)} with {dict(options)}).")

    def explain(
        self, item: dict[str, Any], options: Mapping[str, Any], wish: Mapping[str, Any]
    ) -> Explained:
        """What is told of an explanation, and the usage."""
        raise NotSupported(f"This model explains nothing ({item}, {dict(options)}, {dict(wish)}).")

    def explain_tensors(
        self, inputs: Mapping[str, Array], wish: Mapping[str, Any]
    ) -> tuple[list[dict[str, Any]], dict[str, Array], dict[str, int]]:
        """What is told of each row, the tensors that tell it, and the usage."""
        raise NotSupported(f"This model explains no tensors ({', '.join(inputs)}, {dict(wish)}).")

    def embed(self, inputs: Sequence[str | list[int]]) -> Embeddings:
        """One vector per input."""
        raise NotSupported(f"This model embeds nothing ({len(inputs)} inputs).")

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Output tensors."""
        raise NotSupported(f"This model takes no tensors ({', '.join(inputs)}).")


class InProcessLink(FakeLink):
    """A `ReplicaLink` to an `InProcessModel`."""

    def __init__(
        self, replica_id: str, group: ReplicaGroup, model: InProcessModel, capacity: int = 4
    ) -> None:
        super().__init__(replica_id, group, capacity=capacity)
        self._model = model

    def _run(self, call: Call) -> None:
        if call not in self.calls:
            return
        try:
            if call.kind == Kind.GENERATE:
                request = request_from_wire(orjson.loads(call.header))
                self._step(call, iter(self._model.generate(request)))
            else:
                self.finish(call, *self._answer_to(call))
        except ModelryError as error:
            self._fail(call, error)

    def _step(self, call: Call, events: Iterator[EngineEvent | None]) -> None:
        if call not in self.calls:
            return
        try:
            event = next(events)
        except StopIteration:
            self.finish(call)
        except ModelryError as error:
            self._fail(call, error)
        else:
            if event is not HOLD:
                call.on_event(orjson.dumps(event_to_wire(event)), b"")
                asyncio.get_running_loop().call_soon(self._step, call, events)

    def _fail(self, call: Call, error: ModelryError) -> None:
        self._release(call)
        call.fail(error)
        self._group.pump()

    def _answer_to(self, call: Call) -> tuple[bytes, bytes]:
        header = orjson.loads(call.header)
        answer: dict[str, Any]
        parts: list[bytes] = []
        if call.kind == Kind.PREDICT:
            items = [_with_bytes(item, bytes(call.body)) for item in header["items"]]
            results, usage = self._model.predict(items, header["options"])
            answer = {"items": results, "usage": usage, "arrays": []}
        elif call.kind == Kind.EXPLAIN and "inputs" in header:
            inputs = unpack_tensors(header["inputs"], call.body)
            rows, weights, usage = self._model.explain_tensors(inputs, header["wish"])
            arrays, parts = pack_tensors(weights)
            answer = {"explanations": rows, "usage": usage, "outputs": arrays}
        elif call.kind == Kind.EXPLAIN:
            item = _with_bytes(header["items"][0], bytes(call.body))
            told, usage = self._model.explain(item, header["options"], header["wish"])
            answer, parts = {"explanation": told, "usage": usage}, [b"PNG"]
        elif call.kind == Kind.EMBED:
            found = self._model.embed(header["inputs"])
            arrays, parts = pack_tensors({"embedding": found.vectors})
            tokens = sum(found.token_counts)
            answer = {"items": [], "usage": {"input_tokens": tokens}, "arrays": arrays}
        else:
            outputs = self._model.infer(unpack_tensors(header["inputs"], call.body))
            arrays, parts = pack_tensors(outputs)
            answer = {"outputs": arrays}
        return orjson.dumps(answer), b"".join(parts)


def _with_bytes(item: Mapping[str, Any], body: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in item.items():
        if isinstance(value, dict) and "$bytes" in value:
            start, length = value["$bytes"]
            found[name] = body[start : start + length]
        else:
            found[name] = value
    return found
