"""Routes that declare their permission, and what is done before and after each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from fastapi import APIRouter, HTTPException
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from modelry.domain.access import Permission
from modelry.domain.errors import ModelryError, NotFound, UnsupportedField
from modelry.protocols.http.endpoint import unexpected
from modelry.protocols.http.plain_errors import render_error
from modelry.protocols.management.bodies import JsonRequest, read_json
from modelry.protocols.management.errors import ErrorAnswer, told
from modelry.protocols.management.services import services_of

log = logging.getLogger(__name__)

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

_PERMISSION = "x-permission"


def needs(permission: Permission, **operation: Any) -> dict[str, Any]:
    """The permission that a route demands, for its `openapi_extra`.

    Args:
        permission: the right; anything but `Permission.PUBLIC`.
        operation: what else to merge into its OpenAPI operation.
    """
    return {_PERMISSION: permission.value, **operation}


def managed_router(tag: str) -> APIRouter:
    """A router whose routes are `ManagedRoute`s, shown under `tag`."""
    return APIRouter(
        tags=[tag],
        route_class=ManagedRoute,
        strict_content_type=False,
        responses={"default": {"model": ErrorAnswer, "description": "What went wrong."}},
        generate_unique_id_function=lambda route: f"management_{route.name}",
    )


class ManagedRoute(APIRoute):
    """A route that authenticates, authorises, bounds what it reads, and tells errors our way.

    Raises:
        TypeError: it declares no permission.
    """

    def get_route_handler(self) -> Handler:
        """What answers a request to this route."""
        permission = _declared(self)
        answer = super().get_route_handler()
        queries = frozenset(parameter.alias for parameter in self.dependant.query_params)
        takes_json = self.body_field is not None

        async def checked(request: Request) -> Response:
            authorization = request.headers.get("authorization", "").encode("latin-1")
            principal = services_of(request).authenticator.from_header(authorization)
            principal.require(permission)
            request.state.principal = principal
            _check_url(request, queries)
            if takes_json:
                raw, value = await read_json(request)
                request = JsonRequest(request, raw, value)
            return await answer(request)

        async def handle(request: Request) -> Response:
            try:
                return await checked(request)
            except ModelryError as error:
                return render_error(error)
            except RequestValidationError as error:
                return render_error(told(error))
            except HTTPException:
                raise
            except Exception:
                request_id = request.state.request_id
                log.exception("request %s to %s failed", request_id, self.path)
                return render_error(unexpected(request_id))

        return handle


def check_routes(routers: Iterable[APIRouter]) -> None:
    """Refuse routes that would be answered without a permission.

    Raises:
        TypeError: names the route.
    """
    for router in routers:
        for route in router.routes:
            if not isinstance(route, ManagedRoute):
                raise TypeError(f"{route!r} is not a ManagedRoute: it would check no permission")
            _declared(route)


def _declared(route: APIRoute) -> Permission:
    declared = (route.openapi_extra or {}).get(_PERMISSION)
    if declared is None or declared == Permission.PUBLIC:
        raise TypeError(f"management {route.path} declares no permission")
    return Permission(declared)


def _check_url(request: Request, queries: frozenset[str]) -> None:
    """Refuse query parameters that nobody reads, and path parameters that name nothing."""
    for name in request.query_params:
        if name not in queries:
            known = ", ".join(sorted(queries)) or "none"
            raise UnsupportedField(
                f"The query parameter '{name[:80]}' is not known here; known are: {known}.",
                param=name[:80],
            )
    for name, value in request.path_params.items():
        if not str(value).isprintable():
            raise NotFound(f"There is no such {name}.", param=name)
