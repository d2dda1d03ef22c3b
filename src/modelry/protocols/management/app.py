"""The management API as an ASGI application."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from modelry.domain.errors import InvalidInput, NotFound
from modelry.protocols.http.limits import DoorLimits
from modelry.protocols.http.plain_errors import render_error
from modelry.protocols.management import (
    account,
    aliases,
    audit,
    deployments,
    keys,
    members,
    models,
    prices,
    pulls,
    quotas,
    replicas,
    shares,
    starters,
    tenants,
    uploads,
    usage,
    versions,
)
from modelry.protocols.management import (
    chains as chain_routes,
)
from modelry.protocols.management import (
    datasets as dataset_routes,
)
from modelry.protocols.management import (
    encryption as encryption_routes,
)
from modelry.protocols.management import (
    evaluations as evaluation_routes,
)
from modelry.protocols.management import (
    explanations as explanation_routes,
)
from modelry.protocols.management import (
    export as export_routes,
)
from modelry.protocols.management import (
    jobs as job_routes,
)
from modelry.protocols.management import (
    request_logs as request_log_routes,
)
from modelry.protocols.management import (
    retention as retention_routes,
)
from modelry.protocols.management import (
    training as training_routes,
)
from modelry.protocols.management.marks import MarkedAnswers
from modelry.protocols.management.routing import check_routes
from modelry.protocols.management.services import Services, StatusSource
from modelry.services.audit.denials import Denials
from modelry.services.audit.service import AuditService
from modelry.services.audit.trail import ChainedTrail
from modelry.services.catalog.service import CatalogService
from modelry.services.datasets.service import DatasetsService
from modelry.services.deployments.service import DeploymentsService
from modelry.services.encryption.service import EncryptionService
from modelry.services.evaluation.service import EvaluationService
from modelry.services.explanation.service import ExplanationService
from modelry.services.inference.authentication import Authenticator
from modelry.services.jobs.service import JobsService
from modelry.services.pipelines.chains import ChainsService
from modelry.services.privacy.export import TenantExport
from modelry.services.privacy.request_logs import RequestLogs
from modelry.services.privacy.retention import RetentionService
from modelry.services.quotas.service import QuotasService
from modelry.services.tenancy.members import MembersService
from modelry.services.tenancy.service import TenancyService
from modelry.services.tenancy.sharing import SharingService
from modelry.services.tenancy.tenants import TenantsService
from modelry.services.training.service import TrainingService
from modelry.services.usage.prices import PricesService
from modelry.services.usage.service import UsageService

PREFIX = "/api/v1"
"""Where the application is to be mounted."""

ROUTERS: Sequence[APIRouter] = (
    models.router,
    versions.router,
    aliases.router,
    uploads.router,
    deployments.router,
    replicas.router,
    starters.router,
    pulls.router,
    keys.router,
    usage.router,
    prices.router,
    encryption_routes.router,
    quotas.router,
    members.router,
    shares.router,
    tenants.router,
    account.router,
    audit.router,
    request_log_routes.router,
    retention_routes.router,
    export_routes.router,
    job_routes.router,
    training_routes.router,
    chain_routes.router,
    dataset_routes.router,
    evaluation_routes.router,
    explanation_routes.router,
)
"""Every route of the management API."""


class ManagementApi(FastAPI):
    """The application; its routes are written without `PREFIX`, its description with it."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document, with the paths as callers see them."""
        document = super().openapi()
        paths = {PREFIX + path: operations for path, operations in document["paths"].items()}
        return {**document, "paths": paths}


def build_app(
    *,
    catalog: CatalogService,
    deployments: DeploymentsService,
    tenancy: TenancyService,
    encryption: EncryptionService,
    quotas: QuotasService,
    tenants: TenantsService,
    members: MembersService,
    sharing: SharingService,
    prices: PricesService,
    usage: UsageService,
    audit: AuditService,
    trail: ChainedTrail,
    denials: Denials,
    request_logs: RequestLogs,
    retention: RetentionService,
    export: TenantExport,
    jobs: JobsService,
    training: TrainingService,
    chains: ChainsService,
    datasets: DatasetsService,
    evaluations: EvaluationService,
    explanations: ExplanationService,
    authenticator: Authenticator,
    limits: DoorLimits,
    status: StatusSource,
    routers: Sequence[APIRouter] = ROUTERS,
) -> ManagementApi:
    """The management API, to be mounted at `PREFIX`.

    Whoever wires it must have keys that change take effect:
    `tenancy.on_change(authenticator.refresh)`.

    Args:
        catalog: models, versions, aliases, uploads.
        deployments: deployments and replicas; it must run on the event loop that serves the app.
        tenancy: API keys.
        encryption: keys of what is kept.
        quotas: limits of keys and tenants.
        tenants: the platform's tenants.
        members: the people of a tenant.
        sharing: deployments shared with other tenants.
        prices: what usage costs.
        usage: what was used.
        audit: shows and verifies the audit log.
        trail: takes what every unsafe route does.
        denials: takes what was refused.
        request_logs: what is kept of requests.
        retention: how long what is kept.
        export: gives all that belongs to a tenant.
        jobs: long work.
        training: recipes, and where versions come from.
        chains: several jobs as one request.
        datasets: rows to train and evaluate on.
        evaluations: how good versions are.
        explanations: what versions decide by.
        authenticator: keys to principals.
        limits: how many requests callers may send.
        status: what `/status` tells of the server itself.
        routers: the routes.

    Raises:
        TypeError: a route declares no permission.
    """
    check_routes(routers)
    app = ManagementApi(
        openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False, title="Modelry"
    )
    app.state.services = Services(
        catalog=catalog,
        deployments=deployments,
        tenancy=tenancy,
        encryption=encryption,
        quotas=quotas,
        tenants=tenants,
        members=members,
        sharing=sharing,
        prices=prices,
        usage=usage,
        audit=audit,
        trail=trail,
        denials=denials,
        request_logs=request_logs,
        retention=retention,
        export=export,
        jobs=jobs,
        training=training,
        chains=chains,
        datasets=datasets,
        evaluations=evaluations,
        explanations=explanations,
        authenticator=authenticator,
        limits=limits,
        status=status,
    )
    # including them would make each route anew when it is first looked for, 0.1 s for all of them
    app.router.routes.extend(route for router in routers for route in router.routes)
    app.add_exception_handler(HTTPException, _told)
    app.add_middleware(MarkedAnswers)
    return app


async def _told(request: Request, failure: Exception) -> Response:
    """What the router itself refuses: unknown paths and methods."""
    assert isinstance(failure, HTTPException)
    path = request.url.path[:200]
    headers: Mapping[str, str] = failure.headers or {}
    if failure.status_code == 405:
        allowed = headers.get("Allow", "other methods")
        response = render_error(
            InvalidInput(
                f"{path} does not answer {request.method[:20]}; it answers {allowed}.",
                param="method",
            )
        )
        response.status_code = 405
    else:
        response = render_error(
            NotFound(f"There is no endpoint {path}; /docs lists those that there are.")
        )
    response.headers.update(headers)
    return response
