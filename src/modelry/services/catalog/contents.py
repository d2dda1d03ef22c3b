"""Contents of tenants for what else keeps some: datasets, jobs, evaluations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from modelry.services.catalog.ports import Blob, SealedFile
from modelry.services.catalog.quarantine import Quarantine
from modelry.services.catalog.uploads import Uploads

_CHUNK_BYTES = 2**20


class Contents:
    """Keeps and opens contents; the caller's rights were checked before.

    A content to which nothing refers is collected an hour after it was kept: the row that refers
    to it has to be there by then, in a table that `BlobRecords.delete_unused` knows of.
    """

    def __init__(self, uploads: Uploads, quarantine: Quarantine) -> None:
        self._uploads = uploads
        self._quarantine = quarantine

    def keep(self, tenant_id: str, chunks: Iterable[bytes], digest: str | None = None) -> Blob:
        """Keep a content; the same again is the same.

        Raises:
            QuotaExceeded: the tenant's storage has no room for it.
            PayloadTooLarge: it is larger than any file may be.
            DigestMismatch: its digest is not `digest`.
            Overloaded: the disk is full.
        """
        return self._uploads.keep(tenant_id, chunks, digest)

    def keep_file(self, tenant_id: str, file: Path) -> Blob:
        """Keep what is in a file; see `keep`."""
        return self.keep(tenant_id, _chunks(file))

    def check_room(self, tenant_id: str, size_bytes: int) -> None:
        """See that there is room for a file before it is sent; see `Uploads.check_room`."""
        self._uploads.check_room(tenant_id, size_bytes)

    def size_of(self, tenant_id: str, digest: str) -> int | None:
        """How many bytes a content has; None if the tenant has none such."""
        return self._uploads.size_of(tenant_id, digest)

    def open(self, tenant_id: str, digest: str, name: str) -> SealedFile:
        """A content in memory, which the caller closes.

        Args:
            tenant_id: whose.
            digest: which.
            name: what it is called in messages.

        Raises:
            NotFound, DataDamaged, KeyUnavailable, Overloaded: see `Quarantine.open`.
        """
        return self._quarantine.open(tenant_id, digest, name)


def _chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as source:
        while chunk := source.read(_CHUNK_BYTES):
            yield chunk
