"""The first moments of a process of work, while it has one thread: its order, and the sandbox."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from modelry.domain.errors import SandboxTooWeak
from modelry.domain.sandbox import SandboxLevel, SandboxPolicy, SandboxReport
from modelry.runtime_api.frames import PREFIX, FrameError, split_frames
from modelry.runtime_api.work_frames import WorkKind
from modelry.sandbox.confinement import Ground, confine
from modelry.sandbox.gpus import NO_GPUS, Gpus, present
from modelry.sandbox.memory_limit import MemoryLimit
from modelry.sandbox.paths import exposing
from modelry.sandbox.standing_back import stand_back

_LIKELIEST_TO_END = "900"
"""Of 1000: before the server and its engines when the machine runs out of memory."""


@dataclass(frozen=True, slots=True)
class Start:
    """Which work to do, within which limits, and what to compute on beside the CPU."""

    connection: socket.socket
    order: Mapping[str, Any]
    gpus: Gpus = NO_GPUS

    @property
    def limits(self) -> Mapping[str, Any]:
        """`WorkLimits` as JSON types."""
        limits: Mapping[str, Any] = self.order["limits"]
        return limits

    def shut_in(
        self, scratch: Path | None, extra: Sequence[Path], hidden: Sequence[Path]
    ) -> SandboxReport:
        """Step back behind serving, and keep to `scratch` and code from now on.

        Whatever holds one of `hidden` is left out.
        """
        stand_back(int(self.limits["niceness"]))
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(_LIKELIEST_TO_END)
        room_bytes = int(self.limits["scratch_bytes"])
        return confine(Ground((), scratch, extra, hidden, room_bytes, self.gpus))

    def may_begin(
        self, report: SandboxReport, wanted: SandboxLevel, hidden: Sequence[Path]
    ) -> SandboxTooWeak | None:
        """Why not, if the level is not reached or code and data are not apart."""
        try:
            SandboxPolicy(wanted).check(report)
        except SandboxTooWeak as error:
            return error
        for folder in exposing(hidden):
            return SandboxTooWeak(
                f"The server's data lies below '{folder.name}', a folder of code that processes "
                "of work read. Move the data (MODELRY_DATA), or take the folder off PYTHONPATH."
            )
        return None

    def limit_memory(self) -> MemoryLimit | None:
        """Apply the limit of the order, if it has one."""
        limit_bytes = self.limits["memory_bytes"]
        if limit_bytes is None:
            return None
        limit = MemoryLimit(int(limit_bytes), counts_shared=bool(self.gpus.devices))
        limit.apply()
        return limit


def await_order(fd: int) -> Start | None:
    """Wait for the ORDER frame, which comes first; None when the server goes away instead.

    Not a byte more is read: what follows belongs to the host.
    """
    connection = socket.socket(fileno=fd)
    connection.set_inheritable(False)
    try:
        prefix = _receive(connection, PREFIX.size)
        _, _, needed = split_frames(prefix)
        frames, _, _ = split_frames(prefix + _receive(connection, needed - len(prefix)))
    except (EOFError, FrameError, OSError):
        return None
    if frames[0].kind != WorkKind.ORDER:
        return None
    order = orjson.loads(frames[0].header)
    # looked for now: in the sandbox there is no folder to look in
    return Start(connection, order, present() if order["limits"]["gpu"] else NO_GPUS)


def _receive(connection: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        data = connection.recv(size - len(received))
        if not data:
            raise EOFError
        received += data
    return bytes(received)
