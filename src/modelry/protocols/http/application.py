"""All HTTP doors as one ASGI application."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from modelry.domain.errors import InvalidInput, ModelryError, NotFound
from modelry.protocols.http.endpoint import (
    Door,
    ErrorRenderer,
    check_permissions,
    mark,
    starlette_routes,
)
from modelry.protocols.http.guard import Refusal
from modelry.protocols.http.limits import DoorLimits
from modelry.services.inference.authentication import Authenticator


def build_application(
    doors: Sequence[Door],
    mounted: Mapping[str, ASGIApp],
    authenticator: Authenticator,
    limits: DoorLimits,
    error_shapes: Mapping[str, ErrorRenderer],
) -> ASGIApp:
    """One application that serves every door.

    Args:
        doors: their endpoints become routes.
        mounted: applications by the path below which they answer, authentication included.
        authenticator: keys to principals.
        limits: what callers may use.
        error_shapes: how errors outside any endpoint are told, by path prefix; the longest
            prefix wins, and `""` must be there.

    Raises:
        TypeError: an endpoint declares no permission.
    """
    check_permissions(doors)
    routes: list[BaseRoute] = [
        route for door in doors for route in starlette_routes(door, authenticator, limits)
    ]
    routes += [Mount(path, app) for path, app in mounted.items()]

    async def told(request: Request, failure: Exception) -> Response:
        if not isinstance(failure, HTTPException):
            raise failure
        render = shape_of(request.scope["path"], error_shapes)
        response = render(_error_of(request, failure))
        response.status_code = failure.status_code
        response.headers.update(failure.headers or {})
        mark(response, request)
        return response

    application = Starlette(routes=routes, exception_handlers={404: told, 405: told, 400: told})
    # a redirect would lead to whatever the caller's Host header says
    application.router.redirect_slashes = False
    return application


def shape_of(path: str, error_shapes: Mapping[str, ErrorRenderer]) -> ErrorRenderer:
    """How errors below `path` are told: the shape of the longest prefix; `""` must be there."""
    return error_shapes[max((one for one in error_shapes if path.startswith(one)), key=len)]


def refusal_in(
    error_shapes: Mapping[str, ErrorRenderer], finish: Callable[[ASGIApp], ASGIApp]
) -> Refusal:
    """How requests are told that they are refused before they come to the application.

    Args:
        error_shapes: as for `build_application`.
        finish: what is put around every answer of the application.
    """

    def refusal(url: bytes, error: ModelryError) -> ASGIApp:
        render = shape_of(url.decode("latin-1"), error_shapes)

        async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
            response = render(error)
            mark(response, Request(scope))
            await response(scope, receive, send)

        return finish(refuse)

    return refusal


def _error_of(request: Request, failure: HTTPException) -> ModelryError:
    path = request.url.path[:200]
    if failure.status_code == 404:
        return NotFound(f"There is no endpoint {path}; /docs lists those that there are.")
    if failure.status_code == 405:
        allowed = (failure.headers or {}).get("Allow", "other methods")
        return InvalidInput(
            f"{path} does not answer {request.method}; it answers {allowed}.", param="method"
        )
    return InvalidInput(str(failure.detail)[:300])
