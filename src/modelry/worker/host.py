"""Hosts one engine: takes frames, hands calls to where they run, and ends when it shall."""

from __future__ import annotations

import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence

import orjson

from modelry.domain.errors import ModelryError, NotSupported, ReplicaLost
from modelry.runtime_api.answer_scores import SupportsAnswerScores
from modelry.runtime_api.engine import (
    LoadSpec,
    SupportsTensors,
    SupportsTextEmbedding,
    SupportsTextToText,
)
from modelry.runtime_api.frames import Frame, FrameError, Kind, encode, encode_error
from modelry.worker.calls import OpenCalls, as_told, deadline_of, log
from modelry.worker.connection import FrameReceiver, FrameSender
from modelry.worker.engine_lane import EngineLane, Work
from modelry.worker.explain_calls import ExplainCalls, ExplanationCalls
from modelry.worker.explain_texts import ExplainAnswerCalls, ExplainPairCalls
from modelry.worker.generation import GenerationCalls
from modelry.worker.item_calls import ItemCalls, ItemsWork, TextEmbedWork
from modelry.worker.loading import Loaded, load, processing_threads
from modelry.worker.reading_turns import ReadingTurns
from modelry.worker.tensor_engine import InferWork, TensorEngine
from modelry.worker.text_calls import TextCalls
from modelry.worker.threaded_calls import ThreadedCall, ThreadedCalls

_INFER = int(Kind.INFER)
CLOSE_TIMEOUT_S = 10.0
EXIT_DEFECT = 70
SLOW_RUN_S = 0.02
"""How long a run may keep the reading thread before the other one takes over."""


class Services:
    """What a loaded engine can be asked for; each part is None when it cannot."""

    def __init__(self, loaded: Loaded, calls: OpenCalls, sender: FrameSender) -> None:
        engine = loaded.engine
        self.engine = engine
        self.lane = EngineLane(calls, loaded.tuning.max_rows)
        self.tensors: TensorEngine | None = None
        self.items: ItemCalls | None = None
        self.embedder: SupportsTextEmbedding | None = None
        self.generation: GenerationCalls | None = None
        self.texts: TextCalls | None = None
        self.explanations: ExplanationCalls | None = None
        if isinstance(engine, SupportsTensors):
            tuning = loaded.tuning
            self.tensors = TensorEngine(
                engine, engine.signature, tuning.max_rows, is_fixed=tuning.is_fixed
            )
            if loaded.predictor is not None:
                self.items = ItemCalls(
                    loaded.predictor, self.tensors, self.lane, calls, processing_threads()
                )
            self.explanations = ExplainCalls(
                loaded.predictor,
                self.tensors,
                self.lane,
                calls,
                loaded.columns,
                embeds="embedding" in loaded.abilities,
                background=loaded.background,
            )
        if isinstance(engine, SupportsTextEmbedding):
            self.embedder = engine
            self.explanations = ExplainPairCalls(engine, self.lane, calls)
        if isinstance(engine, SupportsAnswerScores):
            self.explanations = ExplainAnswerCalls(engine, calls)
        if "chat" in loaded.abilities or "completion" in loaded.abilities:
            self.generation = GenerationCalls(engine, calls, sender)
        if isinstance(engine, SupportsTextToText):
            self.texts = TextCalls(engine, calls)
        self.embeds_items = self.embedder is None and "embedding" in loaded.abilities
        self.threaded: tuple[ThreadedCalls, ...] = tuple(
            one for one in (self.generation, self.texts, self.explanations) if one is not None
        )


