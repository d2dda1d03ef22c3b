"""The state of an installation and the services on it, without any door."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from pydantic import SecretStr

from modelry.adapters.audit.head_file import HeadFile
from modelry.adapters.blobs.file_store import FileBlobStore
from modelry.adapters.blobs.migration import encrypt_plain_files
from modelry.adapters.crypto.providers import ProviderChoice, open_provider
from modelry.adapters.data_folder import DataFolder
from modelry.adapters.hubs import CachingFetcher, FetchPolicy
from modelry.adapters.oidc.issuers_file import read_issuers
from modelry.adapters.processes.pool import LocalReplicaPool
from modelry.adapters.processes.sandbox_probe import SandboxProbe
from modelry.adapters.secrets.files import load_or_make_secret
from modelry.adapters.sql.database import Database, open_database
from modelry.adapters.usage_spool import FileSegmentSpool
from modelry.bootstrap.access import AccessFollower
from modelry.bootstrap.audit_log import SERVER_ACTOR, open_chain_keys, tell_rolled_back
from modelry.bootstrap.deleting import TenantBlobs, TenantKeys
from modelry.bootstrap.explaining import direct_explanations
from modelry.bootstrap.jobs import Jobs
from modelry.bootstrap.quarantine import QuarantineFollower
from modelry.bootstrap.tls import open_certificate
from modelry.bootstrap.works import open_works
from modelry.domain.access import DEFAULT_TENANT_ID, ROLE_PERMISSIONS, Principal, Role
from modelry.domain.catalog import Version
from modelry.domain.errors import Cancelled, InvalidInput
from modelry.domain.quotas import check_limits
from modelry.domain.sandbox import SandboxLevel
from modelry.manifest.starters import StarterEntries
from modelry.protocols import signin
from modelry.services.audit.denials import Denials
from modelry.services.audit.ports import AuditTrail
from modelry.services.audit.service import AuditService
from modelry.services.audit.trail import ChainedTrail
from modelry.services.catalog.ports import FetchProgress
from modelry.services.catalog.service import CatalogService
from modelry.services.datasets.hub_files import HubFiles
from modelry.services.datasets.service import DatasetsService
from modelry.services.deployments.service import DeploymentsService
from modelry.services.deployments.starters import Starters
from modelry.services.encryption.service import EncryptionService
from modelry.services.evaluation.service import EvaluationService
from modelry.services.explanation.service import ExplanationService
from modelry.services.files.service import FilesService
from modelry.services.inference.authentication import Authenticator
from modelry.services.inference.routing import RouteTable
from modelry.services.inference.service import InferenceService
from modelry.services.privacy.export import TenantExport
from modelry.services.privacy.recognisers import BUILT_IN
from modelry.services.privacy.redaction import Redactor
from modelry.services.privacy.request_logs import RequestLogs
from modelry.services.privacy.retention import RetentionService
from modelry.services.quotas.accounts import Accounts
from modelry.services.quotas.costs import CostBudgets
from modelry.services.quotas.exchange import CountExchange
from modelry.services.quotas.service import QuotasService
from modelry.services.signin.service import SignInService
from modelry.services.signin.sessions import SessionsService
from modelry.services.tenancy.deletion import TenantDeletions
from modelry.services.tenancy.members import MembersService
from modelry.services.tenancy.service import MintedKey, TenancyService
from modelry.services.tenancy.sharing import SharingService
from modelry.services.tenancy.tenants import TenantsService
from modelry.services.training.service import TrainingService
from modelry.services.usage.ledger import Ledger
from modelry.services.usage.prices import PricesService
from modelry.services.usage.service import UsageService
from modelry.settings import Settings, is_loopback
from modelry.tasks.rules import InstalledTasks

STARTER_PRINCIPAL = Principal(
    DEFAULT_TENANT_ID, "starter", Role.OWNER, ROLE_PERMISSIONS[Role.OWNER]
)
"""In whose name the starter models are set up."""


OnStarterProgress = Callable[[str, FetchProgress], None]


class Installation:
    """An open data folder with every service on it.

    Args:
        settings: what the operator chose.
        on_progress: told, in a thread, how far the fetching of each starter is.

    Raises:
        ModelryError: folder, secret or database cannot be used; nothing is left open then.
    """

    def __init__(self, settings: Settings, on_progress: OnStarterProgress) -> None:
        self.settings = settings
        self.started_at = datetime.now(UTC)
        self.folder = DataFolder(settings.data, secrets=settings.secrets, blobs=settings.blobs)
        self.folder.open()
        try:
            self.works = open_works(settings, self.folder)
            self.database = open_database(
                _revealed(settings.database_url) or self.folder.database_url,
                _revealed(settings.database_owner_url),
            )
        except BaseException:
            self.folder.close()
            raise
        try:
            self._wire(on_progress)
        except BaseException:
            self.close()
            raise

    def _wire(self, on_progress: OnStarterProgress) -> None:
        settings, database = self.settings, self.database
        self.sandbox = SandboxProbe()
        self.certificate = open_certificate(settings, self.folder)
        self.encryption = _open_encryption(settings, self.folder, database)
        chain_keys = open_chain_keys(settings, self.folder, database)
        self.trail = ChainedTrail(database.audit, chain_keys)
        self.denials = Denials(self.trail)
        self.audit = AuditService(
            database.audit, chain_keys, HeadFile(settings.audit_heads or self.folder.audit_heads)
        )
        tell_rolled_back(self.audit, self.trail)
        self.tenancy = TenancyService(database.keys, load_or_make_secret(self.folder.pepper))
        self.owner_key: MintedKey | None = self.tenancy.ensure_owner_key(
            _revealed(settings.owner_key),
            # a data folder of its own may be new; a database that others share is not
            may_lose_keys=settings.database_url is None or settings.accept_lost_pepper,
        )
        self.members = MembersService(database.keys, self.tenancy.changed)
        if self.owner_key is not None:
            self.trail.append(
                DEFAULT_TENANT_ID,
                actor=SERVER_ACTOR,
                action="keys.replace_owner_key",
                resource=f"/keys/{self.owner_key.key.key_id}",
            )
        self.tenants = TenantsService(database.keys, database.deletions, self.tenancy)
        self.sharing = SharingService(database.keys, self.tenancy.changed)
        blobs = self._open_blobs()
        self.sessions = SessionsService(
            database.sessions,
            load_or_make_secret(self.folder.pepper),
            lifetime=timedelta(hours=settings.session_hours),
            idle=timedelta(minutes=settings.session_idle_minutes),
        )
        self._issuers = read_issuers(settings.sign_in_file) if settings.sign_in_file else {}
        policy = FetchPolicy(
            max_bytes=settings.max_upload_bytes, allow_private_hosts=settings.allow_private_sources
        )
        accounts = Accounts(
            open_requests=settings.tenant_requests,
            tenant_defaults=check_limits(settings.tenant_quota, for_key=False),
            key_defaults=check_limits(settings.key_quota, for_key=True),
        )
        self.prices = PricesService(database.prices)
        self.prices.refresh()
        self.quotas = QuotasService(database.quotas, accounts, self.prices)
        entries = StarterEntries()
        # what is fetched comes from public places: it is not the tenants', and not in their folder
        cache = settings.cache.expanduser().absolute()
        fetcher = CachingFetcher(cache, policy)
        self.catalog = CatalogService(
            store=database.catalog,
            blobs=blobs,
            rules=InstalledTasks(),
            fetcher=fetcher,
            starters=entries,
            scratch=cache / "pulls",
            max_file_bytes=settings.max_upload_bytes,
            storage_limit=self.quotas.storage_limit,
            check_sandbox=self._check_sandbox,
        )
        self.datasets = DatasetsService(database.datasets, self.catalog.contents, self.works)
        self.files = FilesService(database.files, self.catalog.contents, blobs)
        self.hub_files = HubFiles(fetcher, self.catalog.contents, cache / "pulls")
        self.jobs = Jobs(self, blobs)
        self.evaluations, self.explanations = _known_of_versions(database, self.catalog)
        self.training = TrainingService(self.jobs.service, self.catalog, database.lineages)
        self.inference = InferenceService(
            Authenticator(self.tenancy, self.sessions),
            RouteTable(),
            accounts,
            CostBudgets(accounts, self.prices),
        )
        self.counts = CountExchange(database.quotas, accounts)
        spool = FileSegmentSpool(self.folder.usage_spool)
        ledger = Ledger(database.usage, spool, self._tell_room)
        self.usage = UsageService(database.usage, ledger, self.prices)
        self.deployments = DeploymentsService(
            database.deployments,
            self.catalog.reader,
            LocalReplicaPool(replace(settings.sandbox, hidden=self.folder.private)),
            self.inference,
        )
        self.request_logs = RequestLogs(
            database.request_logs,
            self.encryption,
            self.inference.groups,
            self.trail,
            redactor=_redactor(settings.presidio),
        )
        self.retention = RetentionService(
            database.request_logs,
            database.request_logs,
            self.audit,
            self.trail,
            jobs=self.jobs.service,
        )
        self.export = TenantExport(
            snapshots=database.snapshots,
            blobs=blobs,
            logs=self.request_logs,
            log_store=database.request_logs,
            audit=self.audit,
            scratch=self.folder.exports,
        )
        self._starter_source = _StarterSource(self.catalog, entries.defaults(), on_progress)
        self.starters = Starters(
            self._starter_source,
            self.deployments,
            _SetUpRecord(database, self.trail),
        )
        self.quarantine = QuarantineFollower(self.catalog.quarantine, self.deployments, self.trail)
        self.direct_explanations = direct_explanations(self)
        self.access = AccessFollower(
            self.tenancy,
            self.sharing,
            self.inference,
            self.deployments,
            self.direct_explanations,
        )
        self.deletions = TenantDeletions(
            database.deletions,
            TenantBlobs(blobs),
            TenantKeys(self.encryption, database.data_keys),
            self.deployments,
            self.trail,
            changed=self.tenancy.changed,
        )
        self.jobs.add_handlers(self)

    def _check_sandbox(self) -> None:
        policy = self.settings.sandbox
        if policy.required is not SandboxLevel.NONE:
            policy.check(self.sandbox.report())

    def _open_blobs(self) -> FileBlobStore:
        blobs = FileBlobStore(self.folder.blobs, self.encryption)
        shutil.rmtree(self.folder.plain_scratch, ignore_errors=True)
        encrypt_plain_files(self.folder.blobs, blobs)
        return blobs

    def sign_in(self, base_url: str) -> SignInService:
        """The service that signs people in, for browsers that know this server by `base_url`.

        Raises:
            InvalidInput: sessions would go over a network in the clear.
        """
        parts = urlsplit(base_url)
        if self._issuers and parts.scheme != "https" and not is_loopback(parts.hostname or ""):
            raise InvalidInput(
                "Sign-in needs TLS: sessions would go over the network in the clear. Give "
                "MODELRY_PUBLIC_URL, as https://, if a proxy ends TLS in front of this server.",
                param="sign_in_file",
            )
        return SignInService(
            self._issuers,
            members=self.members,
            sessions=self.sessions,
            sealer=self.encryption,
            trail=self.trail,
            denials=self.denials,
            redirect_uri=f"{base_url}{signin.PREFIX}/callback",
        )

    def meter(self) -> None:
        """Hand what was metered since the last time to the ledger."""
        self.usage.ledger.add(self.inference.meter.take())

    def _tell_room(self, is_full: bool) -> None:  # noqa: FBT001 - a callback's only word
        self.inference.meter.is_full = is_full

    def stop_fetching(self) -> None:
        """End the fetching of starters; it goes on from there at the next start."""
        self._starter_source.is_stopped = True

    def close(self) -> None:
        """End what waits for work, close the database, and let others use the folder."""
        self.works.close()
        self.database.close()
        self.folder.close()


def _open_encryption(
    settings: Settings, folder: DataFolder, database: Database
) -> EncryptionService:
    key, old_keys = settings.encryption_key, settings.encryption_old_keys
    choice = ProviderChoice(
        kind=settings.encryption_provider,
        former_kind=settings.encryption_old_provider,
        key_file=folder.key_file,
        environment_key=key.get_secret_value() if key else None,
        environment_old_keys=old_keys.get_secret_value().split(",") if old_keys else (),
        kms_key=settings.encryption_kms_key,
        kms_endpoint=settings.encryption_kms_endpoint,
    )
    encryption = EncryptionService(database.data_keys, open_provider(choice))
    encryption.check()
    return encryption


def _revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _redactor(presidio: str | None) -> Redactor:
    if presidio is None:
        return Redactor()
    from modelry.adapters.presidio.recogniser import PresidioRecogniser

    return Redactor((*BUILT_IN, PresidioRecogniser(presidio)))


class _StarterSource:
    def __init__(
        self, catalog: CatalogService, names: Sequence[str], on_progress: OnStarterProgress
    ) -> None:
        self._catalog = catalog
        self.is_stopped = False
        self._names = names
        self._on_progress = on_progress

    def names(self) -> Sequence[str]:
        return self._names

    def pull(self, principal: Principal, name: str) -> Version:
        def told(progress: FetchProgress) -> None:
            if self.is_stopped:
                raise Cancelled("The server is stopping.")
            self._on_progress(name, progress)

        return self._catalog.pull(principal, name, told).version


class _SetUpRecord:
    def __init__(self, database: Database, trail: AuditTrail) -> None:
        self._keys = database.keys
        self._trail = trail

    def is_set_up(self, name: str) -> bool:
        return self._keys.setting(f"starter:{name}") is not None

    def note(self, name: str) -> None:
        self._trail.append(
            STARTER_PRINCIPAL.tenant_id,
            actor=STARTER_PRINCIPAL.key_id,
            action="starters.set_up",
            resource=f"/deployments/{name}",
        )
        self._keys.put_setting(f"starter:{name}", datetime.now(UTC).isoformat())


def _known_of_versions(
    database: Database, catalog: CatalogService
) -> tuple[EvaluationService, ExplanationService]:
    """How good versions are, and what they decide by; cards tell both."""
    explanations = ExplanationService(database.explanations, catalog, catalog.contents)
    evaluations = EvaluationService(
        database.evaluations, catalog, catalog.contents, (explanations,)
    )
    return evaluations, explanations
