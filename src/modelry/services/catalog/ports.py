"""What the catalogue needs from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeVar

from modelry.domain.catalog import Alias, AliasMove, Model, Version
from modelry.manifest.document import ManifestDocument
from modelry.tasks.contract import ModelFacts, Recognition, Steps

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BlobRecord:
    """A content that a tenant has: `digest` is `sha256:<64 hex digits>`.

    `damaged_at` is when its file was found to be changed; keeping it anew mends it.
    """

    digest: str
    size_bytes: int
    created_at: datetime
    damaged_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class UploadRecord:
    """An upload as it is kept; `digest` is set once all bytes are there and checked."""

    upload_id: str
    size_bytes: int
    promised_digest: str | None
    digest: str | None
    created_at: datetime
    created_by: str


class ModelRecords(Protocol):
    """A tenant's models and versions, within one transaction."""

    def find(self, name: str) -> Model | None:
        """One model."""
        ...

    def all(self) -> list[Model]:
        """All models, by name."""
        ...

    def add(self, model: Model) -> None:
        """A new model, without versions."""
        ...

    def delete(self, name: str) -> None:
        """Remove a model without versions, and its aliases' history."""
        ...

    def take_number(self, name: str) -> int:
        """The next version number of a model: 1, 2, 3 …; never the same one twice."""
        ...

    def add_version(self, version: Version) -> None:
        """A new version; its files' contents must have been added as blobs."""
        ...

    def find_version(self, name: str, number: int) -> Version | None:
        """One version."""
        ...

    def find_digest(self, name: str, digest: str) -> Version | None:
        """The version of a model with this digest."""
        ...

    def newest_version(self, name: str) -> Version | None:
        """The version with the highest number."""
        ...

    def list_versions(self, name: str) -> list[Version]:
        """All versions of a model, newest first."""
        ...

    def delete_version(self, name: str, number: int) -> None:
        """Remove a version that no alias and no deployment names."""
        ...

    def deployments_of(self, name: str, number: int | None = None) -> list[str]:
        """Names of the deployments that serve a version, or any version of a model."""
        ...


class AliasRecords(Protocol):
    """A tenant's aliases, within one transaction."""

    def find(self, model_name: str, name: str) -> Alias | None:
        """One alias."""
        ...

    def all(self, model_name: str) -> list[Alias]:
        """All aliases of a model, by name."""
        ...

    def put(self, alias: Alias) -> None:
        """Insert or replace."""
        ...

    def delete(self, model_name: str, name: str) -> None:
        """Remove it, if it is there."""
        ...

    def add_move(self, move: AliasMove) -> None:
        """Append to the history."""
        ...

    def list_moves(self, model_name: str, name: str | None, limit: int) -> list[AliasMove]:
        """The last moves of one alias (or of all of a model), newest first."""
        ...


class BlobRecords(Protocol):
    """Which contents a tenant has, within one transaction."""

    def find(self, digest: str) -> BlobRecord | None:
        """One content."""
        ...

    def add(self, blob: BlobRecord) -> None:
        """Insert, or take the new `created_at` and `damaged_at` if it is there."""
        ...

    def note_damage(self, digest: str, at: datetime) -> bool:
        """Note that a content is damaged; False if it was known, or is not there."""
        ...

    def digests(self) -> set[str]:
        """All contents."""
        ...

    def total_bytes(self) -> int:
        """How many bytes all contents have together."""
        ...

    def delete_unused(self, created_before: datetime, digest: str | None = None) -> list[str]:
        """Remove contents that nothing refers to and that are older; their digests.

        Args:
            created_before: those that were kept later stay.
            digest: the only one that may be removed; any by default.
        """
        ...


class UploadRecords(Protocol):
    """A tenant's uploads, within one transaction."""

    def find(self, upload_id: str) -> UploadRecord | None:
        """One upload."""
        ...

    def all(self) -> list[UploadRecord]:
        """All uploads, oldest first."""
        ...

    def put(self, upload: UploadRecord) -> None:
        """Insert or replace."""
        ...

    def delete(self, upload_id: str) -> bool:
        """Remove; False if it was not there."""
        ...


class CatalogRecords(Protocol):
    """A tenant's rows of the catalogue, within one transaction."""

    @property
    def models(self) -> ModelRecords:
        """Models and versions."""
        ...

    @property
    def aliases(self) -> AliasRecords:
        """Aliases and their history."""
        ...

    @property
    def blobs(self) -> BlobRecords:
        """Contents."""
        ...

    @property
    def uploads(self) -> UploadRecords:
        """Uploads."""
        ...


class CatalogStore(Protocol):
    """Keeps the catalogue; each call is one serializable transaction.

    Work may be run again when transactions collide: it must have no effect but on its records.
    """

    def read(self, tenant_id: str, work: Callable[[CatalogRecords], T]) -> T:
        """The result of `work` on a consistent view."""
        ...

    def write(self, tenant_id: str, work: Callable[[CatalogRecords], T]) -> T:
        """The result of `work`; its changes are kept if it returns, undone if it raises."""
        ...

    def tenant_ids(self) -> list[str]:
        """All tenants, for sweeps by the server itself."""
        ...


@dataclass(frozen=True, slots=True)
class Blob:
    """A content in the blob store."""

    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Partial:
    """An incomplete content in the blob store, and when it last grew."""

    size_bytes: int
    modified_at: datetime


class SealedFile(Protocol):
    """A content in memory that this process and those that it starts can open as a file."""

    @property
    def descriptor(self) -> int:
        """The open file, which nobody can change."""
        ...

    @property
    def size_bytes(self) -> int:
        """How long it is."""
        ...

    @property
    def path(self) -> Path:
        """A path by which this process can open it, until `close`."""
        ...

    def close(self) -> None:
        """Let it go; again does nothing."""
        ...


