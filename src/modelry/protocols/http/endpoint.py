"""Endpoints with a declared permission, and how they become an ASGI application."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, nullcontext
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from modelry.domain.access import Permission, Principal
from modelry.domain.errors import InternalError, ModelryError, PermissionDenied
from modelry.protocols.http.acts import DoorAudit
from modelry.protocols.http.credentials import principal_of
from modelry.protocols.http.limits import DoorLimits
from modelry.protocols.http.request import ApiRequest
from modelry.protocols.http.trace import continue_trace
from modelry.services.inference.authentication import Authenticator
from modelry.services.inference.metering import Meter, OpenRequest
from modelry.services.inference.request_ids import current_request_id, request_id_of

log = logging.getLogger(__name__)

Handler = Callable[[ApiRequest], Awaitable[Response]]
ErrorRenderer = Callable[[ModelryError], Response]

DEFAULT_BODY_BYTES = 32 * 2**20


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path with its methods, the permission that it demands, and its handler.

    `operation` is merged into the endpoint's entry in the OpenAPI document (summary,
    requestBody, responses …). `queries` names the query parameters that it reads, all texts.
    `action` is what its calls are in the audit log (`files.delete`); empty for those that are not
    entered.
    """

    path: str
    methods: tuple[str, ...]
    permission: Permission
    handler: Handler
    summary: str
    max_body_bytes: int = DEFAULT_BODY_BYTES
    operation: dict[str, Any] = field(default_factory=dict)
    queries: tuple[str, ...] = ()
    action: str = ""

    @property
    def is_prediction(self) -> bool:
        """Whether its requests use a model, so that each of them is metered."""
        return self.permission is Permission.INFERENCE and "POST" in self.methods


@dataclass(frozen=True, slots=True)
class Door:
    """A protocol: its endpoints, its way to tell errors, what meters its predictions, and what
    takes the acts of its endpoints that have an `action`.
    """

    name: str
    endpoints: tuple[Endpoint, ...]
    render_error: ErrorRenderer
    meter: Meter | None = None
    audit: DoorAudit | None = None


def starlette_routes(door: Door, authenticator: Authenticator, limits: DoorLimits) -> list[Route]:
    """The door's endpoints as Starlette routes."""
    return [
        Route(
            endpoint.path,
            _asgi_handler(door, endpoint, authenticator, limits),
            methods=list(endpoint.methods),
            name=f"{door.name}:{endpoint.path}",
        )
        for endpoint in door.endpoints
    ]


def _asgi_handler(
    door: Door, endpoint: Endpoint, authenticator: Authenticator, limits: DoorLimits
) -> Callable[[Request], Awaitable[Response]]:
    check = limits.check_prediction if endpoint.is_prediction else limits.check_api_request

    async def answer(raw: Request, request_id: str, metered: OpenRequest | None) -> Response:
        principal = None
        if endpoint.permission is not Permission.PUBLIC:
            principal = raw.state.principal = principal_of(raw, authenticator)
            if metered is not None:
                metered.principal = principal
            check(principal)
            await _require(door, endpoint, principal, raw)
        request = ApiRequest(raw, principal, request_id, endpoint.max_body_bytes)
        if endpoint.action and door.audit is not None:
            response = await _entered(door.audit, endpoint, request)
        else:
            response = await endpoint.handler(request)
        if metered is not None and isinstance(response, EventStream):
            response.hold_open(metered)
        return response

    async def handle(raw: Request) -> Response:
        request_id = _id_of(raw)
        current_request_id.set(request_id)
        metered = None
        if door.meter is not None and endpoint.is_prediction:
            metered = OpenRequest(door.meter, request_id)
        try:
            with metered or nullcontext():
                response = await answer(raw, request_id, metered)
        except ModelryError as error:
            if metered is not None and not metered.was_admitted:
                limits.count_refused(error, caller_of(raw))
            await limits.hold_back(error, caller_of(raw), peer_of(raw))
            response = door.render_error(error)
        except Exception:
            log.exception("request %s to %s failed", request_id, endpoint.path)
            response = door.render_error(unexpected(request_id))
        mark(response, raw, request_id)
        caller = caller_of(raw)
        if caller is not None:
            response.headers.update(limits.headers(caller))
        return response

    return handle


