"""uvicorn's HTTP protocol with one keep-alive timer per connection instead of one per request."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class KeepAliveProtocol(HttpToolsProtocol):
    """Closes idle connections as uvicorn does, without making and cancelling a timer each time.

    The timer runs on while requests come and go; when it fires, it looks how long the connection
    has been idle and either closes it or waits for the rest.
    """

    _idle_since = 0.0
    _is_between_requests = True

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
        if not self._is_between_requests or not cycle.response_complete:
            self._look_again_in(self.timeout_keep_alive)
            return
        left_s = self._idle_since + self.timeout_keep_alive - self.loop.time()
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
