"""Probes, metrics and the API's description."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any

from starlette.responses import HTMLResponse, PlainTextResponse, Response

from modelry.domain.access import Permission
from modelry.protocols.http.endpoint import Door, Endpoint, json_response
from modelry.protocols.http.plain_errors import render_error
from modelry.protocols.http.request import ApiRequest
from modelry.protocols.operations.metrics import exposition
from modelry.protocols.operations.openapi import PAGE_POLICY, docs_page
from modelry.services.inference.service import InferenceService

__all__ = ["Readiness", "build_door", "render_error"]

Readiness = Callable[[], Mapping[str, Any]]
"""Says `{"ready": bool, …}`; anything else in it is shown as it is."""


def build_door(
    inference: InferenceService, readiness: Readiness, document: Callable[[], dict[str, Any]]
) -> Door:
    """The operators' door.

    Args:
        inference: what is served.
        readiness: what `/readyz` tells.
        document: makes the OpenAPI document of the whole server, which takes two thirds of the time
            in which a server starts: so it is made when it is first asked for.
    """
    described = _Described(document)

    async def healthz(_: ApiRequest) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: ApiRequest) -> Response:
        state = readiness()
        return json_response(state, 200 if state["ready"] else 503)

    async def metrics(request: ApiRequest) -> Response:
        caller = request.principal
        runs_platform = Permission.PLATFORM_READ in caller.permissions and not caller.deployments
        content = exposition(
            inference.routes.covered_by(caller),
            inference.routes.all() if runs_platform else None,
            inference.meter,
        )
        return Response(content, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def openapi(_: ApiRequest) -> Response:
        return json_response(await described.document())

    async def docs(_: ApiRequest) -> Response:
        policy = {"content-security-policy": PAGE_POLICY}
        return HTMLResponse(docs_page(await described.document()), headers=policy)

    public, metered = Permission.PUBLIC, Permission.METRICS_READ
    return Door(
        "operations",
        (
            Endpoint("/healthz", ("GET",), public, healthz, "Is the process alive"),
            Endpoint("/readyz", ("GET",), public, readyz, "Can it take requests"),
            Endpoint(
                "/metrics",
                ("GET",),
                metered,
                metrics,
                "Prometheus metrics of what the caller may see",
            ),
            Endpoint("/openapi.json", ("GET",), public, openapi, "This API, machine-readable"),
            Endpoint("/docs", ("GET",), public, docs, "This API, for people"),
        ),
        render_error,
    )


class _Described:
    """What the API is, made once, in a thread beside those who are answered meanwhile."""

    def __init__(self, make: Callable[[], dict[str, Any]]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: dict[str, Any] | None = None

    async def document(self) -> dict[str, Any]:
        """The OpenAPI document."""
        if self._made is None:
            return await asyncio.to_thread(self._once)
        return self._made

    def _once(self) -> dict[str, Any]:
        with self._lock:
            made = self._made or self._make()
            self._made = made
        return made
