"""GENERATE calls: each in a thread of its own, up to the engine's slots."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import orjson

from modelry.domain.errors import Cancelled, ModelryError, NotSupported
from modelry.runtime_api.engine import Engine, StopSignal, SupportsChat, SupportsCompletion
from modelry.runtime_api.frames import Frame, Kind, encode
from modelry.runtime_api.generation import (
    ChatRequest,
    CompletionRequest,
    EngineEvent,
    event_to_wire,
    request_from_wire,
)
from modelry.worker.calls import OpenCalls, as_told, too_late
from modelry.worker.connection import FrameSender

_EVENT = int(Kind.EVENT)


class Generation:
    """One running generation."""

    __slots__ = ("call_id", "deadline", "is_late", "started", "stop")

    def __init__(self, call_id: int, deadline: float) -> None:
        self.call_id = call_id
        self.deadline = deadline
        self.stop = StopSignal()
        self.is_late = False
        self.started: float | None = None

    def expire(self, now: float) -> None:
        """Stop it when its time is over."""
        if now > self.deadline and not self.stop.is_set():
            self.is_late = True
            self.stop.set()


class GenerationCalls:
    """Runs generations on an engine that chats or completes.

    Args:
        engine: the loaded engine.
        calls: where calls are answered.
        sender: where events go.
    """

    def __init__(self, engine: Engine, calls: OpenCalls, sender: FrameSender) -> None:
        self._engine = engine
        self._calls = calls
        self._sender = sender
        self._pool = ThreadPoolExecutor(engine.capacity, thread_name_prefix="generate")
        self._running: dict[int, Generation] = {}

    def start(self, frame: Frame, deadline: float) -> Generation:
        """Start a GENERATE call."""
        generation = Generation(frame.call_id, deadline)
        self._running[frame.call_id] = generation
        self._calls.add(generation)
        self._pool.submit(self._run, generation, frame.header)
        return generation

    def expire(self, now: float) -> None:
        """Stop generations whose time is over."""
        for generation in tuple(self._running.values()):
            generation.expire(now)

    def busy_s(self, now: float) -> float:
        """How long the oldest generation has been running; 0 when none is."""
        started = [one.started for one in tuple(self._running.values()) if one.started is not None]
        return now - min(started) if started else 0.0

    def _run(self, generation: Generation, header: bytes) -> None:
        generation.started = time.monotonic()
        generation.expire(generation.started)
        failure: ModelryError | None = None
        try:
            if generation.stop.is_set():
                raise Cancelled("The generation was stopped before it began.")
            self._generate(request_from_wire(orjson.loads(header)), generation)
        except BaseException as error:  # noqa: BLE001 - an engine may raise anything
            failure = as_told(error)
        if generation.is_late:
            failure = too_late()
        # first: when the gateway has the answer it may send the next call, or DRAIN
        self._running.pop(generation.call_id, None)
        if failure is None:
            self._calls.answer(generation.call_id, b"{}")
        else:
            self._calls.fail(generation.call_id, failure)

    def _generate(self, request: ChatRequest | CompletionRequest, generation: Generation) -> None:
        call_id, stop, send = generation.call_id, generation.stop, self._sender.send

        def emit(event: EngineEvent) -> None:
            if not stop.is_set():
                send(encode(_EVENT, call_id, orjson.dumps(event_to_wire(event))))

        engine = self._engine
        if isinstance(request, ChatRequest):
            if not isinstance(engine, SupportsChat):
                raise NotSupported("This model has no chat; it completes plain text.")
            engine.chat(request, emit, stop)
        elif isinstance(engine, SupportsCompletion):
            engine.complete(request, emit, stop)
        else:
            raise NotSupported("This model completes no plain text; use chat.")