class WorkerHost:
    """Serves one connection until it closes or the gateway lets the worker go.

    Two threads take turns at reading (`read_in_turn`). The one that reads also runs the engine,
    which costs no hand-over; when a run takes long, `watch` gives the reading to the other.

    Args:
        connection: the socket to the gateway.
        on_end: called once with the exit status; in a worker process it does not return.
        load_spec: loads what a LOAD frame asks for.
    """

    def __init__(
        self,
        connection: socket.socket,
        on_end: Callable[[int], None],
        load_spec: Callable[[LoadSpec], Loaded] = load,
    ) -> None:
        self.is_ended = False
        self._on_end = on_end
        self._load_spec = load_spec
        self._receiver = FrameReceiver(connection)
        self._sender = FrameSender(connection)
        self._calls = OpenCalls(self._sender, self._on_idle)
        self._services: Services | None = None
        self._refusal: ModelryError | None = None
        self._drain_status: int | None = None
        self._is_loading = False
        self._ending = threading.Lock()
        self.turns = ReadingTurns()

    def read_in_turn(self) -> None:
        """Read and run while it is this thread's turn; returns when the worker has ended."""
        try:
            self._read_in_turn()
        except BaseException as error:  # noqa: BLE001 - without a reader nobody would ever be answered
            log(f"cannot go on: {type(error).__name__}: {error}")
            traceback.print_exception(error, file=sys.stderr)
            self.end(EXIT_DEFECT)
        self.turns.pass_on()

    def _read_in_turn(self) -> None:
        turns = self.turns
        while not self.is_ended:
            turns.wait()
            while not self.is_ended:
                try:
                    frames = self._receiver.receive()
                except (EOFError, FrameError, OSError) as error:
                    if isinstance(error, FrameError):
                        log(f"the gateway sent no frame: {error}")
                    self.end(0)
                    break
                self._dispatch(frames)
                services = self._services
                if services is not None:
                    turns.lend()
                    services.lane.run()
                    if not turns.take_back():
                        break

    def watch(self, now: float) -> None:
        """Expire calls, and let the other thread read while a run takes long; every few ms."""
        services = self._services
        if services is None:
            return
        services.lane.expire(now)
        for threaded in services.threaded:
            threaded.expire(now)
        self.turns.pass_on_if_lent_since(now - SLOW_RUN_S)

    def take(self, frame: Frame) -> None:
        """Handle a frame that was received before this host was there."""
        self._dispatch([frame])

    @property
    def is_busy(self) -> bool:
        """Whether calls are open."""
        return len(self._calls) > 0

    def drain(self, status: int) -> None:
        """Take no more calls; when the open ones are answered, end with `status`."""
        self._refusal = ReplicaLost("This replica is being stopped; send it again.")
        self._drain_status = status
        if not self._calls:
            self._on_idle()

    def end(self, status: int) -> None:
        """End now, once."""
        if self._ending.acquire(blocking=False):
            self.is_ended = True
            self._on_end(status)

    def _on_idle(self) -> None:
        status = self._drain_status
        if status is None or self.is_ended:
            return
        self._sender.send(encode(Kind.DRAINED, 0))
        services = self._services
        if services is not None:
            closing = threading.Thread(target=services.engine.close, daemon=True)
            closing.start()
            closing.join(CLOSE_TIMEOUT_S)
        self.end(status)

    def _dispatch(self, frames: Sequence[Frame]) -> None:
        now = time.monotonic()
        tensor_calls: list[Work] = []
        for frame in frames:
            try:
                if frame.kind == _INFER:
                    tensor_calls.append(self._tensor_call(frame, now))
                else:
                    self._queue(tensor_calls)  # a CANCEL must find the call that it is for
                    tensor_calls.clear()
                    self._handle(frame, now)
            except ModelryError as error:
                self._refuse(frame.call_id, error)
            except Exception as error:  # noqa: BLE001 - one bad frame must not end the others' calls
                self._refuse(frame.call_id, as_told(error))
        self._queue(tensor_calls)

    def _refuse(self, call_id: int, error: ModelryError) -> None:
        if self._calls.find(call_id) is not None:
            self._calls.fail(call_id, error)
        else:
            self._sender.send(encode_error(call_id, error))

    def _ready_services(self) -> Services:
        if self._services is None or self._refusal is not None:
            raise self._refusal or ReplicaLost("The replica has not loaded its model yet.")
        return self._services

    def _tensor_call(self, frame: Frame, now: float) -> InferWork:
        services = self._services
        if services is None or self._refusal is not None:
            services = self._ready_services()
        tensors = services.tensors
        if tensors is None:
            raise NotSupported("This model takes no tensors; use the endpoint of its task.")
        plan = tensors.planner.plan(frame.header)
        if len(frame.body) != plan.size:
            raise plan.wrong_size(frame.body)
        deadline = deadline_of(frame.timeout_ms, now)
        return InferWork(frame.call_id, deadline, tensors, plan, frame.body)

    def _queue(self, works: Sequence[Work]) -> None:
        if works and self._services is not None:
            self._calls.add(*works)
            self._services.lane.add(*works)

    def _handle(self, frame: Frame, now: float) -> None:
        deadline = deadline_of(frame.timeout_ms, now)
        match frame.kind:
            case Kind.PREDICT:
                self._predict(frame, deadline)
            case Kind.EMBED:
                self._embed(frame, deadline)
            case Kind.GENERATE:
                generation = self._ready_services().generation
                if generation is None:
                    raise NotSupported("This model generates no text.")
                generation.start(frame, deadline)
            case Kind.EXPLAIN:
                explanations = self._ready_services().explanations
                if explanations is None:
                    raise NotSupported("Answers of this model cannot be explained.")
                explanations.start(frame, deadline)
            case Kind.CANCEL:
                self._cancel(frame.call_id)
            case Kind.PING:
                header = orjson.dumps({"busy_s": round(self._busy_s(now), 3)})
                self._sender.send(encode(Kind.PONG, frame.call_id, header))
            case Kind.DRAIN:
                self.drain(0)
            case Kind.LOAD if not self._is_loading:
                self._is_loading = True
                threading.Thread(target=self._load, args=(frame,), name="load").start()
            case _:
                log(f"a frame of kind {frame.kind}, unknown or out of place, was left out")

    def _predict(self, frame: Frame, deadline: float) -> None:
        services = self._ready_services()
        if services.texts is not None:
            services.texts.start(frame, deadline)
            return
        items = services.items
        if items is None:
            raise NotSupported(
                "This model has no processing for items; send tensors to /v2/models/…/infer."
            )
        work = ItemsWork(frame.call_id, deadline, items)
        self._calls.add(work)
        items.predict(frame, work)

    def _embed(self, frame: Frame, deadline: float) -> None:
        services = self._ready_services()
        if services.embedder is not None:
            inputs = frame.json()["inputs"]
            self._queue([TextEmbedWork(frame.call_id, deadline, services.embedder, inputs)])
        elif services.items is not None and services.embeds_items:
            work = ItemsWork(frame.call_id, deadline, services.items)
            self._calls.add(work)
            services.items.embed(frame, work)
        else:
            raise NotSupported("This model embeds no text.")

    def _cancel(self, call_id: int) -> None:
        call = self._calls.find(call_id)
        if isinstance(call, Work) and self._services is not None:
            self._services.lane.cancel(call)
        elif isinstance(call, ThreadedCall):
            call.stop.set()

    def _busy_s(self, now: float) -> float:
        services = self._services
        if services is None:
            return 0.0
        threaded = [one.busy_s(now) for one in services.threaded]
        return max(services.lane.busy_s(now), *threaded, 0.0)

    def _load(self, frame: Frame) -> None:
        try:
            loaded = self._load_spec(LoadSpec.from_wire(frame.json()))
            ready = orjson.dumps(loaded.ready_header())
        except BaseException as error:  # noqa: BLE001 - a runtime may raise anything
            self._sender.send(encode_error(0, as_told(error, loading=True)))
            self.end(1)
            return
        self._services = Services(loaded, self._calls, self._sender)
        self._sender.send(encode(Kind.READY, 0, ready))
