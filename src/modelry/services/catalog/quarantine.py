"""Contents that were changed on the disk: their versions are neither loaded nor served.

A content is quarantined when it is found damaged, and leaves the quarantine when the same bytes
are kept anew, or its file is whole again when it is next wanted. That it is, is told in its row, so
that every server knows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from modelry.domain.errors import DataDamaged, NotFound
from modelry.services.catalog.ports import BlobStore, CatalogRecords, CatalogStore, SealedFile

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class QuarantineChange:
    """A content of a tenant that came under quarantine, or left it."""

    tenant_id: str
    digest: str
    is_damaged: bool

    @property
    def reason(self) -> str:
        """What is told where the content is wanted."""
        return (
            f"Quarantined: the content {self.digest} was changed, cut off or lost on the server's "
            "disk. Upload the same file again, or restore it from a backup; that mends it."
        )


class Quarantine:
    """Opens contents, and keeps those apart that are damaged.

    Args:
        store: says which are.
        blobs: keeps them.
        clock: gives the time.
    """

    def __init__(
        self, store: CatalogStore, blobs: BlobStore, clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._watchers: list[Callable[[QuarantineChange], None]] = []

    def on_change(self, watcher: Callable[[QuarantineChange], None]) -> None:
        """Have `watcher` told of each change, in the thread that found it."""
        self._watchers.append(watcher)

    def open(self, tenant_id: str, digest: str, name: str) -> SealedFile:
        """A content in memory, which the caller closes.

        Args:
            tenant_id: whose.
            digest: which.
            name: what the file is called in messages.

        Raises:
            NotFound: the tenant has no such content.
            DataDamaged: it is damaged, and quarantined from now on.
            KeyUnavailable, Overloaded: see `BlobStore.open_sealed`.
        """
        known = self._store.read(tenant_id, lambda records: records.blobs.find(digest))
        if known is None:
            raise NotFound(f"The content of the file '{name}' is not there; upload it first.")
        try:
            opened = self._blobs.open_sealed(tenant_id, digest)
        except (DataDamaged, NotFound):
            self._found(tenant_id, digest)
            change = QuarantineChange(tenant_id, digest, is_damaged=True)
            raise DataDamaged(f"File '{name}': {change.reason}", param="digest") from None
        if known.damaged_at is not None:  # every byte was verified: it came back from a backup
            self._restored(tenant_id, digest)
        return opened

    def kept(self, tenant_id: str, digest: str, *, was_damaged: bool) -> None:
        """A content was kept anew; if it was damaged, it is not any more."""
        if was_damaged:
            log.info("the content %s of tenant %s was mended", digest, tenant_id)
            self._tell(QuarantineChange(tenant_id, digest, is_damaged=False))

    def _restored(self, tenant_id: str, digest: str) -> None:
        def work(records: CatalogRecords) -> bool:
            known = records.blobs.find(digest)
            if known is None or known.damaged_at is None:
                return False
            records.blobs.add(replace(known, damaged_at=None))
            return True

        self.kept(tenant_id, digest, was_damaged=self._store.write(tenant_id, work))

    def _found(self, tenant_id: str, digest: str) -> None:
        now = self._clock()
        is_new = self._store.write(
            tenant_id, lambda records: records.blobs.note_damage(digest, now)
        )
        if is_new:
            log.error("the content %s of tenant %s is damaged: quarantined", digest, tenant_id)
            self._tell(QuarantineChange(tenant_id, digest, is_damaged=True))

    def _tell(self, change: QuarantineChange) -> None:
        for watcher in self._watchers:
            watcher(change)
