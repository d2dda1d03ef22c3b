"""uvicorn's HTTP protocol with one keep-alive timer per connection instead of one per request."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class KeepAliveProtocol(HttpToolsProtocol):
    """Closes idle connections as uvicorn does, without making and cancelling a timer each time.

    The timer runs on while requests come and go; when it fires, it looks how long the connection
    has been idle and either closes it or waits for the rest. Unlike uvicorn it also closes
    connections whose caller falls silent in the middle of a request, or before the first.
    """

    silence_s = 30.0
    """How long a caller may send nothing of a request that is not complete."""
    _idle_since = 0.0
    _heard_at = 0.0
    _is_between_requests = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Transport callback."""
        super().connection_made(transport)
        self._heard_at = self.loop.time()
        self._look_again_in(min(self.silence_s, self.timeout_keep_alive))

    def data_received(self, data: bytes) -> None:
        """Transport callback."""
        self._heard_at = self.loop.time()
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Parser callback: a request has begun to arrive."""
        self._is_between_requests = False
        super().on_message_begin()

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
        """Timer callback: close the connection if it has been idle for long enough."""
        self.timeout_keep_alive_task = None
        if self.transport.is_closing():
            return
        cycle: Any = self.cycle
        now = self.loop.time()
        if self.flow.read_paused:  # it is us who take no more
            self._heard_at = now
        if not self._is_between_requests or cycle is None:
            left_s = min(self._heard_at + self.silence_s - now, self.timeout_keep_alive)
        elif not cycle.response_complete:
            left_s = self.timeout_keep_alive
        else:
            left_s = self._idle_since + self.timeout_keep_alive - now
        if left_s > 0:
            self._look_again_in(left_s)
        else:
            self.transport.close()

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
            seconds, self.timeout_keep_alive_handler
        )
