"""The request's id and trace, on every answer."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelry.protocols.http.trace import continue_trace
from modelry.services.inference.request_ids import current_request_id, request_id_of


class MarkedAnswers:
    """ASGI middleware: sets `request.state.request_id`, `X-Request-Id` and `traceparent`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; see the class."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = request_id_of(headers.get("x-request-id", "").encode("latin-1") or None)
        trace = continue_trace(headers.get("traceparent", "").encode("latin-1"))
        scope.setdefault("state", {})["request_id"] = request_id
        current_request_id.set(request_id)

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                answer["x-request-id"] = request_id
                answer["traceparent"] = trace
            await send(message)

        await self.app(scope, receive, marked)
