"""What auditing offers to all areas, and what it needs from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from modelry.domain.audit import AuditEntry, ChainEnds, SignedHead


class AuditTrail(Protocol):
    """Takes entries; what every area that does something of note depends on."""

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
        """Enter an act into a tenant's chain; durable when it returns.

        Args:
            tenant_id: in whose chain.
            actor: who: a key's id, `user:<member>`, or a part of the server.
            action: what, dotted: `tenants.delete`.
            resource: on what: `/keys/k_1`.
            outcome: `ok`, `intent` (about to be done), or an error's code.
            detail: what else is worth keeping, as JSON types; never secrets or bodies.

        Raises:
            AuditUnavailable: it cannot be written.
            NotFound: there is no such tenant (any more).
        """
        ...


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries; None for all. `action` and `resource` may end in `*`: what begins so."""

    since: datetime | None = None
    until: datetime | None = None
    actor: str | None = None
    action: str | None = None
    resource: str | None = None
    outcome: str | None = None


class AuditStore(Protocol):
    """Keeps chains; each call is one serializable transaction."""

    def append(self, tenant_id: str, make: Callable[[ChainEnds], AuditEntry]) -> AuditEntry:
        """Add the entry that `make` gives for the chain's present end; `make` may run again.

        Raises:
            NotFound: there is no such tenant.
        """
        ...

    def ends(self, tenant_id: str) -> ChainEnds:
        """Where the chain ends and begins."""
        ...

    def entries(
        self,
        tenant_id: str,
        wanted: AuditFilter,
        *,
        after: int = 0,
        before: int | None = None,
        newest_first: bool = False,
        limit: int,
    ) -> Sequence[AuditEntry]:
        """Up to `limit` entries with `after` < sequence < `before`, in order."""
        ...

    def last_before(self, tenant_id: str, moment: datetime) -> AuditEntry | None:
        """The last entry such that it and all before it are older than `moment`."""
        ...

    def forget_until(
        self, tenant_id: str, sequence: int, anchor: Callable[[AuditEntry], ChainEnds]
    ) -> int:
        """Delete the entries up to `sequence` and keep an anchor in their place.

        Args:
            tenant_id: whose.
            sequence: of the last one to delete; the chain's last entry always stays.
            anchor: gives the anchor's fields for that entry.

        Returns:
            How many were deleted.
        """
        ...

    def tenant_ids(self) -> Sequence[str]:
        """The tenants that there are."""
        ...


class HeadKeeper(Protocol):
    """Keeps signed heads where whoever changes the database does not come."""

    def keep(self, heads: Iterable[SignedHead]) -> None:
        """Add heads; durable when it returns.

        Raises:
            AuditUnavailable: they cannot be written.
        """
        ...

    def kept(self, tenant_id: str) -> Iterable[SignedHead]:
        """The heads of a tenant, oldest first."""
        ...

    def furthest(self) -> Mapping[str, SignedHead]:
        """Of each tenant the head of the longest chain."""
        ...
