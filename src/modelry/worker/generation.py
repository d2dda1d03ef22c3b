"""GENERATE calls: each in a thread of its own, up to the engine's slots."""

from __future__ import annotations

import orjson

from modelry.domain.errors import NotSupported
from modelry.runtime_api.engine import Engine, SupportsChat, SupportsCompletion
from modelry.runtime_api.frames import Frame, Kind, encode
from modelry.runtime_api.generation import (
    ChatRequest,
    EngineEvent,
    event_to_wire,
    request_from_wire,
)
from modelry.worker.calls import OpenCalls
from modelry.worker.connection import FrameSender
from modelry.worker.threaded_calls import ThreadedCall, ThreadedCalls

_EVENT = int(Kind.EVENT)


class GenerationCalls(ThreadedCalls):
    """Runs generations on an engine that chats or completes.

    Args:
        engine: the loaded engine.
        calls: where calls are answered.
        sender: where events go.
    """

    def __init__(self, engine: Engine, calls: OpenCalls, sender: FrameSender) -> None:
        super().__init__(engine.capacity, calls, "generate")
        self._engine = engine
        self._sender = sender

    def answer(self, frame: Frame, call: ThreadedCall) -> tuple[bytes, bytes]:
        """See `ThreadedCalls.answer`: everything is told in events."""
        call_id, stop, send = call.call_id, call.stop, self._sender.send

        def emit(event: EngineEvent) -> None:
            if not stop.is_set():
                send(encode(_EVENT, call_id, orjson.dumps(event_to_wire(event))))

        engine = self._engine
        request = request_from_wire(frame.json())
        if isinstance(request, ChatRequest):
            if not isinstance(engine, SupportsChat):
                raise NotSupported("This model has no chat; it completes plain text.")
            engine.chat(request, emit, stop)
        elif isinstance(engine, SupportsCompletion):
            engine.complete(request, emit, stop)
        else:
            raise NotSupported("This model completes no plain text; use chat.")
        return b"{}", b""
