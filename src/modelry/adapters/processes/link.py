"""The gateway's end of the socket to one worker."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

from modelry.domain.errors import ModelryError, ReplicaLost
from modelry.runtime_api.frames import (
    PREFIX,
    Frame,
    FrameDecoder,
    FrameError,
    Kind,
    encode,
    error_from_wire,
)
from modelry.services.inference.call import Call
from modelry.services.inference.replica_group import ReplicaGroup

_RESULT = int(Kind.RESULT)
_EVENT = int(Kind.EVENT)
_ERROR = int(Kind.ERROR)
_JOIN_BELOW_BYTES = 512 * 1024

_CALLS_AT_ONCE = 8
"""Calls after which a turn of the loop sends what it has, so that the worker need not wait for the
rest: else gateway and worker would take turns instead of working at the same time."""


class WorkerLink(asyncio.Protocol):
    """Sends calls as frames and gives their answers back; one per replica.

    Args:
        replica_id: for status and logs.
        group: whose waiting calls take a slot that becomes free.
        on_control: gets READY, PONG, DRAINED and the ERROR of the load (call id 0).
        on_lost: called once when the connection ends.
    """

    def __init__(
        self,
        replica_id: str,
        group: ReplicaGroup,
        on_control: Callable[[Frame], None],
        on_lost: Callable[[], None],
    ) -> None:
        self.replica_id = replica_id
        self.capacity = 0
        self.in_flight = 0
        self.engine_clock = 0.0
        self.last_heard = self._clock_set = time.monotonic()
        self._group = group
        self._on_control = on_control
        self._on_lost = on_lost
        self._calls: dict[int, Call] = {}
        self._next_id = 0
        self._decoder = FrameDecoder()
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._outgoing: list[bytes | memoryview] = []
        self._waiting_calls = 0
        self._is_flush_due = False

    def connection_made(self, transport: Any) -> None:
        """Part of asyncio.Protocol."""
        self._transport = transport
        self._loop = asyncio.get_running_loop()

    def send_through(self, connection: socket.socket) -> None:
        """Write to `connection`, the transport's own socket, where the transport would put off."""
        self._socket = connection

    def send(self, call: Call) -> None:
        """Start `call` on the worker."""
        self._next_id = call_id = (self._next_id % 0xFFFFFFFF) + 1
        call.call_id = call_id
        self._calls[call_id] = call
        self._set_clock(call.started if self.in_flight == 0 else time.monotonic())
        call.engine_from = self.engine_clock
        self.in_flight += 1
        header, body = call.header, call.body
        prefix = PREFIX.pack(len(header), len(body), call_id, call.remaining_ms(), call.kind, 0, 0)
        self._write(prefix, header, body)
        self._waiting_calls += 1
        if self._waiting_calls >= _CALLS_AT_ONCE:
            self._flush()

    def _set_clock(self, now: float) -> None:
        """Bring `engine_clock` to `now`; needed before `in_flight` changes."""
        if self.in_flight and now > self._clock_set:
            self.engine_clock += (now - self._clock_set) / self.in_flight
        self._clock_set = now

    def _write(self, *parts: bytes | memoryview) -> None:
        """Send at the end of this turn of the loop, together with what else is sent in it."""
        if self._transport is None:
            return  # lost: `connection_lost` fails the calls in this turn of the loop
        self._outgoing += parts
        if not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self._end_turn)

    def _end_turn(self) -> None:
        self._is_flush_due = False
        if self._outgoing:
            self._flush()

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        self._waiting_calls = 0
        transport = self._transport
        if transport is None:
            return
        if sum(map(len, outgoing)) >= _JOIN_BELOW_BYTES:
            transport.writelines(outgoing)
            return
        data: bytes | memoryview = b"".join(outgoing)
        if self._socket is not None and transport.get_write_buffer_size() == 0:
            try:
                data = memoryview(data)[self._socket.send(data) :]
            except BlockingIOError:
                pass  # the transport waits until there is room
            except OSError:
                return  # the transport sees it, too, and tells `connection_lost`
            if not data:
                return
        transport.write(data)

    def cancel(self, call: Call) -> None:
        """Tell the worker to stop `call`; the slot frees when it confirms."""
        if call.call_id in self._calls:
            self._set_clock(time.monotonic())  # what was used until now is its caller's
            self.send_control(Kind.CANCEL, call_id=call.call_id)

    def send_control(self, kind: Kind, header: bytes = b"{}", call_id: int = 0) -> None:
        """Send a frame that is no call."""
        self._write(encode(kind, call_id, header))

    def data_received(self, data: bytes) -> None:
        """Part of asyncio.Protocol."""
        self.last_heard = time.monotonic()
        self._set_clock(self.last_heard)
        try:
            frames = self._decoder.feed(data)
        except FrameError:
            self.close()
            return
        calls = self._calls
        for frame in frames:
            if frame.kind == _RESULT:
                call = calls.pop(frame.call_id, None)
                if call is not None:
                    self.in_flight -= 1
                    call.finish(frame.header, frame.body)
            else:
                self._dispatch(frame)
        if self._group.waiting:
            self._group.pump()

    def _dispatch(self, frame: Frame) -> None:
        kind = frame.kind
        if kind == _EVENT:
            call = self._calls.get(frame.call_id)
            if call is not None and not call.done:
                call.on_event(frame.header, frame.body)
        elif kind == _ERROR and frame.call_id in self._calls:
            self.in_flight -= 1
            self._calls.pop(frame.call_id).fail(error_from_wire(frame.json()))
        else:
            self._on_control(frame)

    def close(self) -> None:
        """End the connection; `connection_lost` follows."""
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Part of asyncio.Protocol: every open call is told."""
        self._transport = None
        self._group.detach(self)
        calls, self._calls = self._calls, {}
        self._set_clock(time.monotonic())
        self.in_flight = 0
        for call in calls.values():
            call.fail(_lost())
        self._on_lost()


def _lost() -> ModelryError:
    return ReplicaLost(
        "The worker process that was answering ended unexpectedly; the request can be sent again.",
        retry_after_s=1,
    )
