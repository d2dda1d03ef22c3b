"""uvicorn's HTTP protocol with one timer per connection, which bounds how slow a caller may be."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class KeepAliveProtocol(HttpToolsProtocol):
    """Closes idle connections as uvicorn does, without making and cancelling a timer each time.

    The timer runs on while requests come and go; when it fires, it looks how long the connection
    has been idle and either closes it or waits for the rest. Unlike uvicorn it also closes
    connections whose caller falls silent in the middle of a request or before the first, sends a
    request so slowly that it only holds the connection, or does not take its answer.
    """

    silence_s = 30.0
    """How long a caller may send nothing of a request that is not complete."""
    head_s = 30.0
    """How long the head of a request may take in all."""
    slow_body_s = 60.0
    """How long a body may come more slowly than `body_bytes_per_s`."""
    body_bytes_per_s = 256.0
    unread_s = 60.0
    """How long a caller may take nothing of an answer that is ready for it."""
    _idle_since = 0.0
    _heard_at = 0.0
    _began_at = 0.0
    _came_bytes = 0
    """Of the request that is coming, since `_began_at`."""
    _is_between_requests = True
    _is_in_head = False
    _unread_bytes = 0
    _unread_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Transport callback."""
        super().connection_made(transport)
        self._heard_at = self.loop.time()
        self._look_again_in(min(self.silence_s, self.timeout_keep_alive))

    def data_received(self, data: bytes) -> None:
        """Transport callback."""
        self._heard_at = self.loop.time()
        self._came_bytes += len(data)
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Parser callback: a request has begun to arrive."""
        self._begin()
        super().on_message_begin()

    def _begin(self) -> None:
        self._is_between_requests = False
        self._is_in_head = True
        self._began_at = self._heard_at
        self._came_bytes = 0

    def on_headers_complete(self) -> None:
        """Parser callback: the head is complete."""
        self._is_in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Parser callback: the request is complete."""
        self._is_between_requests = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Cycle callback: start the next pipelined request, or be idle from now on."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._look_again_in(self.timeout_keep_alive)

    def timeout_keep_alive_handler(self) -> None:
        """Timer callback: close the connection if it has been idle or slow for long enough."""
        self.timeout_keep_alive_task = None
        now = self.loop.time()
        if self._is_unread_at(now):
            self.transport.abort()
            return
        if self.transport.is_closing():
            if self._unread_bytes == 0:  # it waits for a farewell that TLS knows, in vain
                self.transport.abort()
            else:
                self._look_again_in(self.timeout_keep_alive)
            return
        left_s = self._left_s(now)
        if left_s <= 0:
            self.transport.close()
            left_s = self.timeout_keep_alive
        self._look_again_in(left_s)

    def _left_s(self, now: float) -> float:
        """How long the connection may go on as it is, as far as can be told now."""
        cycle: Any = self.cycle
        if self.flow.read_paused:  # it is us who take no more
            self._heard_at = self._began_at = now
            self._came_bytes = 0
        if not self._is_between_requests:
            silent_until = self._heard_at + self.silence_s
            return min(silent_until, self._slow_until()) - now
        if cycle is None:
            return self._heard_at + self.silence_s - now
        if not cycle.response_complete:
            return self.timeout_keep_alive
        return self._idle_since + self.timeout_keep_alive - now

    def _slow_until(self) -> float:
        if self._is_in_head:
            return self._began_at + self.head_s
        return self._began_at + self.slow_body_s + self._came_bytes / self.body_bytes_per_s

    def _is_unread_at(self, now: float) -> bool:
        """Whether the caller takes nothing of what is ready for it, for too long."""
        unread = self.transport.get_write_buffer_size()
        if unread == 0 or unread != self._unread_bytes:
            self._unread_bytes, self._unread_since = unread, now
        return unread > 0 and now - self._unread_since >= self.unread_s

    def connection_lost(self, exc: Exception | None) -> None:
        """Transport callback."""
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        super().connection_lost(exc)
        # the cycle knows this protocol: without this both would wait for the garbage collector
        self.cycle = None  # type: ignore[assignment] # as before the first request

    def _unset_keepalive_if_required(self) -> None:
        """Uvicorn would cancel the timer here whenever bytes arrive."""

    def _look_again_in(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(
            min(seconds, self.timeout_keep_alive), self.timeout_keep_alive_handler
        )
