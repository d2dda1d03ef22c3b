"""Routes that declare their permission, and what is done before and after each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import Any

from fastapi import APIRouter, HTTPException
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from modelry.domain.access import Permission, Principal
from modelry.domain.errors import (
    ModelryError,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    UnsupportedField,
)
from modelry.protocols.http.credentials import principal_of
from modelry.protocols.http.endpoint import caller_of, peer_of, unexpected
from modelry.protocols.http.plain_errors import render_error
from modelry.protocols.management.auditing import Act, RouteAudit, note_denial
from modelry.protocols.management.bodies import JsonRequest, read_json
from modelry.protocols.management.errors import ErrorAnswer, told
from modelry.protocols.management.services import services_of
from modelry.services.audit.acts import outcome_of

log = logging.getLogger(__name__)

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

_PERMISSION = "x-permission"
_AUDITED = "x-audited"
_RECORDED = "x-audited-fields"


def needs(
    permission: Permission,
    *,
    audited: bool = False,
    recorded: Sequence[str] = (),
    **operation: Any,
) -> dict[str, Any]:
    """The permission that a route demands, for its `openapi_extra`.

    Args:
        permission: the right; anything but `Permission.PUBLIC`.
        audited: enter its calls into the audit log; those of unsafe methods always are.
        recorded: the fields of its body that the audit log may tell; never secrets.
        operation: what else to merge into its OpenAPI operation.
    """
    marks: dict[str, Any] = {_PERMISSION: permission.value}
    if audited:
        marks[_AUDITED] = True
    if recorded:
        marks[_RECORDED] = list(recorded)
    return {**marks, **operation}


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
        queries = frozenset(_queries(self.dependant))
        takes_json = self.body_field is not None
        audit = _audit_of(self, permission)

        async def checked(request: Request) -> Response:
            services = services_of(request)
            principal = request.state.principal = await _authenticated(request, audit)
            services.limits.check_api_request(principal)
            try:
                principal.require(permission)
            except PermissionDenied as error:
                caller = (principal.tenant_id, principal.key_id)
                await note_denial(services.denials, audit, request, caller, error.code)
                raise
            _check_url(request, queries)
            value = None
            if takes_json:
                raw, value = await read_json(request)
                request = JsonRequest(request, raw, value)
            if not audit.is_entered:
                return await answer(request)
            act = Act(services.trail, audit, request, principal)
            await act.begin()
            return await _audited(act, answer, request, audit.recorded_of(value))

        async def handle(request: Request) -> Response:
            limits = services_of(request).limits
            try:
                response = await checked(request)
            except ModelryError as error:
                caller = caller_of(request)
                await limits.hold_back(error, caller, peer_of(request))
                response = render_error(error)
                if caller is None:
                    return response
            except RequestValidationError as error:
                response = render_error(told(error))
            except HTTPException:
                raise
            except Exception:
                request_id = request.state.request_id
                log.exception("request %s to %s failed", request_id, self.path)
                return render_error(unexpected(request_id))
            response.headers.update(limits.api_headers(request.state.principal))
            return response

        return handle


async def _authenticated(request: Request, audit: RouteAudit) -> Principal:
    """Who calls; that a key which is known was refused is entered."""
    services = services_of(request)
    try:
        return principal_of(request, services.authenticator)
    except (Unauthenticated, PermissionDenied) as error:
        authorization = request.headers.get("authorization", "").encode("latin-1")
        key = services.authenticator.refused_key(authorization)
        if key is not None:
            caller = (key.tenant_id, key.key_id)
            await note_denial(services.denials, audit, request, caller, error.code)
        raise


async def _audited(
    act: Act, answer: Handler, request: Request, recorded: Mapping[str, Any]
) -> Response:
    """The answer, whose outcome is entered whatever happens."""
    if recorded:
        act.noted.detail["given"] = recorded
    try:
        response = await answer(request)
    except BaseException as error:
        if isinstance(error, RequestValidationError):
            act.noted.detail.clear()  # fields of another form than declared may hold anything
        await act.end(_outcome_of(error))
        raise
    if not act.follow(response):
        await act.end(act.noted.outcome)
    return response


def _outcome_of(error: BaseException) -> str:
    return told(error).code if isinstance(error, RequestValidationError) else outcome_of(error)


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


def _queries(dependant: Dependant) -> Iterator[str]:
    """Names of the query parameters that a route, or what it depends on, reads."""
    yield from (parameter.alias for parameter in dependant.query_params)
    for inner in dependant.dependencies:
        yield from _queries(inner)


def _declared(route: APIRoute) -> Permission:
    declared = (route.openapi_extra or {}).get(_PERMISSION)
    if declared is None or declared == Permission.PUBLIC:
        raise TypeError(f"management {route.path} declares no permission")
    return Permission(declared)


def _audit_of(route: APIRoute, permission: Permission) -> RouteAudit:
    marks = route.openapi_extra or {}
    return RouteAudit.of(
        route, permission, marks.get(_RECORDED, ()), is_marked=bool(marks.get(_AUDITED))
    )


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
