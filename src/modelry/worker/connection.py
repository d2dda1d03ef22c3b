"""The worker's end of the socket to its gateway."""

from __future__ import annotations

import socket
import threading
from collections import deque

from modelry.runtime_api.frames import PREFIX, Frame, split_frames

_BUFFER_BYTES = 1 << 20
_JOIN_BELOW_BYTES = 256 * 1024


class FrameReceiver:
    """Gives what arrived as frames; one thread at a time calls `receive`."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = bytearray(_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._end = 0
        self._needed = PREFIX.size

    def receive(self) -> list[Frame]:
        """Wait for bytes; all frames that are complete now (none, when a large one is coming).

        Raises:
            EOFError: the gateway closed its end.
            FrameError: lengths beyond the limits.
        """
        if self._needed > len(self._buffer):
            self._resize(self._needed)
        received = self._socket.recv_into(self._view[self._end :])
        if received == 0:
            raise EOFError
        self._end += received
        if self._end < self._needed:
            return []
        return self._split()

    def _split(self) -> list[Frame]:
        view = self._view
        frames, used, self._needed = split_frames(view[: self._end])
        rest = self._end - used
        if rest and used:
            view[:rest] = bytes(view[used : self._end])
        self._end = rest
        if rest == 0 and len(self._buffer) > _BUFFER_BYTES:
            self._resize(_BUFFER_BYTES)
        return frames

    def _resize(self, size: int) -> None:
        kept = bytes(self._view[: self._end])
        self._view.release()
        self._buffer = bytearray(size)
        self._view = memoryview(self._buffer)
        self._view[: len(kept)] = kept


class FrameSender:
    """Sends frames from any thread.

    Threads never wait for each other: who finds another one sending leaves its frames to it, so
    that many small frames go out in one system call.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._waiting: deque[bytes] = deque()
        self._sending = threading.Lock()
        self._is_broken = False

    def send(self, *parts: bytes) -> None:
        """Send `parts`, which are one or more whole frames; nothing when the gateway is gone."""
        self._waiting.append(parts[0] if len(parts) == 1 else b"".join(parts))
        while self._waiting and self._sending.acquire(blocking=False):
            try:
                self._flush()
            finally:
                self._sending.release()

    def _flush(self) -> None:
        waiting = self._waiting
        while waiting:
            joined = [waiting.popleft()]
            size = len(joined[0])
            while waiting and size + len(waiting[0]) <= _JOIN_BELOW_BYTES:
                joined.append(waiting.popleft())
                size += len(joined[-1])
            if self._is_broken:
                continue
            try:
                self._socket.sendall(joined[0] if len(joined) == 1 else b"".join(joined))
            except OSError:
                # the reader sees the end of the connection and ends the process
                self._is_broken = True
