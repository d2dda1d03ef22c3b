"""Every door of an installation, and what they tell of themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.types import ASGIApp

from modelry import __version__
from modelry.adapters.hubs.inputs import GuardedInputs
from modelry.bootstrap.descriptors import most_connections
from modelry.bootstrap.fine_tuning import door_of as fine_tuning_of
from modelry.bootstrap.installation import Installation
from modelry.protocols import management, signin, tasks
from modelry.protocols.http.answer_headers import HardenedAnswers
from modelry.protocols.http.application import build_application, refusal_in
from modelry.protocols.http.cross_origin import allow_origins
from modelry.protocols.http.endpoint import Door
from modelry.protocols.http.guard import RequestGuard
from modelry.protocols.http.hosts import HostList
from modelry.protocols.http.hot import hot_protocol
from modelry.protocols.http.limits import DoorLimits
from modelry.protocols.oip import routes as oip_routes
from modelry.protocols.oip.grpc_server import InferenceServicer
from modelry.protocols.oip.hot import InferRoute
from modelry.protocols.openai import routes as openai_routes
from modelry.protocols.openai.errors import render_error as render_openai_error
from modelry.protocols.operations import routes as operations_routes
from modelry.protocols.operations.openapi import openapi_document
from modelry.services.deployments.audited import AuditedLoading
from modelry.services.explanation.explainer import Explainer


@dataclass(frozen=True, slots=True)
class Doors:
    """What listens: an ASGI application, the connection class in front of it, a gRPC service; and
    what makes the OpenAPI document of them.
    """

    application: ASGIApp
    protocol: type[asyncio.Protocol]
    servicer: InferenceServicer
    document: Callable[[], dict[str, Any]]


def build_doors(
    installation: Installation,
    readiness: Callable[[], Mapping[str, Any]],
    address_url: str = "http://localhost",
) -> Doors:
    """The doors of `installation`.

    Args:
        installation: its services.
        readiness: what `/readyz` tells; see `protocols.operations`.
        address_url: the address listened on; browsers know it by that unless there is a public URL.

    Raises:
        TypeError: an endpoint declares no permission.
    """
    settings, inference = installation.settings, installation.inference
    limits = DoorLimits(inference.accounts)
    loading = AuditedLoading(installation.deployments, installation.trail)
    infer_route = InferRoute(inference, limits, settings.max_body_bytes)
    fetcher = GuardedInputs(settings.allow_input_urls) if settings.allow_input_urls else None
    explainer = Explainer(inference, installation.direct_explanations)
    management_app = management.build_app(
        catalog=installation.catalog,
        deployments=installation.deployments,
        tenancy=installation.tenancy,
        encryption=installation.encryption,
        quotas=installation.quotas,
        tenants=installation.tenants,
        members=installation.members,
        sharing=installation.sharing,
        prices=installation.prices,
        usage=installation.usage,
        audit=installation.audit,
        trail=installation.trail,
        denials=installation.denials,
        request_logs=installation.request_logs,
        retention=installation.retention,
        export=installation.export,
        jobs=installation.jobs.service,
        training=installation.training,
        chains=installation.jobs.chains,
        datasets=installation.datasets,
        evaluations=installation.evaluations,
        explanations=installation.explanations,
        authenticator=inference.authenticator,
        limits=limits,
        status=lambda: _status(installation, readiness()),
    )

    def document() -> dict[str, Any]:
        return openapi_document(doors, management_app.openapi())

    doors: Sequence[Door] = (
        openai_routes.build_door(
            inference,
            max_body_bytes=settings.max_body_bytes,
            fine_tuning=fine_tuning_of(installation),
        ),
        oip_routes.build_door(inference, loading, infer_route),
        tasks.build_door(
            inference,
            max_body_bytes=settings.max_body_bytes,
            fetcher=fetcher,
            kept=installation.request_logs.questions,
            explainer=explainer,
            explanation_jobs=installation.jobs.explanations,
        ),
        tasks.build_kserve_door(
            inference,
            max_body_bytes=settings.max_body_bytes,
            fetcher=fetcher,
            explainer=explainer,
        ),
        signin.build_door(
            installation.sign_in(settings.public_url or address_url), installation.sessions
        ),
        operations_routes.build_door(inference, readiness, document),
    )
    shapes = {
        "": operations_routes.render_error,
        "/v1/": render_openai_error,
        "/v2": oip_routes.render_error,
    }
    application = build_application(
        doors, {management.PREFIX: management_app}, inference.authenticator, limits, shapes
    )
    application = allow_origins(application, settings.cors_origins)
    hardened = partial(
        HardenedAnswers,
        private=(management.PREFIX, signin.PREFIX),
        is_public_tls=(settings.public_url or "").startswith("https://"),
    )
    guard = RequestGuard(
        HostList.listening_on(settings.host, settings.allowed_hosts, settings.public_url),
        refusal_in(shapes, hardened),
        frozenset(origin.encode() for origin in settings.cors_origins),
    )
    servicer = InferenceServicer(inference, loading, limits)
    protocol = hot_protocol((infer_route,), guard, most_connections(settings.max_connections))
    return Doors(hardened(application), protocol, servicer, document)


def _status(installation: Installation, readiness: Mapping[str, Any]) -> dict[str, Any]:
    return {"version": __version__, "started_at": installation.started_at, **readiness}
