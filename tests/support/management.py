"""A whole installation without worker processes, behind the management API."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import httpx2
import openai
from starlette.types import ASGIApp
from tests.support.onnx_models import identity

from modelry.adapters.audit.head_file import HeadFile
from modelry.adapters.blobs.file_store import FileBlobStore
from modelry.adapters.crypto.providers import ProviderChoice, open_provider
from modelry.adapters.sql.database import Database, open_database
from modelry.adapters.usage_spool import FileSegmentSpool
from modelry.bootstrap.access import AccessFollower
from modelry.datasets.import_work import ImportDataset
from modelry.datasets.works import DeriveDataset, ReadRows
from modelry.domain.access import Principal, Role
from modelry.manifest.digests import digest_of_bytes
from modelry.manifest.document import ManifestDocument, parse_manifest
from modelry.protocols.http.acts import DoorAudit
from modelry.protocols.http.application import build_application
from modelry.protocols.http.limits import DoorLimits
from modelry.protocols.http.plain_errors import render_error
from modelry.protocols.management import PREFIX, ManagementApi, build_app
from modelry.protocols.openai import routes as openai_routes
from modelry.protocols.openai.errors import render_error as render_openai_error
from modelry.runtime_api.work import WorkLimits
from modelry.services.audit.chain import ChainKeys
from modelry.services.audit.denials import Denials
from modelry.services.audit.service import AuditService
from modelry.services.audit.trail import ChainedTrail
from modelry.services.catalog.service import CatalogService
from modelry.services.datasets.deriving import DeriveHandler
from modelry.services.datasets.importing import ImportHandler
from modelry.services.datasets.service import DatasetsService
from modelry.services.deployments.service import DeploymentsService
from modelry.services.encryption.service import EncryptionService
from modelry.services.evaluation.service import EvaluationService
from modelry.services.explanation.service import ExplanationService
from modelry.services.files.service import FilesService
from modelry.services.finetuning.handler import FineTuneHandler
from modelry.services.finetuning.needed import needing_file
from modelry.services.finetuning.service import FineTuningService
from modelry.services.finetuning.serving import KnownBases, LoopServing
from modelry.services.inference.authentication import Authenticator
from modelry.services.inference.routing import RouteTable
from modelry.services.inference.service import InferenceService
from modelry.services.jobs.handlers import JobRun, Json
from modelry.services.jobs.service import JobsService
from modelry.services.pipelines.chains import ChainsService
from modelry.services.pipelines.deploying import DeployHandler
from modelry.services.pipelines.gate import Gate
from modelry.services.pipelines.registering import RegisterHandler
from modelry.services.privacy.export import TenantExport
from modelry.services.privacy.request_logs import RequestLogs
from modelry.services.privacy.retention import RetentionService
from modelry.services.quotas.service import QuotasService
from modelry.services.tenancy.members import MembersService
from modelry.services.tenancy.service import TenancyService
from modelry.services.tenancy.sharing import SharingService
from modelry.services.tenancy.tenants import TenantsService
from modelry.services.training.handler import TrainHandler
from modelry.services.training.search import SearchHandler
from modelry.services.training.service import TrainingService
from modelry.services.usage.ledger import Ledger
from modelry.services.usage.prices import PricesService
from modelry.services.usage.service import UsageService
from modelry.testing.catalog_fakes import FakeFetcher, FakeStarters, FakeTaskRules
from modelry.testing.encryption import memory_encryption
from modelry.testing.replica_pool import FakeReplicaPool
from modelry.testing.samples import OTHER_TENANT_ID, add_tenants, principal
from modelry.testing.work import ThreadWorks
from modelry.training.work import TrainWork

MAX_FILE_BYTES = 16 * 2**20
OTHER = "other"
"""Among `Installation.clients`, the owner of another tenant; the rest are roles."""


def adder(size: int = 3) -> bytes:
    """A small ONNX model; another `size` gives other bytes."""
    return bytes(identity(1, ("batch", size)).SerializeToString())


def starter() -> ManifestDocument:
    """An entry of the catalogue."""
    (entry,) = parse_manifest(
        "name: ready-made\ntask: tensor\nfiles: {model: 'pypi://adder==1.0/adder.onnx'}\n"
        "metadata: {description: Adds., license: MIT, size_bytes: 123}\n"
    )
    return entry


class Nothing:
    """A kind of job that waits in the queue: nothing runs jobs here."""

    kind: ClassVar[str] = "nothing"

    def check(self, principal: Principal, parameters: Json) -> Json:
        return parameters

    def run(self, run: JobRun) -> Json:
        raise AssertionError("nothing runs jobs here")


@dataclass
class Installation:
    """Services on a database and files, and a client for each role."""

    database: Database
    catalog: CatalogService
    deployments: DeploymentsService
    inference: InferenceService
    tenancy: TenancyService
    tenants: TenantsService
    members: MembersService
    sharing: SharingService
    usage: UsageService
    audit: AuditService
    trail: ChainedTrail
    encryption: EncryptionService
    request_logs: RequestLogs
    retention: RetentionService
    export: TenantExport
    jobs: JobsService
    datasets: DatasetsService
    files: FilesService
    training: TrainingService
    chains: ChainsService
    evaluations: EvaluationService
    explanations: ExplanationService
    pool: FakeReplicaPool
    fetcher: FakeFetcher
    starters: FakeStarters
    app: ManagementApi
    asgi: ASGIApp
    tokens: dict[str, str]

    def client(self, who: str = Role.OWNER, **headers: str) -> httpx2.AsyncClient:
        """A client of the management API; `""` has no key."""
        token = self.tokens.get(who)
        authorization = {"authorization": f"Bearer {token}"} if token else {}
        return httpx2.AsyncClient(
            transport=httpx2.ASGITransport(self.asgi, raise_app_exceptions=False),
            base_url=f"http://modelry.test{PREFIX}",
            headers={**authorization, **headers},
        )

    def openai(self, who: str = Role.OWNER) -> openai.AsyncOpenAI:
        """The official client of OpenAI's API."""
        return openai.AsyncOpenAI(
            api_key=self.tokens[who],
            base_url="http://modelry.test/v1",
            max_retries=0,
            http_client=httpx2.AsyncClient(
                transport=httpx2.ASGITransport(self.asgi, raise_app_exceptions=False)
            ),
        )

    async def upload(self, client: httpx2.AsyncClient, content: bytes) -> str:
        """Send a file; its digest."""
        begun = await client.post("/uploads", json={"size_bytes": len(content)})
        url = f"/uploads/{begun.json()['upload_id']}"
        done = await client.patch(url, content=content, headers={"upload-offset": "0"})
        assert done.json()["digest"] == digest_of_bytes(content), done.text
        return str(done.json()["digest"])

    async def register(
        self, client: httpx2.AsyncClient, name: str = "adder", size: int = 3
    ) -> dict[str, Any]:
        """A version of a small model."""
        digest = await self.upload(client, adder(size))
        body = {"file": {"name": "adder.onnx", "digest": digest}, "name": name}
        answer = await client.post("/versions", json=body)
        assert answer.status_code in (200, 201), answer.text
        version: dict[str, Any] = answer.json()["version"]
        return version


