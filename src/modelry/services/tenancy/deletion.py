"""Deletes tenants for good, step by step, so that a crash at any point costs nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from modelry.domain.access import DEFAULT_TENANT_ID
from modelry.domain.audit import TENANT_DESTROYED, tenant_resource
from modelry.domain.tenants import DeletionStage, TenantDeletion
from modelry.services.tenancy.clock import utc_now
from modelry.services.tenancy.ports import (
    CertificateTrail,
    DeletionStore,
    KeyDestroyer,
    ReplicasOf,
    TenantFiles,
)

log = logging.getLogger(__name__)

SETTLE = timedelta(seconds=10)
"""How long after the request a tenant's rows stay: by then every server has learnt of it, and
what was under way has ended."""


class TenantDeletions:
    """Brings deletions that were asked for to their end.

    Every stage may be done again, by this server or by another one on the same database, so what
    was begun when a server was killed is done at the next start. What a stage destroyed is counted
    in the transaction that destroys it, and only one of several servers moves on to the next.

    Args:
        store: keeps how far each is, and the rows.
        files: the blob store.
        keys: the tenants' encryption keys.
        replicas: what runs here.
        trail: the audit trail.
        clock: gives the time.
        settle: how long a tenant's rows stay after the request, and a server has to write the
            certificate before another one does.
        changed: called when a tenant's keys are gone.
    """

    def __init__(
        self,
        store: DeletionStore,
        files: TenantFiles,
        keys: KeyDestroyer,
        replicas: ReplicasOf,
        trail: CertificateTrail,
        *,
        clock: Callable[[], datetime] = utc_now,
        settle: timedelta = SETTLE,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._files = files
        self._keys = keys
        self._replicas = replicas
        self._trail = trail
        self._clock = clock
        self._settle = settle
        self._changed = changed

    def advance(self) -> None:
        """Take every deletion as far as it goes now; blocks, so call it in a thread."""
        for deletion in self._store.pending():
            try:
                self._advance(deletion)
            except Exception:  # the next one must not wait for it; it is tried again
                log.exception("tenant %s could not be deleted yet", deletion.tenant_id)

    def _advance(self, deletion: TenantDeletion) -> None:
        steps: Mapping[DeletionStage, Callable[[TenantDeletion], TenantDeletion | None]] = {
            DeletionStage.STOPPING: self._stop,
            DeletionStage.KEYS: self._destroy_keys,
            DeletionStage.ROWS: self._delete_rows,
            DeletionStage.FILES: self._delete_files,
            DeletionStage.CERTIFICATE: self._certify,
            DeletionStage.CERTIFYING: self._take_over,
        }
        current: TenantDeletion | None = deletion
        while current is not None and current.stage is not DeletionStage.DONE:
            current = steps[current.stage](current)

    def _stop(self, deletion: TenantDeletion) -> TenantDeletion | None:
        is_settled = self._clock() >= deletion.requested_at + self._settle
        if not is_settled or self._replicas.has_replicas(deletion.tenant_id):
            return None
        files, size_bytes = self._files.measure(deletion.tenant_id)
        return self._to(deletion, DeletionStage.KEYS, {"files": files, "file_bytes": size_bytes})

    def _destroy_keys(self, deletion: TenantDeletion) -> TenantDeletion | None:
        keys = self._keys.destroy(deletion.tenant_id)
        return self._to(deletion, DeletionStage.ROWS, {"encryption": dict(keys)})

    def _delete_rows(self, deletion: TenantDeletion) -> TenantDeletion | None:
        self._store.delete_rows(deletion.tenant_id)
        self._changed()
        return self._to(deletion, DeletionStage.FILES)

    def _delete_files(self, deletion: TenantDeletion) -> TenantDeletion | None:
        self._files.delete_all(deletion.tenant_id)
        ended = {"completed_at": self._clock().isoformat()}
        return self._to(deletion, DeletionStage.CERTIFICATE, ended)

    def _certify(self, deletion: TenantDeletion) -> TenantDeletion | None:
        """Write the certificate if no other server does."""
        claimed = self._to(deletion, DeletionStage.CERTIFYING)
        if claimed is None:
            return None
        self._trail.append(
            DEFAULT_TENANT_ID,
            actor=claimed.requested_by,
            action=TENANT_DESTROYED,
            resource=tenant_resource(claimed.tenant_id),
            detail=certificate_of(claimed),
        )
        return self._to(claimed, DeletionStage.DONE)

    def _take_over(self, deletion: TenantDeletion) -> TenantDeletion | None:
        if self._clock() < deletion.stage_at + self._settle:
            return None
        return self._certify(deletion)

    def _to(
        self, deletion: TenantDeletion, stage: DeletionStage, destroyed: Mapping[str, Any] = {}
    ) -> TenantDeletion | None:
        moved = self._store.move(deletion, stage, self._clock(), destroyed)
        if moved is not None:
            log.info("deleting tenant %s: %s is next", moved.tenant_id, stage)
        return moved


def certificate_of(deletion: TenantDeletion) -> dict[str, Any]:
    """The certificate of destruction: what is gone, and who asked for it when."""
    return {
        "certificate": "destruction",
        "deletion_id": deletion.deletion_id,
        "tenant_id": deletion.tenant_id,
        "requested_by": deletion.requested_by,
        "requested_at": deletion.requested_at.isoformat(),
        "destroyed": dict(deletion.destroyed),
    }
