"""A worker host in this process, and the gateway's end of its socket."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from modelry.domain.signature import Signature
from modelry.runtime_api.engine import LoadSpec, SupportsTensors
from modelry.runtime_api.frames import Frame, FrameDecoder, Kind, encode
from modelry.runtime_api.tensors import Array, pack_tensors, unpack_tensors
from modelry.worker.host import WorkerHost
from modelry.worker.loading import Loaded, load
from modelry.worker.tuning import Tuning

TIMEOUT_S = 10.0


@dataclass
class Gateway:
    """Speaks frames with the host; `host.turns` reads in two threads, `watch` in a third."""

    connection: socket.socket
    host: WorkerHost
    exits: list[int] = field(default_factory=list)
    decoder: FrameDecoder = field(default_factory=FrameDecoder)
    pending: list[Frame] = field(default_factory=list)

    def send(self, kind: int, call_id: int, header: Any = None, body: bytes = b"", ms: int = 0):
        self.connection.sendall(encode(kind, call_id, orjson.dumps(header or {}), body, ms))

    def receive(self) -> Frame:
        while not self.pending:
            data = self.connection.recv(1 << 20)
            if not data:
                raise EOFError
            self.pending.extend(self.decoder.feed(data))
        return self.pending.pop(0)

    def answers(self, count: int) -> dict[int, Frame]:
        """The next `count` RESULT and ERROR frames by call id."""
        found: dict[int, Frame] = {}
        while len(found) < count:
            frame = self.receive()
            if frame.kind in (Kind.RESULT, Kind.ERROR):
                assert frame.call_id not in found
                found[frame.call_id] = frame
        return found

    def infer_frame(
        self,
        call_id: int,
        inputs: Mapping[str, Array],
        outputs: Sequence[str] = (),
        ms: int = 0,
    ) -> bytes:
        entries, parts = pack_tensors(inputs)
        header = orjson.dumps({"inputs": entries, "outputs": list(outputs)})
        return encode(Kind.INFER, call_id, header, b"".join(parts), ms)

    def infer(self, call_id: int, inputs: Mapping[str, Array], **more: Any) -> None:
        self.connection.sendall(self.infer_frame(call_id, inputs, **more))

    def exit_status(self) -> int | None:
        """The status that the host ended with; waits for it."""
        give_up = time.monotonic() + TIMEOUT_S
        while not self.exits and time.monotonic() < give_up:
            time.sleep(0.005)
        return self.exits[0] if self.exits else None

    def load(self, spec: LoadSpec) -> Frame:
        self.send(Kind.LOAD, 0, spec.to_wire())
        return self.receive()


def outputs_of(frame: Frame) -> dict[str, Array]:
    assert frame.kind == Kind.RESULT, frame.header
    return unpack_tensors(frame.json()["outputs"], frame.body)


def loaded(engine: Any, max_rows: int = 8, predictor: Any = None, abilities: Any = None) -> Loaded:
    """What the host gets for an engine that a test made."""
    if abilities is None:
        abilities = ("tensors",) if isinstance(engine, SupportsTensors) else ()
        abilities += ("items",) if predictor else ()
    return Loaded(engine, predictor, Tuning(max_rows), tuple(abilities), 0.0)


@contextlib.contextmanager
def hosted(engine: Any = None, **more: Any) -> Iterator[Gateway]:
    """A host that has loaded `engine` (or loads real specs); every thread has ended afterwards."""
    ours, theirs = socket.socketpair()
    ours.settimeout(TIMEOUT_S)
    exits: list[int] = []
    if engine is None:
        host = WorkerHost(theirs, exits.append, load)
    else:
        host = WorkerHost(theirs, exits.append, lambda _spec: loaded(engine, **more))
    stopped = threading.Event()

    def watch() -> None:
        while not stopped.wait(0.005):
            host.watch(time.monotonic())

    threads = [threading.Thread(target=host.read_in_turn) for _ in range(2)]
    threads.append(threading.Thread(target=watch))
    for thread in threads:
        thread.start()
    gateway = Gateway(ours, host, exits)
    try:
        if engine is not None:
            assert gateway.load(LoadSpec("tensor", "own", {}, {})).kind == Kind.READY
        yield gateway
    finally:
        ours.close()
        stopped.set()
        for thread in threads:
            thread.join(TIMEOUT_S)
        theirs.close()
        assert not any(thread.is_alive() for thread in threads)


class Doubling:
    """y = 2x over (batch, n) float32; notes the rows of each run."""

    capacity = 1

    def __init__(self, signature: Signature) -> None:
        self.signature = signature
        self.runs: list[int] = []
        self.closed = False

    def infer(self, inputs: Mapping[str, Array], stop: Any) -> dict[str, Array]:
        x = inputs["x"]
        self.runs.append(len(x))
        return {"y": np.asarray(x * 2)}

    def close(self) -> None:
        self.closed = True
