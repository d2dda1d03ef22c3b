"""All HTTP doors as one ASGI application."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.types import ASGIApp

from modelry.domain.errors import InvalidInput, ModelryError, NotFound
from modelry.protocols.http.endpoint import (
    Door,
    ErrorRenderer,
    check_permissions,
    mark,
    starlette_routes,
)
from modelry.services.inference.authentication import Authenticator


def build_application(
    doors: Sequence[Door],
    mounted: Mapping[str, ASGIApp],
    authenticator: Authenticator,
    error_shapes: Mapping[str, ErrorRenderer],
) -> ASGIApp:
    """One application that serves every door.

    Args:
        doors: their endpoints become routes.
        mounted: applications by the path below which they answer, authentication included.
        authenticator: keys to principals.
        error_shapes: how errors outside any endpoint are told, by path prefix; the longest
            prefix wins, and `""` must be there.

    Raises:
        TypeError: an endpoint declares no permission.
    """
    check_permissions(doors)
    routes: list[BaseRoute] = [
        route for door in doors for route in starlette_routes(door, authenticator)
    ]
    routes += [Mount(path, app) for path, app in mounted.items()]
    by_length = sorted(error_shapes.items(), key=lambda shape: -len(shape[0]))

    async def told(request: Request, failure: Exception) -> Response:
        if not isinstance(failure, HTTPException):
            raise failure
        path = request.url.path
        render = next(render for prefix, render in by_length if path.startswith(prefix))
        response = render(_error_of(request, failure))
        response.status_code = failure.status_code
        response.headers.update(failure.headers or {})
        mark(response, request)
        return response

    application = Starlette(routes=routes, exception_handlers={404: told, 405: told, 400: told})
    # a redirect would lead to whatever the caller's Host header says
    application.router.redirect_slashes = False
    return application


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
