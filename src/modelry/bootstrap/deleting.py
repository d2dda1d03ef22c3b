"""What deleting a tenant needs of other parts, as it needs it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from modelry.services.catalog.ports import BlobStore
from modelry.services.encryption.ports import DataKeyStore
from modelry.services.encryption.service import EncryptionService

_EVER = datetime.max.replace(tzinfo=UTC)


class TenantBlobs:
    """Implements `TenantFiles` on the blob store."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    def measure(self, tenant_id: str) -> tuple[int, int]:
        """See `TenantFiles.measure`."""
        blobs = [self._blobs.find(tenant_id, one) for one in self._blobs.digests(tenant_id)]
        sizes = [one.size_bytes for one in blobs if one is not None]
        partials = [self._blobs.partial(tenant_id, one) for one in self._blobs.partials(tenant_id)]
        sizes += [one.size_bytes for one in partials if one is not None]
        return len(sizes), sum(sizes)

    def delete_all(self, tenant_id: str) -> None:
        """See `TenantFiles.delete_all`."""
        for upload_id in [*self._blobs.partials(tenant_id)]:
            self._blobs.discard(tenant_id, upload_id)
        for digest in [*self._blobs.digests(tenant_id)]:
            self._blobs.delete_older(tenant_id, digest, _EVER)
        self._blobs.delete_incoming(tenant_id, _EVER)


class TenantKeys:
    """Implements `KeyDestroyer` on the encryption service.

    The records of destroyed keys stay until the tenant's rows go: asked again after a crash,
    they tell the same.
    """

    def __init__(self, encryption: EncryptionService, keys: DataKeyStore) -> None:
        self._encryption = encryption
        self._keys = keys

    def destroy(self, tenant_id: str) -> Mapping[str, Any]:
        """See `KeyDestroyer.destroy`."""
        self._encryption.destroy(tenant_id)
        return {
            "data_keys": [
                {
                    "key_id": one.key_id,
                    "fingerprint": one.fingerprint,
                    "destroyed_at": one.destroyed_at.isoformat() if one.destroyed_at else None,
                }
                for one in self._keys.keys(tenant_id)
            ]
        }
