"""The first moments of a worker, while it has one thread: it learns its model, and is shut in."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modelry.domain.errors import SandboxTooWeak
from modelry.domain.sandbox import SandboxLevel, SandboxPolicy, SandboxReport
from modelry.runtime_api.engine import LoadSpec
from modelry.runtime_api.frames import PREFIX, Frame, FrameError, Kind, encode_error, split_frames
from modelry.runtimes.memory_copy import reserve_copy
from modelry.sandbox.confinement import Ground, confine
from modelry.sandbox.paths import exposing
from modelry.sandbox.standing_back import stand_back


@dataclass(frozen=True, slots=True)
class Start:
    """What to load, and who asked for it."""

    connection: socket.socket
    frame: Frame

    def shut_in(
        self, scratch: Path | None, extra: Sequence[Path], hidden: Sequence[Path]
    ) -> SandboxReport:
        """Keep to the model's files, `scratch` and `extra` from now on; tells what is in force.

        A worker that shall stand back behind others does so first. Whatever holds one of `hidden`
        is left out.
        """
        reserve_copy()
        load = LoadSpec.from_wire(self.frame.json())
        stand_back(load.niceness)
        return confine(Ground(tuple(load.files.values()), scratch, extra, hidden))

    def may_load(self, report: SandboxReport, wanted: SandboxLevel, hidden: Sequence[Path]) -> bool:
        """Whether the level is reached, and code and data are apart; the gateway is told if not."""
        try:
            SandboxPolicy(wanted).check(report)
            for folder in exposing(hidden):
                raise SandboxTooWeak(
                    f"The server's data lies below '{folder.name}', a folder of code that workers "
                    "read. Move the data (MODELRY_DATA), or take the folder off PYTHONPATH."
                )
        except SandboxTooWeak as error:
            self.connection.sendall(encode_error(0, error))
            return False
        return True


def await_load(fd: int) -> Start | None:
    """Wait for the LOAD frame, which comes first; None when the gateway goes away instead.

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
    frame = frames[0]
    return Start(connection, frame) if frame.kind == Kind.LOAD else None


def _receive(connection: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        data = connection.recv(size - len(received))
        if not data:
            raise EOFError
        received += data
    return bytes(received)
