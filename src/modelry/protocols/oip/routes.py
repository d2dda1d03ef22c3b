"""The v2 REST endpoints."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from modelry.domain.access import Permission
from modelry.domain.errors import InvalidInput, ModelryError, NotFound
from modelry.protocols.http.endpoint import Door, Endpoint, json_response
from modelry.protocols.http.errors import error_headers, status_of
from modelry.protocols.http.request import ApiRequest
from modelry.protocols.oip.explaining import explained
from modelry.protocols.oip.hot import InferRoute
from modelry.protocols.oip.metadata import (
    model_metadata,
    repository_index,
    server_metadata,
    statistics,
)
from modelry.protocols.oip.plan import read_header_length, split_body
from modelry.runtime_api.frames import Kind
from modelry.services.deployments.audited import AuditedLoading
from modelry.services.inference.call import RawCall
from modelry.services.inference.routing import Target
from modelry.services.inference.service import InferenceService


def build_door(
    inference: InferenceService, loading: AuditedLoading, infer_route: InferRoute
) -> Door:
    """The v2 REST door; `infer_route` answers infer on the hot path and lends its plans here."""
    handlers = _Handlers(inference, loading, infer_route)
    endpoints = [
        Endpoint("/v2", ("GET",), Permission.PUBLIC, handlers.server, "Server metadata"),
        Endpoint("/v2/health/live", ("GET",), Permission.PUBLIC, handlers.live, "Is it alive"),
        Endpoint("/v2/health/ready", ("GET",), Permission.PUBLIC, handlers.live, "Is it ready"),
        Endpoint(
            "/v2/models/stats",
            ("GET",),
            Permission.METRICS_READ,
            handlers.all_stats,
            "Statistics of all models",
        ),
        Endpoint(
            "/v2/repository/index",
            ("POST",),
            Permission.DEPLOYMENTS_READ,
            handlers.index,
            "Which models there are and in what state",
        ),
        Endpoint(
            "/v2/repository/models/{model}/load",
            ("POST",),
            Permission.DEPLOYMENTS_WRITE,
            handlers.load,
            "Load a model and wait until it is ready",
        ),
        Endpoint(
            "/v2/repository/models/{model}/unload",
            ("POST",),
            Permission.DEPLOYMENTS_WRITE,
            handlers.unload,
            "Unload a model; the next request loads it again",
        ),
    ]
    for prefix in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        endpoints += [
            Endpoint(prefix, ("GET",), Permission.INFERENCE, handlers.model, "Model metadata"),
            Endpoint(
                f"{prefix}/ready", ("GET",), Permission.INFERENCE, handlers.ready, "Is it ready"
            ),
            Endpoint(
                f"{prefix}/infer",
                ("POST",),
                Permission.INFERENCE,
                handlers.infer,
                "Run tensors through a model",
                max_body_bytes=infer_route.max_body_bytes,
            ),
            Endpoint(
                f"{prefix}/explain",
                ("POST",),
                Permission.INFERENCE,
                handlers.explain,
                "Explain the answer to tensors",
                max_body_bytes=infer_route.max_body_bytes,
            ),
            Endpoint(
                f"{prefix}/stats", ("GET",), Permission.METRICS_READ, handlers.stats, "Statistics"
            ),
        ]
    return Door("oip", tuple(endpoints), render_error, inference.meter)


def render_error(error: ModelryError) -> Response:
    """The v2 error shape: `{"error": message}`."""
    return json_response({"error": error.message}, status_of(error), error_headers(error))


def version_of(text: str | None) -> int | None:
    """A version in a path.

    Raises:
        NotFound: it is no version number.
    """
    if text is None or text == "":
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise NotFound(f"Version {text[:40]!r} does not exist; versions are 1, 2, 3 …")
    return int(text)


class _Handlers:
    def __init__(
        self, inference: InferenceService, loading: AuditedLoading, infer_route: InferRoute
    ) -> None:
        self._inference = inference
        self._loading = loading
        self._infer_route = infer_route

    def _target(self, request: ApiRequest) -> Target:
        parameters = request.path_params
        return self._inference.target(
            request.principal, parameters["model"], version_of(parameters.get("version"))
        )

    async def server(self, _: ApiRequest) -> Response:
        return json_response(server_metadata())

    async def live(self, _: ApiRequest) -> Response:
        return json_response({"live": True, "ready": True})

    async def model(self, request: ApiRequest) -> Response:
        route = self._inference.routes.find(request.principal, request.path_params["model"])
        return json_response(model_metadata(route, self._target(request)))

    async def ready(self, request: ApiRequest) -> Response:
        target = self._target(request)
        is_ready = target.group.is_ready
        body = {"name": target.deployment.name, "ready": is_ready}
        return json_response(body, 200 if is_ready else 503)

    async def infer(self, request: ApiRequest) -> Response:
        target = self._target(request)
        header_length = request.header("inference-header-content-length")
        json_bytes = read_header_length(None if header_length is None else header_length.encode())
        json_part, binary = split_body(await request.body(), json_bytes)
        plan, frame_body = self._infer_route.plan(target, json_part, binary)
        call = RawCall(request.principal, Kind.INFER, plan.frame_header, frame_body)
        call.units = plan.units
        target.group.submit(call)
        header, body = await request.while_connected(call.answer())
        head, payload = self._infer_route.render(target, plan, header, body)
        lines = [line.split(b": ", 1) for line in head.splitlines()]
        return Response(payload, headers={k.decode(): v.decode() for k, v in lines})

    async def explain(self, request: ApiRequest) -> Response:
        return await explained(self._inference, self._target(request), request)

    async def stats(self, request: ApiRequest) -> Response:
        parameters = request.path_params
        version = version_of(parameters.get("version"))
        targets = self._inference.looked_at(request.principal, parameters["model"], version)
        return json_response(statistics(targets))

    async def all_stats(self, request: ApiRequest) -> Response:
        return json_response(statistics(self._inference.looked_at(request.principal)))

    async def index(self, request: ApiRequest) -> Response:
        wanted: dict[str, Any] = await request.json_object() if await request.body() else {}
        ready = wanted.get("ready", False)
        if set(wanted) - {"ready"} or not isinstance(ready, bool):
            raise InvalidInput("The body may hold 'ready' (true or false) alone.", param="ready")
        targets = self._inference.looked_at(request.principal)
        return json_response(repository_index(targets, ready_only=ready))

    async def load(self, request: ApiRequest) -> Response:
        await request.body()
        await self._loading.load(request.principal, request.path_params["model"])
        return json_response({})

    async def unload(self, request: ApiRequest) -> Response:
        await request.body()
        await self._loading.unload(request.principal, request.path_params["model"])
        return json_response({})
