"""`make bench-sandbox`: what shutting a worker in costs at its start and at each call.

The same worker process with and without, in turns: from starting the process to READY, and from
sending one small call to its answer.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import orjson

from benchmarks import machine, tiny_cnn
from modelry.adapters.processes.environment import worker_environment
from modelry.runtime_api.engine import LoadSpec
from modelry.runtime_api.frames import Frame, FrameDecoder, Kind, encode
from modelry.runtime_api.tensors import pack_tensors

SHUT_IN = "from modelry.worker.__main__ import main; main()"
IN_THE_OPEN = (
    "import modelry.worker.start as start; from modelry.domain.sandbox import SandboxReport; "
    "start.confine = lambda ground: SandboxReport(); " + SHUT_IN
)


class Worker:
    """One worker process, from start to end."""

    def __init__(self, code: str, spec: LoadSpec) -> None:
        self._scratch = Path(tempfile.mkdtemp(prefix="modelry-"))
        self._socket, theirs = socket.socketpair()
        self._decoder = FrameDecoder()
        started = time.perf_counter()
        with theirs:
            command = [sys.executable, "-P", "-c", code, "--fd", str(theirs.fileno())]
            self._process = subprocess.Popen(
                [*command, "--scratch", str(self._scratch)],
                pass_fds=(theirs.fileno(),),
                env=worker_environment(os.environ, self._scratch),
            )
        self._socket.sendall(encode(Kind.LOAD, 0, orjson.dumps(spec.to_wire())))
        self.ready = self._receive()
        self.start_s = time.perf_counter() - started

    def _receive(self) -> Frame:
        while True:
            for frame in self._decoder.feed(self._socket.recv(1 << 16)):
                if frame.kind == Kind.ERROR:
                    raise RuntimeError(frame.header.decode())
                return frame

    def call_s(self, frame: bytes) -> float:
        """Seconds from sending a call to its answer."""
        started = time.perf_counter()
        self._socket.sendall(frame)
        self._receive()
        return time.perf_counter() - started

    def end(self) -> None:
        """End it."""
        self._socket.close()
        self._process.wait()
        shutil.rmtree(self._scratch, ignore_errors=True)


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=2000)
    arguments = parser.parse_args()
    starts: dict[str, list[float]] = {SHUT_IN: [], IN_THE_OPEN: []}
    calls: dict[str, list[float]] = {SHUT_IN: [], IN_THE_OPEN: []}
    level = ""
    with tempfile.TemporaryDirectory() as folder:
        model = tiny_cnn.build(Path(folder) / "model.onnx")
        spec = LoadSpec(
            "tensor", "onnx", {"files": {"model": {"name": "m.onnx"}}}, {"model": model}
        )
        entries, parts = pack_tensors({tiny_cnn.INPUT: np.ones((1, 1, 28, 28), np.float32)})
        header = orjson.dumps({"inputs": entries, "outputs": []})
        frame = encode(Kind.INFER, 1, header, b"".join(parts))
        for turn in range(arguments.rounds + 1):
            for code in (SHUT_IN, IN_THE_OPEN):
                worker = Worker(code, spec)
                took = [worker.call_s(frame) for _ in range(arguments.calls)]
                if code == SHUT_IN:
                    level = worker.ready.json()["sandbox"]["level"]
                worker.end()
                if turn:  # the first one reads the files from the disk
                    starts[code].append(worker.start_s)
                    calls[code].append(statistics.median(took))
    rows = []
    for what, found, unit, factor in (
        ("process start to READY", starts, "ms", 1e3),
        ("one call, median", calls, "µs", 1e6),
    ):
        without, shut_in = (statistics.median(found[code]) for code in (IN_THE_OPEN, SHUT_IN))
        rows.append(
            [what, f"{without * factor:.1f} {unit}", f"{shut_in * factor:.1f} {unit}",
             f"{shut_in / without:.3f}"]
        )  # fmt: skip
    lines = machine.describe(["onnxruntime", "numpy"])
    lines += [f"- level reached: {level}; medians of {arguments.rounds} rounds, in turns", ""]
    lines += machine.table(["", "in the open", "shut in", "ratio"], rows)
    print("\n".join(lines))
    machine.write("sandbox", "What the sandbox costs", lines)


if __name__ == "__main__":
    main()
