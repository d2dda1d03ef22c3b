"""Collects what nobody refers to: stale uploads, contents without a row, crashed writes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from modelry.domain.errors import ModelryError
from modelry.services.catalog.ports import BlobStore, CatalogRecords, CatalogStore
from modelry.services.catalog.uploads import EXPIRY

log = logging.getLogger(__name__)

GRACE = timedelta(hours=1)
"""A content is written before the row that refers to it; none younger than this is collected."""


@dataclass(frozen=True, slots=True)
class Collected:
    """How many things a sweep took away."""

    uploads: int = 0
    partials: int = 0
    contents: int = 0
    incoming: int = 0


class Collector:
    """Sweeps all tenants; safe while the server works, and safe to be killed at any point.

    Rows go before the files that they refer to, so that no row is left dangling.
    """

    def __init__(
        self, store: CatalogStore, blobs: BlobStore, clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._clock = clock

    def sweep(self) -> Collected:
        """One pass over all tenants."""
        passes = []
        for tenant_id in self._store.tenant_ids():
            try:
                passes.append(self._sweep_tenant(tenant_id))
            except ModelryError as error:  # such as a tenant whose keys are gone
                log.warning("tenant %s was not swept: %s", tenant_id, error.message)
        collected = Collected(
            uploads=sum(one.uploads for one in passes),
            partials=sum(one.partials for one in passes),
            contents=sum(one.contents for one in passes),
            incoming=sum(one.incoming for one in passes),
        )
        if collected != Collected():
            log.info("collected %s", collected)
        return collected

    def discard(self, tenant_id: str, digest: str, kept_before: datetime) -> bool:
        """Delete one content unless something refers to it or it was kept later; whether it did."""
        deleted = self._store.write(
            tenant_id, lambda records: records.blobs.delete_unused(kept_before, digest)
        )
        return bool(deleted) and self._blobs.delete_older(tenant_id, digest, kept_before)

    def _sweep_tenant(self, tenant_id: str) -> Collected:
        now = self._clock()
        return Collected(
            uploads=self._expire_uploads(tenant_id, now),
            partials=self._discard_partials(tenant_id, now),
            contents=self._delete_contents(tenant_id, now),
            incoming=self._blobs.delete_incoming(tenant_id, now - EXPIRY),
        )

    def _expire_uploads(self, tenant_id: str, now: datetime) -> int:
        records = self._store.read(tenant_id, lambda records: records.uploads.all())
        stale: list[str] = []
        for record in records:
            partial = self._blobs.partial(tenant_id, record.upload_id)
            last = record.created_at if partial is None else partial.modified_at
            if max(last, record.created_at) + EXPIRY < now:
                stale.append(record.upload_id)
        if stale:
            self._store.write(tenant_id, lambda records: _delete_uploads(records, stale))
        for upload_id in stale:
            self._blobs.discard(tenant_id, upload_id)
        return len(stale)

    def _discard_partials(self, tenant_id: str, now: datetime) -> int:
        found = list(self._blobs.partials(tenant_id))
        known = {
            record.upload_id
            for record in self._store.read(tenant_id, lambda records: records.uploads.all())
        }
        discarded = 0
        for upload_id in found:
            partial = self._blobs.partial(tenant_id, upload_id)
            if upload_id in known or partial is None or partial.modified_at + GRACE >= now:
                continue
            self._blobs.discard(tenant_id, upload_id)
            discarded += 1
        return discarded

    def _delete_contents(self, tenant_id: str, now: datetime) -> int:
        self._store.write(tenant_id, lambda records: records.blobs.delete_unused(now - EXPIRY))
        found = list(self._blobs.digests(tenant_id))
        known = self._store.read(tenant_id, lambda records: records.blobs.digests())
        return sum(
            self._blobs.delete_older(tenant_id, digest, now - GRACE)
            for digest in found
            if digest not in known
        )


def _delete_uploads(records: CatalogRecords, upload_ids: list[str]) -> None:
    for upload_id in upload_ids:
        records.uploads.delete(upload_id)