def make_database(folder: Path) -> Path:
    """A database with two tenants, for tests to copy: migrating takes longer than most tests."""
    path = folder / "modelry.db"
    database = open_database(f"sqlite:///{path}")
    add_tenants(database)
    database.close()
    return path


def copied(template: Path, folder: Path) -> str:
    """The URL of a copy of such a database."""
    return f"sqlite:///{shutil.copy(template, folder / 'modelry.db')}"


@asynccontextmanager
async def installation(
    folder: Path, database_url: str, *entries: ManifestDocument
) -> AsyncIterator[Installation]:
    """A running installation on a database with two tenants; `entries` are starter models."""
    database = open_database(database_url)
    fetcher, starters, pool = FakeFetcher(), FakeStarters(*entries), FakeReplicaPool()
    blobs = FileBlobStore(folder / "blobs", memory_encryption())
    catalog = CatalogService(
        store=database.catalog,
        blobs=blobs,
        rules=FakeTaskRules(),
        fetcher=fetcher,
        starters=starters,
        scratch=folder / "scratch",
        max_file_bytes=MAX_FILE_BYTES,
    )
    tenancy = TenancyService(database.keys, b"p" * 32)
    authenticator = Authenticator(tenancy)
    tokens = {
        role: tenancy.create(principal(), name=f"The {role}", role=role).token for role in Role
    }
    stranger = principal(Role.OWNER, OTHER_TENANT_ID)
    tokens[OTHER] = tenancy.create(stranger, name="Stranger", role=Role.OWNER).token
    inference = InferenceService(authenticator, RouteTable())
    deployments = DeploymentsService(database.deployments, catalog.reader, pool, inference)
    limits = DoorLimits(inference.accounts)
    ledger = Ledger(database.usage, FileSegmentSpool(folder / "usage-spool"))
    ledger.start()
    prices = PricesService(database.prices)
    usage = UsageService(database.usage, ledger, prices)
    chain_keys = ChainKeys(b"a" * 32)
    trail = ChainedTrail(database.audit, chain_keys)
    audit = AuditService(database.audit, chain_keys, HeadFile(folder / "heads.jsonl"))
    tenants = TenantsService(database.keys, database.deletions, tenancy)
    members = MembersService(database.keys, tenancy.changed)
    sharing = SharingService(database.keys, tenancy.changed)
    access = AccessFollower(tenancy, sharing, inference, deployments)
    encryption = EncryptionService(
        database.data_keys, open_provider(ProviderChoice("file", folder / "key-encryption-keys"))
    )
    request_logs = RequestLogs(database.request_logs, encryption, inference.groups, trail)
    request_logs.queue.start()
    jobs = JobsService(database.jobs, blobs)
    retention = RetentionService(
        database.request_logs, database.request_logs, audit, trail, jobs=jobs
    )
    export = TenantExport(
        snapshots=database.snapshots,
        blobs=blobs,
        logs=request_logs,
        log_store=database.request_logs,
        audit=audit,
        scratch=folder / "scratch",
    )
    denials = Denials(trail)
    works = ThreadWorks(TrainWork(), ImportDataset(), DeriveDataset(), ReadRows())
    datasets = DatasetsService(database.datasets, catalog.contents, works)
    files = FilesService(database.files, catalog.contents, blobs)
    files.used_by(lambda tenant_id, file_id: needing_file(file_id, jobs.open_jobs(tenant_id)))
    train = TrainHandler(datasets, catalog, database.lineages, works, WorkLimits(threads=1))
    imports = ImportHandler(datasets)
    fine_tune = FineTuneHandler(
        files=files,
        bases=KnownBases(deployments, catalog),
        datasets=datasets,
        lineages=database.lineages,
        importing=imports,
        training=train,
        serving=LoopServing(deployments, lambda: deployments.loop),
        curves=jobs.metrics,
    )
    gate = Gate(catalog, database.evaluations)
    for handler in (
        train,
        SearchHandler(train),
        RegisterHandler(catalog, database.lineages, gate, trail),
        DeployHandler(catalog, lambda: deployments, gate, trail),
        DeriveHandler(datasets),
        imports,
        fine_tune,
        Nothing(),
    ):
        jobs.add_handler(handler)
    explanations = ExplanationService(database.explanations, catalog, catalog.contents)
    evaluations = EvaluationService(
        database.evaluations, catalog, catalog.contents, (explanations,)
    )
    training = TrainingService(jobs, catalog, database.lineages)
    chains = ChainsService(jobs, catalog, datasets, database.evaluations)
    app = build_app(
        catalog=catalog,
        deployments=deployments,
        tenancy=tenancy,
        encryption=encryption,
        quotas=QuotasService(database.quotas, inference.accounts, PricesService(database.prices)),
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
        status=lambda: {"version": "1.2.3", "ready": True},
    )
    door = openai_routes.build_door(
        inference,
        fine_tuning=openai_routes.FineTuning(
            files,
            FineTuningService(jobs),
            DoorAudit(trail, denials, authenticator.is_secret),
            max_file_bytes=MAX_FILE_BYTES,
        ),
    )
    shapes = {"": render_error, "/v1/": render_openai_error}
    await access.start()
    await deployments.start()
    try:
        yield Installation(
            database=database,
            catalog=catalog,
            deployments=deployments,
            inference=inference,
            tenancy=tenancy,
            tenants=tenants,
            members=members,
            sharing=sharing,
            usage=usage,
            audit=audit,
            trail=trail,
            encryption=encryption,
            request_logs=request_logs,
            retention=retention,
            export=export,
            jobs=jobs,
            datasets=datasets,
            files=files,
            training=training,
            chains=chains,
            evaluations=evaluations,
            explanations=explanations,
            pool=pool,
            fetcher=fetcher,
            starters=starters,
            app=app,
            asgi=build_application((door,), {PREFIX: app}, authenticator, limits, shapes),
            tokens=tokens,
        )
    finally:
        await deployments.stop(drain_s=0.1)
        await access.stop()
        request_logs.queue.stop()
        ledger.stop()
        database.close()