async def _require(door: Door, endpoint: Endpoint, principal: Principal, raw: Request) -> None:
    """Refuse a caller without the endpoint's right, and enter that where acts are entered."""
    try:
        principal.require(endpoint.permission)
    except PermissionDenied as error:
        if endpoint.action and door.audit is not None:
            resource = door.audit.resource(endpoint.path, dict(raw.path_params))
            await door.audit.note_denial(principal, endpoint.action, resource, error)
        raise


async def _entered(audit: DoorAudit, endpoint: Endpoint, request: ApiRequest) -> Response:
    resource = audit.resource(endpoint.path, request.path_params)
    act = audit.entered(request.principal, endpoint.action, resource, request.request_id)
    async with act as request.told:
        return await endpoint.handler(request)


def caller_of(request: Request) -> Principal | None:
    """Whose request it is, None as long as its credentials were not found to be valid."""
    found: Principal | None = getattr(request.state, "principal", None)
    return found


def peer_of(request: Request) -> str:
    """The network address that a request came from."""
    return request.client.host if request.client else ""


def _id_of(request: Request) -> str:
    return request_id_of(request.headers.get("x-request-id", "").encode("latin-1") or None)


def mark(response: Response, request: Request, request_id: str | None = None) -> None:
    """Put the request's id, and a span in its trace, on an answer to it."""
    response.headers["x-request-id"] = request_id or _id_of(request)
    response.headers["traceparent"] = continue_trace(
        request.headers.get("traceparent", "").encode("latin-1")
    )


def unexpected(request_id: str) -> InternalError:
    """What a caller is told of a defect of ours."""
    return InternalError(
        f"Something went wrong in the server; its log tells more under request id {request_id}."
    )


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer; numpy arrays are written as lists."""
    return Response(
        orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS),
        status,
        headers,
        media_type="application/json",
    )


class EventStream(StreamingResponse):
    """Server-sent events, which may outlast the handling of their request."""

    _held: OpenRequest | None = None

    def hold_open(self, request: OpenRequest) -> None:
        """Keep `request` open until the last event is sent or the caller has gone away."""
        request.hold()
        self._held = request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self._held is not None:
                self._held.release()


def event_stream(
    events: AsyncIterator[bytes], render_failure: Callable[[ModelryError], Sequence[bytes]]
) -> EventStream:
    """Server-sent events; `events` yields complete `data: …` blocks.

    When the caller goes away, `events` is closed. A failure in mid-stream is told by the
    blocks of `render_failure`, then the stream ends.
    """

    async def guarded() -> AsyncIterator[bytes]:
        try:
            async with aclosing(events):  # type: ignore[type-var] # doors pass generators
                async for block in events:
                    yield block
        except ModelryError as error:
            for block in render_failure(error):
                yield block
        except Exception:
            log.exception("a stream failed")
            for block in render_failure(InternalError("The stream broke off in the server.")):
                yield block

    return EventStream(
        guarded(),
        media_type="text/event-stream",
        headers={"cache-control": "no-cache", "x-accel-buffering": "no"},
    )


def sse_block(value: Any, event: str | None = None) -> bytes:
    """One server-sent event with a JSON payload."""
    prefix = f"event: {event}\n".encode() if event else b""
    return prefix + b"data: " + orjson.dumps(value) + b"\n\n"


def check_permissions(doors: Sequence[Door]) -> None:
    """Refuse to start with an endpoint that declares no permission.

    Raises:
        TypeError: names the endpoint.
    """
    for door in doors:
        for endpoint in door.endpoints:
            if not isinstance(endpoint.permission, Permission):
                raise TypeError(f"{door.name} {endpoint.path} declares no permission")