class BlobStore(Protocol):
    """Keeps contents by their digest, apart for each tenant and encrypted.

    What `put` and `finish` return survives a crash. Contents are immutable.
    """

    def put(
        self,
        tenant_id: str,
        chunks: Iterable[bytes],
        *,
        limit_bytes: int,
        digest: str | None = None,
    ) -> Blob:
        """Keep a content.

        Raises:
            PayloadTooLarge: more than `limit_bytes`.
            DigestMismatch: its digest is not `digest`.
        """
        ...

    def append(
        self, tenant_id: str, upload_id: str, offset: int, chunks: Iterable[bytes], size_bytes: int
    ) -> int:
        """Append to a partial content (begun at offset 0); how many bytes it now has.

        What came before `chunks` raised is kept.

        Raises:
            Conflict: `offset` is not where it ends, or somebody else is appending.
            PayloadTooLarge: more than `size_bytes` in all; the partial is as before.
        """
        ...

    def partial(self, tenant_id: str, upload_id: str) -> Partial | None:
        """How far a partial content is; None if it has no bytes yet."""
        ...

    def finish(self, tenant_id: str, upload_id: str, digest: str | None = None) -> Blob:
        """Make a partial content a content.

        Raises:
            NotFound: there is no such partial.
            DigestMismatch: its digest is not `digest`; the partial is discarded.
            DataDamaged: its file was changed; it is discarded.
        """
        ...

    def discard(self, tenant_id: str, upload_id: str) -> None:
        """Forget a partial content, if there is one."""
        ...

    def find(self, tenant_id: str, digest: str) -> Blob | None:
        """A content that is there."""
        ...

    def touch(self, tenant_id: str, digest: str) -> bool:
        """Make a content young, so that no collector takes it soon; False if it is gone."""
        ...

    def open_sealed(self, tenant_id: str, digest: str) -> SealedFile:
        """The content, decrypted into memory; shared with everybody who holds it just then.

        Raises:
            NotFound: it is not there.
            DataDamaged: its file was changed.
            KeyUnavailable: it cannot be decrypted.
            Overloaded: there is not enough memory.
        """
        ...

    def read(
        self, tenant_id: str, digest: str, start: int = 0, end: int | None = None
    ) -> Iterator[bytes]:
        """The bytes `start`..`end` (exclusive) in chunks, each verified before it is given.

        Raises:
            NotFound: it is not there.
            DataDamaged: its file was changed; also while reading.
            KeyUnavailable: it cannot be decrypted.
            InvalidInput: not a range within the content.
        """
        ...

    def delete_older(self, tenant_id: str, digest: str, than: datetime) -> bool:
        """Delete a content that was last kept before `than`; whether it did."""
        ...

    def digests(self, tenant_id: str) -> Iterator[str]:
        """All contents."""
        ...

    def partials(self, tenant_id: str) -> Iterator[str]:
        """Upload ids of all partial contents."""
        ...

    def delete_incoming(self, tenant_id: str, than: datetime) -> int:
        """Delete what interrupted `put`s left behind before `than`; how many."""
        ...

    def free_bytes(self) -> int:
        """Room for more."""
        ...


class FetchProgress(Protocol):
    """How far a fetch is, in bytes of its current phase."""

    @property
    def source(self) -> str:
        """What is fetched."""
        ...

    @property
    def phase(self) -> str:
        """What is done just now: resolving, downloading, extracting, verifying, done."""
        ...

    @property
    def done_bytes(self) -> int:
        """Bytes done."""
        ...

    @property
    def total_bytes(self) -> int | None:
        """Bytes in all, if known."""
        ...


OnProgress = Callable[[FetchProgress], None]


class FetchedFile(Protocol):
    """A file that was fetched."""

    @property
    def path(self) -> Path:
        """Where it lies."""
        ...

    @property
    def name(self) -> str:
        """Its own name."""
        ...

    @property
    def digest(self) -> str:
        """Its content."""
        ...

    @property
    def source(self) -> str:
        """Where exactly it came from."""
        ...


class SourceFetcher(Protocol):
    """Fetches files from the places that sources name."""

    def fetch(
        self, source: str, destination: Path, on_progress: OnProgress | None = None
    ) -> FetchedFile:
        """Put the file that `source` names into the folder `destination`.

        Raises:
            SourceUnavailable: the place did not answer as expected.
            DigestMismatch: it gave other bytes than promised.
        """
        ...


class StarterCatalogue(Protocol):
    """Ready-made manifests whose files come from sources."""

    def find(self, name: str) -> ManifestDocument | None:
        """The entry called `name`."""
        ...

    def names(self) -> Sequence[str]:
        """All entries."""
        ...


class TaskRules(Protocol):
    """What tasks and processing steps know about manifests."""

    def names(self) -> Sequence[str]:
        """All tasks."""
        ...

    def recognise(self, facts: ModelFacts) -> list[Recognition]:
        """What the model may be for, likeliest first; tasks that it cannot be for left out."""
        ...

    def steps(self, document: ManifestDocument, facts: ModelFacts) -> Steps:
        """The document's steps normalised, and the task's defaults where it has none.

        Raises:
            ManifestInvalid: unknown steps or parameters; points at them.
        """
        ...

    def check(self, document: ManifestDocument, facts: ModelFacts, steps: Steps) -> None:
        """Build what can be built of the version, to see that its parts fit each other.

        Raises:
            ManifestInvalid: they do not.
            NotSupported: the task cannot use a model of this format.
        """
        ...
