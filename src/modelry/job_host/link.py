"""The process's end of the socket to the server."""

from __future__ import annotations

import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from modelry.domain.errors import Cancelled
from modelry.runtime_api.frames import Frame, FrameDecoder, FrameError, encode, error_from_wire
from modelry.runtime_api.work_frames import WITH_FILE, WorkKind

_RECEIVE_BYTES = 2**20
_FILES_AT_ONCE = 16


@dataclass(slots=True)
class Answered:
    """What came for a call: a frame, and a file where it has one (-1: none)."""

    frame: Frame
    file: int = -1


@dataclass(slots=True)
class _Waiting:
    done: threading.Event = field(default_factory=threading.Event)
    answer: Answered | None = None


class ServerLink:
    """Sends frames from any thread; `call` waits for the answer that the reading thread brings.

    Args:
        connection: the socket to the server.
        on_stop: run when the server asks the work to end.
    """

    def __init__(self, connection: socket.socket, on_stop: Callable[[], None]) -> None:
        self._socket = connection
        self._on_stop = on_stop
        self._sending = threading.Lock()
        self._calls_lock = threading.Lock()
        self._calls: dict[int, _Waiting] = {}
        self._next_id = 0

    def tell(
        self, kind: WorkKind, header: Mapping[str, Any], body: bytes = b"", call_id: int = 0
    ) -> None:
        """Send a frame; nothing when the server is gone (the reader ends the process then)."""
        data = orjson.dumps(header, option=orjson.OPT_SERIALIZE_NUMPY)
        frame = encode(kind, call_id, data, body)
        try:
            with self._sending:
                self._socket.sendall(frame)
        except OSError:
            return

    def call(
        self, kind: WorkKind, header: Mapping[str, Any], body: bytes = b"", call_id: int = 0
    ) -> tuple[int, Answered]:
        """Send a frame and wait; the call's id, and its answer.

        Raises:
            ModelryError: the server's error.
        """
        waiting = _Waiting()
        with self._calls_lock:
            if not call_id:
                self._next_id = call_id = self._next_id % 0xFFFFFFFF + 1
            self._calls[call_id] = waiting
        self.tell(kind, header, body, call_id)
        waiting.done.wait()
        answer = waiting.answer
        if answer is None:
            raise Cancelled("The server went away.")
        if answer.frame.kind == WorkKind.FAULT:
            raise error_from_wire(answer.frame.json())
        return call_id, answer

    def read(self) -> None:
        """Bring answers to who waits for them, until the server is gone."""
        decoder = FrameDecoder()
        files: deque[int] = deque()
        while True:
            try:
                data, received, _, _ = socket.recv_fds(
                    self._socket, _RECEIVE_BYTES, _FILES_AT_ONCE, socket.MSG_CMSG_CLOEXEC
                )
                frames = decoder.feed(data)
            except (OSError, FrameError):
                return
            if not data:
                return
            files.extend(received)
            for frame in frames:
                file = files.popleft() if frame.kind in WITH_FILE and files else -1
                self._take(Answered(frame, file))

    def _take(self, answer: Answered) -> None:
        if answer.frame.kind == WorkKind.STOP:
            # not in this thread: what the work does on it may wait for an answer
            threading.Thread(target=self._on_stop, name="stop", daemon=True).start()
            return
        with self._calls_lock:
            waiting = self._calls.pop(answer.frame.call_id, None)
        if waiting is None:
            if answer.file >= 0:
                os.close(answer.file)
            return
        waiting.answer = answer
        waiting.done.set()
