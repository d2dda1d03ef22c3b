"""What files need from outside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from modelry.domain.files import FilePurpose, TenantFile


@dataclass(frozen=True, slots=True)
class FileFilter:
    """Which files, in which order.

    Attributes:
        purpose: only those; None for all.
        after: only those that come after this one.
        newest_first: by when they were made.
    """

    purpose: FilePurpose | None = None
    after: TenantFile | None = None
    newest_first: bool = True


class FileStore(Protocol):
    """Keeps files; each call is one transaction. Expired files are not there."""

    def add(self, file: TenantFile) -> TenantFile:
        """Keep a file; the one that has this id already, where there is one.

        Raises:
            NotFound: its content is not kept (any more).
        """
        ...

    def find(self, tenant_id: str, file_id: str, now: datetime) -> TenantFile | None:
        """One file."""
        ...

    def list(
        self, tenant_id: str, wanted: FileFilter, now: datetime, limit: int
    ) -> Sequence[TenantFile]:
        """Up to `limit` files."""
        ...

    def delete(self, tenant_id: str, file_id: str) -> bool:
        """Remove a file; False if it was not there."""
        ...

    def delete_expired(self, now: datetime) -> int:
        """Remove the files of all tenants that have expired; how many."""
        ...


class KeptContent(Protocol):
    """A content that was kept."""

    @property
    def digest(self) -> str:
        """`sha256:<64 hex digits>`."""
        ...

    @property
    def size_bytes(self) -> int:
        """How long it is."""
        ...


class Contents(Protocol):
    """Keeps contents; see `services.catalog.contents`."""

    def keep(
        self, tenant_id: str, chunks: Iterable[bytes], digest: str | None = None
    ) -> KeptContent:
        """Keep a content.

        Raises:
            QuotaExceeded, PayloadTooLarge, Overloaded: it cannot be kept.
        """
        ...

    def check_room(self, tenant_id: str, size_bytes: int) -> None:
        """See that there is room for so many bytes more.

        Raises:
            QuotaExceeded, PayloadTooLarge, Overloaded: there is not.
        """
        ...


class Readable(Protocol):
    """Gives bytes of contents; see `services.catalog.ports.BlobStore.read`."""

    def read(
        self, tenant_id: str, digest: str, start: int = 0, end: int | None = None
    ) -> Iterator[bytes]:
        """The bytes, in pieces.

        Raises:
            NotFound, DataDamaged, KeyUnavailable: they cannot be read; also while reading.
        """
        ...
