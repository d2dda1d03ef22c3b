"""A real worker process, called without a gateway."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from modelry.adapters.processes.environment import worker_environment
from modelry.adapters.processes.program import WORKER, command_of
from modelry.domain.sandbox import DEFAULT_POLICY
from modelry.runtime_api.engine import LoadSpec
from modelry.runtime_api.frames import Frame, FrameDecoder, Kind, encode, error_from_wire
from modelry.runtime_api.generation import (
    ChatRequest,
    CompletionRequest,
    Finished,
    GenerationEvent,
    TextDelta,
    TokenLogprob,
    TokenUsage,
    ToolCallDelta,
    event_from_wire,
    request_to_wire,
)
from modelry.runtime_api.tensors import Array, unpack_tensors

TIMEOUT_S = 60.0


@dataclass
class Generated:
    """What one generation gave; `at_s` are the seconds at which its events came."""

    events: list[GenerationEvent] = field(default_factory=list)
    at_s: list[float] = field(default_factory=list)

    def text(self, index: int = 0) -> str:
        parts = [e.text for e in self.events if isinstance(e, TextDelta) and e.index == index]
        return "".join(parts)

    @property
    def deltas(self) -> int:
        return sum(isinstance(event, TextDelta) for event in self.events)

    @property
    def reasons(self) -> dict[int, str]:
        return {e.index: e.reason for e in self.events if isinstance(e, Finished)}

    @property
    def usage(self) -> TokenUsage:
        last = self.events[-1]
        assert isinstance(last, TokenUsage)
        return last

    @property
    def logprobs(self) -> list[TokenLogprob]:
        return [one for e in self.events if isinstance(e, TextDelta) for one in e.logprobs]

    @property
    def calls(self) -> list[tuple[str | None, Any]]:
        """Name and parsed arguments of each tool call."""
        found: dict[int, list[Any]] = {}
        for event in self.events:
            if isinstance(event, ToolCallDelta):
                call = found.setdefault(event.call_index, [event.name, ""])
                call[1] += event.arguments
        return [(name, orjson.loads(arguments)) for name, arguments in found.values()]


class WorkerChild:
    """One loaded worker; calls may come from several threads."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self._scratch = Path(tempfile.mkdtemp(prefix="modelry-"))
        self._socket = ours
        with theirs:
            self.process = subprocess.Popen(
                command_of(WORKER, theirs.fileno(), self._scratch, DEFAULT_POLICY),
                pass_fds=(theirs.fileno(),),
                env=worker_environment(os.environ, self._scratch),
                stderr=subprocess.DEVNULL,
            )
        self._answers: dict[int, queue.SimpleQueue[Frame | None]] = {0: queue.SimpleQueue()}
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.ready: dict[str, Any] = {}

    def load(self, spec: LoadSpec) -> None:
        """Load `spec`; `ready` is then what the worker told of it."""
        self._send(encode(Kind.LOAD, 0, orjson.dumps(spec.to_wire())))
        self.ready = self._next(0).json()

    def generate(
        self,
        request: ChatRequest | CompletionRequest,
        on_event: Callable[[Generated, Callable[[], None]], None] | None = None,
    ) -> Generated:
        """Run `request`; `on_event` gets what is there so far, and a way to cancel."""
        generated, started = Generated(), time.monotonic()
        with self._call(Kind.GENERATE, request_to_wire(request)) as call_id:
            while (frame := self._next(call_id)).kind == Kind.EVENT:
                if "prompt_tokens" in (wire := frame.json()):
                    continue  # for the gateway's account, not for callers
                generated.events.append(event_from_wire(wire))
                generated.at_s.append(time.monotonic() - started)
                if on_event is not None:
                    on_event(generated, lambda: self._send(encode(Kind.CANCEL, call_id)))
        return generated

    def embed(self, inputs: list[Any]) -> tuple[Array, dict[str, int]]:
        """Vectors, and what they cost."""
        with self._call(Kind.EMBED, {"inputs": inputs}) as call_id:
            frame = self._next(call_id)
        header = frame.json()
        (vectors,) = unpack_tensors(header["arrays"], frame.body).values()
        return vectors, header["usage"]

    def drain(self) -> int:
        """Ask it to go; its exit status."""
        self._send(encode(Kind.DRAIN, 0))
        return self.process.wait(TIMEOUT_S)

    def close(self) -> int:
        """End the connection, as a dead gateway would; its exit status."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        status = self.process.wait(TIMEOUT_S)
        self._reader.join(TIMEOUT_S)
        self._socket.close()
        shutil.rmtree(self._scratch, ignore_errors=True)
        return status

    @contextlib.contextmanager
    def _call(self, kind: Kind, header: Any) -> Iterator[int]:
        with self._lock:
            call_id = max(self._answers) + 1
            self._answers[call_id] = queue.SimpleQueue()
        self._send(encode(kind, call_id, orjson.dumps(header)))
        yield call_id

    def _next(self, call_id: int) -> Frame:
        frame = self._answers[call_id].get(timeout=TIMEOUT_S)
        if frame is None:
            raise EOFError
        if frame.kind == Kind.ERROR:
            raise error_from_wire(frame.json())
        return frame

    def _send(self, frame: bytes) -> None:
        with self._lock:
            self._socket.sendall(frame)

    def _read(self) -> None:
        decoder = FrameDecoder()
        with contextlib.suppress(OSError):
            while data := self._socket.recv(1 << 16):
                for frame in decoder.feed(data):
                    self._answers[frame.call_id].put(frame)
        for waiting in tuple(self._answers.values()):
            waiting.put(None)


@contextlib.contextmanager
def worker_child(spec: LoadSpec) -> Iterator[WorkerChild]:
    """A worker that has loaded `spec`; it has ended afterwards."""
    child = WorkerChild()
    try:
        child.load(spec)
        yield child
    finally:
        child.close()
