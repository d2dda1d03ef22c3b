"""What the routes call, handed to them by FastAPI's dependencies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request

from modelry.domain.access import Principal
from modelry.protocols.http.limits import DoorLimits
from modelry.protocols.http.threads import OwnThreads
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

StatusSource = Callable[[], Mapping[str, Any]]
"""Tells of the server itself: `{"version", "started_at", "ready", …}`, JSON types and datetimes."""

MOST_UPLOADS = 64
MOST_PULLS = 16
MOST_LOOKS = 8


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that a route may need."""

    catalog: CatalogService
    deployments: DeploymentsService
    tenancy: TenancyService
    encryption: EncryptionService
    quotas: QuotasService
    tenants: TenantsService
    members: MembersService
    sharing: SharingService
    prices: PricesService
    usage: UsageService
    audit: AuditService
    trail: ChainedTrail
    denials: Denials
    request_logs: RequestLogs
    retention: RetentionService
    export: TenantExport
    jobs: JobsService
    training: TrainingService
    chains: ChainsService
    datasets: DatasetsService
    evaluations: EvaluationService
    explanations: ExplanationService
    authenticator: Authenticator
    limits: DoorLimits
    status: StatusSource
    upload_threads: OwnThreads = field(
        default_factory=lambda: OwnThreads("uploads that are being sent", MOST_UPLOADS)
    )
    row_threads: OwnThreads = field(
        default_factory=lambda: OwnThreads("looks at rows that are under way", MOST_LOOKS)
    )
    pull_threads: OwnThreads = field(
        default_factory=lambda: OwnThreads("pulls that are under way", MOST_PULLS)
    )


def services_of(request: Request) -> Services:
    """The services of the application that answers `request`."""
    found: Services = request.app.state.services
    return found


# Asynchronous, so that FastAPI does not send a thread to fetch an attribute.


async def _services(request: Request) -> Services:
    return services_of(request)


async def _caller(request: Request) -> Principal:
    principal: Principal = request.state.principal
    return principal


async def _catalog(request: Request) -> CatalogService:
    return services_of(request).catalog


async def _deployments(request: Request) -> DeploymentsService:
    return services_of(request).deployments


async def _tenancy(request: Request) -> TenancyService:
    return services_of(request).tenancy


async def _quotas(request: Request) -> QuotasService:
    return services_of(request).quotas


async def _encryption(request: Request) -> EncryptionService:
    return services_of(request).encryption


async def _audit(request: Request) -> AuditService:
    return services_of(request).audit


async def _tenants(request: Request) -> TenantsService:
    return services_of(request).tenants


async def _members(request: Request) -> MembersService:
    return services_of(request).members


async def _sharing(request: Request) -> SharingService:
    return services_of(request).sharing


async def _prices(request: Request) -> PricesService:
    return services_of(request).prices


async def _request_logs(request: Request) -> RequestLogs:
    return services_of(request).request_logs


async def _retention(request: Request) -> RetentionService:
    return services_of(request).retention


async def _export(request: Request) -> TenantExport:
    return services_of(request).export


async def _datasets(request: Request) -> DatasetsService:
    return services_of(request).datasets


async def _jobs(request: Request) -> JobsService:
    return services_of(request).jobs


async def _evaluations(request: Request) -> EvaluationService:
    return services_of(request).evaluations


async def _explanations(request: Request) -> ExplanationService:
    return services_of(request).explanations


async def _training(request: Request) -> TrainingService:
    return services_of(request).training


async def _chains(request: Request) -> ChainsService:
    return services_of(request).chains


async def _usage(request: Request) -> UsageService:
    return services_of(request).usage


All = Annotated[Services, Depends(_services)]
Audit = Annotated[AuditService, Depends(_audit)]
Caller = Annotated[Principal, Depends(_caller)]
Chains = Annotated[ChainsService, Depends(_chains)]
Catalog = Annotated[CatalogService, Depends(_catalog)]
Datasets = Annotated[DatasetsService, Depends(_datasets)]
Deployments = Annotated[DeploymentsService, Depends(_deployments)]
Encryption = Annotated[EncryptionService, Depends(_encryption)]
Jobs = Annotated[JobsService, Depends(_jobs)]
Members = Annotated[MembersService, Depends(_members)]
Sharing = Annotated[SharingService, Depends(_sharing)]
Tenancy = Annotated[TenancyService, Depends(_tenancy)]
Quotas = Annotated[QuotasService, Depends(_quotas)]
Tenants = Annotated[TenantsService, Depends(_tenants)]
Prices = Annotated[PricesService, Depends(_prices)]
Training = Annotated[TrainingService, Depends(_training)]
Usage = Annotated[UsageService, Depends(_usage)]
Evaluations = Annotated[EvaluationService, Depends(_evaluations)]
Explanations = Annotated[ExplanationService, Depends(_explanations)]
Export = Annotated[TenantExport, Depends(_export)]
KeptRequests = Annotated[RequestLogs, Depends(_request_logs)]
Retention = Annotated[RetentionService, Depends(_retention)]
