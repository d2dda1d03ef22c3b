"""Appends to chains, in the order in which acts happen."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from modelry.domain.audit import AuditEntry, ChainEnds
from modelry.domain.errors import AuditUnavailable, NotFound
from modelry.services.audit.chain import ChainKeys, canonical_detail, clean_text
from modelry.services.audit.ports import AuditStore

log = logging.getLogger(__name__)

MAX_LATE = 10_000
RETRY_AFTER_S = 5


class ChainedTrail:
    """Implements `AuditTrail`. May be used from any thread.

    Args:
        store: keeps the chains.
        keys: make their MACs.
        clock: gives the time.
    """

    def __init__(
        self,
        store: AuditStore,
        keys: ChainKeys,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._late: deque[tuple[str, dict[str, Any]]] = deque()

    def append(
        self,
        tenant_id: str,
        *,
        actor: str,
        action: str,
        resource: str,
        outcome: str = "ok",
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """See `AuditTrail.append`."""
        texts = {
            name: clean_text(name, value)
            for name, value in (
                ("actor", actor),
                ("action", action),
                ("resource", resource),
                ("outcome", outcome),
            )
        }
        detail_json = canonical_detail(detail)

        def make(ends: ChainEnds) -> AuditEntry:
            return self._keys.sealed(
                AuditEntry(
                    tenant_id=tenant_id,
                    sequence=ends.sequence + 1,
                    at=self._clock(),
                    detail_json=detail_json,
                    previous_mac=ends.mac,
                    mac=b"",
                    **texts,
                )
            )

        # one writer per chain here: in the database they would only make each other try again
        with self._lock:
            writer = self._locks.setdefault(tenant_id, threading.Lock())
        with writer:
            try:
                self._store.append(tenant_id, make)
            except NotFound:
                raise
            except Exception as error:
                log.warning("the audit log cannot be written", exc_info=True)
                raise AuditUnavailable(
                    "The audit log cannot be written, so nothing that it must tell of is done. "
                    "Try again; if it stays so, check the database.",
                    retry_after_s=RETRY_AFTER_S,
                ) from error

    def append_late(self, tenant_id: str, **entry: Any) -> None:
        """Enter what happened already: if that fails now it is tried again by `bring_late`.

        For the outcome of an act whose intent is in the chain. Takes what `append` takes.
        """
        try:
            self.append(tenant_id, **entry)
        except NotFound:
            return  # the act was the end of the tenant
        except AuditUnavailable:
            if len(self._late) >= MAX_LATE:
                log.exception("an outcome is lost to the audit log: %d wait already", MAX_LATE)
                return
            self._late.append((tenant_id, entry | {"detail": _marked(entry, self._clock())}))

    def bring_late(self) -> None:
        """Enter what could not be entered when it happened."""
        for _ in range(len(self._late)):
            tenant_id, entry = self._late.popleft()
            try:
                self.append(tenant_id, **entry)
            except NotFound:
                continue
            except AuditUnavailable:
                self._late.appendleft((tenant_id, entry))
                return


def _marked(entry: Mapping[str, Any], at: datetime) -> dict[str, Any]:
    return {**(entry.get("detail") or {}), "happened_at": at.isoformat()}
