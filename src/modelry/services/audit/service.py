"""Use cases on audit chains: read, verify, sign."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime

from modelry.domain.access import DEFAULT_TENANT_ID, Permission, Principal
from modelry.domain.audit import (
    TENANT_DESTROYED,
    AuditEntry,
    BreakKind,
    ChainBreak,
    ChainEnds,
    SignedHead,
    Verification,
    tenant_resource,
)
from modelry.domain.errors import InvalidInput
from modelry.services.audit.chain import ChainKeys
from modelry.services.audit.ports import AuditFilter, AuditStore, HeadKeeper
from modelry.services.audit.verifier import PAGE, verify_chain

log = logging.getLogger(__name__)

MAX_LISTED = 1000
MAX_GIVEN_HEADS = 1000


class AuditService:
    """Shows chains to those who may see them, and states where they end.

    Args:
        store: keeps the chains.
        keys: make their MACs and sign heads.
        heads: keeps signed heads away from the store.
        clock: gives the time.
    """

    def __init__(
        self,
        store: AuditStore,
        keys: ChainKeys,
        heads: HeadKeeper,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._keys = keys
        self._heads = heads
        self._clock = clock
        self._kept: dict[str, int] = {}

    @property
    def public_key(self) -> bytes:
        """What the signatures of heads are checked with: Ed25519, 32 bytes."""
        return self._keys.public_key

    def find(
        self,
        principal: Principal,
        wanted: AuditFilter,
        *,
        after: int = 0,
        before: int | None = None,
        newest_first: bool = True,
        limit: int = 100,
    ) -> Sequence[AuditEntry]:
        """Entries of the caller's tenant, with `after` < sequence < `before`.

        Raises:
            InvalidInput: times in the wrong order, or `limit` out of range.
        """
        principal.require(Permission.AUDIT_READ)
        _check(wanted)
        if not 1 <= limit <= MAX_LISTED:
            raise InvalidInput(f"The limit is {limit}; expected 1 to {MAX_LISTED}.", param="limit")
        return self._store.entries(
            principal.tenant_id,
            wanted,
            after=after,
            before=before,
            newest_first=newest_first,
            limit=limit,
        )

    def stream(self, principal: Principal, wanted: AuditFilter) -> Iterator[Sequence[AuditEntry]]:
        """All entries of the caller's tenant, oldest first, a page at a time."""
        principal.require(Permission.AUDIT_READ)
        _check(wanted)
        return self._pages(principal.tenant_id, wanted)

    def _pages(self, tenant_id: str, wanted: AuditFilter) -> Iterator[Sequence[AuditEntry]]:
        after, end = 0, self._store.ends(tenant_id).sequence
        while page := self._store.entries(
            tenant_id, wanted, after=after, before=end + 1, limit=PAGE
        ):
            yield page
            after = page[-1].sequence

    def head(self, principal: Principal) -> SignedHead:
        """A signed statement of where the chain of the caller's tenant ends now; also kept."""
        principal.require(Permission.AUDIT_READ)
        return self.head_of(principal.tenant_id)

    def verify(self, principal: Principal, heads: Iterable[SignedHead] = ()) -> Verification:
        """Check the chain of the caller's tenant.

        Args:
            principal: who asks.
            heads: to compare with, besides those that this server kept.

        Raises:
            InvalidInput: a head is of another tenant.
        """
        principal.require(Permission.AUDIT_READ)
        given = tuple(heads)
        for head in given:
            if head.tenant_id != principal.tenant_id:
                raise InvalidInput(
                    "A head to compare with is of another tenant's chain; give those of your own.",
                    param="heads",
                )
        return self.verify_tenant(principal.tenant_id, given)

    # ---- what the server itself does ----------------------------------------------------------

    def tenant_ids(self) -> Sequence[str]:
        """The tenants whose chains can be verified."""
        return self._store.tenant_ids()

    def head_of(self, tenant_id: str) -> SignedHead:
        """As `head`, of any tenant."""
        head = self._sign(tenant_id)
        self._heads.keep([head])
        return head

    def verify_tenant(self, tenant_id: str, heads: Iterable[SignedHead] = ()) -> Verification:
        """As `verify`, of any tenant."""
        known = [*self._heads.kept(tenant_id), *heads]
        return verify_chain(self._store, self._keys, tenant_id, known)

    def vanished(self, heads: Iterable[SignedHead] = ()) -> list[Verification]:
        """Tenants that heads tell of and that are gone, though nothing says they were deleted."""
        there = set(self._store.tenant_ids())
        known = {**self._heads.furthest(), **{head.tenant_id: head for head in heads}}
        return [
            _vanished(head)
            for tenant_id, head in sorted(known.items())
            if tenant_id not in there
            and self._keys.is_genuine(head)
            and not self._was_deleted(tenant_id)
        ]

    def _was_deleted(self, tenant_id: str) -> bool:
        certificate = AuditFilter(action=TENANT_DESTROYED, resource=tenant_resource(tenant_id))
        return bool(self._store.entries(DEFAULT_TENANT_ID, certificate, limit=1))

    def keep_heads(self) -> None:
        """Sign and keep a head of every chain that grew since the last time.

        Raises:
            AuditUnavailable: they cannot be kept.
        """
        grown = []
        for tenant_id in self._store.tenant_ids():
            sequence = self._store.ends(tenant_id).sequence
            if sequence and sequence != self._kept.get(tenant_id):
                grown.append(self._sign(tenant_id))
        self._heads.keep(grown)
        self._kept.update((head.tenant_id, head.sequence) for head in grown)

    def rolled_back(self) -> list[SignedHead]:
        """Kept heads that the chains do not fit any more; a quick look, for the start."""
        there = set(self._store.tenant_ids())
        furthest = [one for one in self._heads.furthest().values() if one.tenant_id in there]
        return [one for one in furthest if not self._fits(one, self._store.ends(one.tenant_id))]

    def _fits(self, head: SignedHead, ends: ChainEnds) -> bool:
        if head.sequence <= ends.anchor_sequence or not self._keys.is_genuine(head):
            return True
        entries = self._store.entries(
            head.tenant_id, AuditFilter(), after=head.sequence - 1, limit=1
        )
        return bool(entries) and entries[0].mac == head.mac

    def sweep(self, tenant_id: str, older_than: datetime) -> int:
        """Delete what is older; the chain can still be verified from an anchor on.

        A chain that is not sound is left as it is: it is evidence.

        Returns:
            How many entries were deleted; the last one always stays.
        """
        last = self._store.last_before(tenant_id, older_than)
        if last is None or last.sequence <= self._store.ends(tenant_id).anchor_sequence:
            return 0
        if not self.verify_tenant(tenant_id).is_sound:
            log.error("an audit chain is not sound; none of its entries is swept")
            return 0

        def anchor(entry: AuditEntry) -> ChainEnds:
            proof = self._keys.anchor_proof(tenant_id, entry.sequence, entry.mac)
            return ChainEnds(
                anchor_sequence=entry.sequence, anchor_mac=entry.mac, anchor_proof=proof
            )

        return self._store.forget_until(tenant_id, last.sequence, anchor)

    def _sign(self, tenant_id: str) -> SignedHead:
        ends = self._store.ends(tenant_id)
        return self._keys.signed(tenant_id, ends.sequence, ends.mac, self._clock())


def _vanished(head: SignedHead) -> Verification:
    message = (
        f"On {head.at.isoformat()} the chain had {head.sequence} entries; the tenant is gone, and "
        "no certificate in the home tenant's audit log says that it was deleted."
    )
    gone = ChainBreak(BreakKind.TRUNCATED, 1, message)
    return Verification(head.tenant_id, 0, 0, 0, head.mac, 1, (gone,))


def _check(wanted: AuditFilter) -> None:
    if wanted.since and wanted.until and wanted.since >= wanted.until:
        raise InvalidInput("'since' must lie before 'until'.", param="since")
