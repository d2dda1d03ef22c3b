"""The catalogue's use cases in one place; each is written out in a file of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from modelry.domain.access import Permission, Principal
from modelry.domain.catalog import Alias, AliasMove, Version, check_name
from modelry.domain.errors import NotFound
from modelry.manifest.document import MAIN_ROLE, ManifestDocument
from modelry.manifest.sources import Source
from modelry.services.catalog.aliases import Aliases, Expected
from modelry.services.catalog.collector import Collected, Collector
from modelry.services.catalog.contents import Contents
from modelry.services.catalog.ports import (
    BlobStore,
    CatalogStore,
    OnProgress,
    SourceFetcher,
    StarterCatalogue,
    TaskRules,
)
from modelry.services.catalog.pulling import Puller, renamed
from modelry.services.catalog.quarantine import Quarantine
from modelry.services.catalog.registration import Registrar, Registration, ResolvedManifest
from modelry.services.catalog.resolution import Resolver, StoredFile
from modelry.services.catalog.uploads import Upload, Uploads
from modelry.services.catalog.versions import ModelSummary, VersionReader, Versions


class CatalogService:
    """Models, versions, aliases and uploads of the caller's tenant.

    Every method blocks; call it in a thread. Each is at most one transaction.

    Args:
        store: keeps rows.
        blobs: keeps contents.
        rules: what tasks and processing steps know.
        fetcher: fetches from sources.
        starters: the catalogue of ready-made models.
        scratch: a folder for what is being fetched.
        clock: gives the time.
        max_file_bytes: the largest file that may be uploaded or fetched.
        storage_limit: how many bytes of files a tenant may keep, None for any.
        check_sandbox: raises where models of others must not be taken.
    """

    def __init__(
        self,
        *,
        store: CatalogStore,
        blobs: BlobStore,
        rules: TaskRules,
        fetcher: SourceFetcher,
        starters: StarterCatalogue,
        scratch: Path,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        max_file_bytes: int = 64 * 2**30,
        storage_limit: Callable[[str], int | None] = lambda _: None,
        check_sandbox: Callable[[], None] = lambda: None,
    ) -> None:
        self._check_sandbox = check_sandbox
        self._store = store
        self.quarantine = Quarantine(store, blobs, clock)
        self._uploads = Uploads(
            store, blobs, clock, max_file_bytes, self.quarantine, storage_limit=storage_limit
        )
        self._registrar = Registrar(store, clock)
        self._resolver = Resolver(rules)
        self._aliases = Aliases(store, clock)
        self._versions = Versions(store)
        self._reader = VersionReader(store, self.quarantine)
        self._collector = Collector(store, blobs, clock)
        self._puller = Puller(
            store=store,
            blobs=blobs,
            uploads=self._uploads,
            fetcher=fetcher,
            starters=starters,
            scratch=scratch,
            clock=clock,
        )
        self._starters = starters
        self.contents = Contents(self._uploads, self.quarantine)

    @property
    def reader(self) -> VersionReader:
        """Versions and files for the deployments service."""
        return self._reader

    # ---- uploads ----------------------------------------------------------------------------

    def begin_upload(
        self, principal: Principal, size_bytes: int, digest: str | None = None
    ) -> Upload:
        """Announce a file; see `Uploads.begin`."""
        principal.require(Permission.MODELS_WRITE)
        self._check_sandbox()
        return self._uploads.begin(principal, size_bytes, digest)

    def append_upload(
        self, principal: Principal, upload_id: str, offset: int, chunks: Iterable[bytes]
    ) -> Upload:
        """Add bytes; the last ones complete the upload; see `Uploads.append`."""
        principal.require(Permission.MODELS_WRITE)
        self._check_sandbox()
        return self._uploads.append(principal, upload_id, offset, chunks)

    def upload(self, principal: Principal, upload_id: str) -> Upload:
        """How far an upload is; see `Uploads.get`."""
        return self._uploads.get(principal, upload_id)

    def abort_upload(self, principal: Principal, upload_id: str) -> None:
        """Forget an upload; see `Uploads.abort`."""
        self._uploads.abort(principal, upload_id)

    # ---- registration -----------------------------------------------------------------------

    def register(
        self,
        principal: Principal,
        document: ManifestDocument,
        files: Mapping[str, str],
        source: str = "upload",
    ) -> Registration:
        """Make a version of a manifest and its files; the same again is the same version.

        Args:
            principal: who asks.
            document: the manifest.
            files: digests of uploaded contents, by the roles that the manifest names.
            source: where it came from, for the record.

        Raises:
            NotFound: a content is not there.
            FileRefused, ManifestInvalid, NotSupported: see `Resolver.resolve`.
            Conflict: the model has another task.
        """
        principal.require(Permission.MODELS_WRITE)
        self._check_sandbox()
        stored: dict[str, StoredFile] = {}
        with ExitStack() as opened:
            for role, digest in files.items():
                declared = document.files.get(role)
                name = role if declared is None else declared.name
                stored[role] = opened.enter_context(
                    self._stored(principal.tenant_id, name, digest, role)
                )
            resolved = self._resolver.resolve(document, stored)
        return self._registrar.register(principal, resolved, source)

    def register_copy(self, principal: Principal, version: Version, name: str) -> Registration:
        """Make a version the one of another model, too: the same manifest and files.

        Args:
            principal: who asks.
            version: of the caller's tenant.
            name: the other model's name; it is made if it is not there.

        Raises:
            Conflict: the model has another task.
            InvalidInput: the name is not allowed.
            NotFound: a file's content was collected meanwhile.
        """
        principal.require(Permission.MODELS_WRITE)
        document = {**version.manifest, "name": check_name(name, "model")}
        resolved = ResolvedManifest(document, version.signature, version.files)
        return self._registrar.register(principal, resolved, version.ref)

    def register_bare(
        self,
        principal: Principal,
        file_name: str,
        digest: str,
        *,
        name: str | None = None,
        task: str | None = None,
        source: str = "upload",
    ) -> Registration:
        """Make a version of a single file; the notes say what was inferred.

        Args:
            principal: who asks.
            file_name: the file's name.
            digest: its uploaded content.
            name: the model's name, by default made of the file's.
            task: the model's task, by default told from the file.
            source: where it came from, for the record.

        Raises:
            As `register`, and InvalidInput: name or task cannot be inferred.
        """
        principal.require(Permission.MODELS_WRITE)
        self._check_sandbox()
        with self._stored(principal.tenant_id, file_name, digest, MAIN_ROLE) as stored:
            resolved = self._resolver.resolve_bare(stored, name=name, task=task)
        return self._registrar.register(principal, resolved, source)

    def pull(
        self,
        principal: Principal,
        source: str | ManifestDocument,
        on_progress: OnProgress | None = None,
        *,
        name: str | None = None,
        task: str | None = None,
    ) -> Registration:
        """Fetch a model and register it.

        Args:
            principal: who asks.
            source: the name of a starter model, a source of a single file, or a manifest whose
                files have sources.
            on_progress: told how far each file is; may raise to stop (fetching can go on later).
            name: the model's name, for a single file or a starter model.
            task: the model's task, for a single file.

        Raises:
            As `register_bare`; SourceUnavailable or DigestMismatch: it cannot be fetched.
            PermissionDenied: a web source, asked for by other than an admin or owner.
        """
        principal.require(Permission.MODELS_WRITE)
        self._check_sandbox()
        if isinstance(source, ManifestDocument):
            document, origin = source, "manifest"
        else:
            starter = self._starters.find(source)
            if starter is None:
                single = self._puller.source_of(principal, source)
                return self._pull_single(principal, single, on_progress, name, task)
            document, origin = renamed(starter, name, task), f"catalog:{source}"
        digests = self._puller.fetch_all(principal, document, on_progress)
        return self.register(principal, document, digests, origin)

    def starters(self, principal: Principal) -> list[ManifestDocument]:
        """The ready-made models that can be pulled by name."""
        principal.require(Permission.MODELS_READ)
        found = [self._starters.find(name) for name in self._starters.names()]
        return [one for one in found if one is not None]

    # ---- models and versions ----------------------------------------------------------------

    def list_models(self, principal: Principal) -> list[ModelSummary]:
        """All models with their newest versions and aliases, by name."""
        return self._versions.models(principal)

    def get_model(self, principal: Principal, name: str) -> ModelSummary:
        """One model, or NotFound."""
        return self._versions.model(principal, name)

    def delete_model(self, principal: Principal, name: str) -> None:
        """Delete a model that no deployment serves; see `Versions.delete_model`."""
        self._versions.delete_model(principal, name)

    def list_versions(self, principal: Principal, name: str) -> list[Version]:
        """All versions of a model, newest first, or NotFound."""
        return self._versions.versions(principal, name)

    def get_version(self, principal: Principal, name: str, number: int) -> Version:
        """One version, or NotFound."""
        return self._versions.version(principal, name, number)

    def resolve(self, principal: Principal, reference: str) -> Version:
        """The version that `name` (its newest), `name@number` or `name@alias` means."""
        return self._versions.resolve(principal, reference)

    def delete_version(self, principal: Principal, name: str, number: int) -> None:
        """Delete a version that nothing names; see `Versions.delete_version`."""
        self._versions.delete_version(principal, name, number)

    # ---- aliases ----------------------------------------------------------------------------

    def set_alias(
        self,
        principal: Principal,
        model: str,
        name: str,
        version: int,
        *,
        reason: str = "",
        expected: int | Expected = Expected.ANYTHING,
    ) -> Alias:
        """Point an alias at a version; see `Aliases.set`."""
        return self._aliases.set(principal, model, name, version, reason=reason, expected=expected)

    def remove_alias(
        self,
        principal: Principal,
        model: str,
        name: str,
        *,
        reason: str = "",
        expected: int | Expected = Expected.ANYTHING,
    ) -> None:
        """Take an alias away; see `Aliases.remove`."""
        self._aliases.remove(principal, model, name, reason=reason, expected=expected)

    def list_aliases(self, principal: Principal, model: str) -> list[Alias]:
        """All aliases of a model, by name, or NotFound."""
        return self._aliases.all(principal, model)

    def alias_history(
        self, principal: Principal, model: str, name: str | None = None, limit: int = 100
    ) -> list[AliasMove]:
        """The last moves, newest first; see `Aliases.history`."""
        return self._aliases.history(principal, model, name, limit)

    # ---- upkeep -----------------------------------------------------------------------------

    def sweep(self) -> Collected:
        """Collect what nobody refers to; call it at start and now and then."""
        self._puller.clear_scratch()
        return self._collector.sweep()

    def discard(self, tenant_id: str, digest: str, kept_before: datetime) -> bool:
        """Delete one content now; see `Collector.discard`."""
        return self._collector.discard(tenant_id, digest, kept_before)

    # ---- inside -----------------------------------------------------------------------------

    def _pull_single(
        self,
        principal: Principal,
        source: Source,
        on_progress: OnProgress | None,
        name: str | None,
        task: str | None,
    ) -> Registration:
        digest, exact = self._puller.fetch(principal, source, on_progress)
        return self.register_bare(
            principal, source.name, digest, name=name, task=task, source=exact
        )

    @contextmanager
    def _stored(self, tenant_id: str, name: str, digest: str, role: str) -> Iterator[StoredFile]:
        """A content in memory, as long as it is looked at."""
        known = self._store.read(tenant_id, lambda records: records.blobs.find(digest))
        if known is None:
            raise NotFound(
                f"The content {digest[:80]} of the file '{role[:80]}' is not there; upload it "
                "first.",
                param=f"files.{role[:80]}",
            )
        with closing(self.quarantine.open(tenant_id, known.digest, name[:80])) as sealed:
            yield StoredFile(name, known.digest, known.size_bytes, sealed.path)
