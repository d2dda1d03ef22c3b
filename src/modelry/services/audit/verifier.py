"""Checks chains, a page at a time, also while they grow."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator, Sequence

from modelry.domain.audit import (
    AuditEntry,
    BreakKind,
    ChainBreak,
    ChainEnds,
    SignedHead,
    Verification,
)
from modelry.services.audit.chain import ChainKeys
from modelry.services.audit.ports import AuditFilter, AuditStore

PAGE = 1000
MAX_BREAKS = 100
_ALL = AuditFilter()


def verify_chain(
    store: AuditStore, keys: ChainKeys, tenant_id: str, heads: Iterable[SignedHead]
) -> Verification:
    """Check the whole chain of a tenant.

    Args:
        store: has the chain.
        keys: must have made its MACs.
        tenant_id: whose.
        heads: signed heads that were kept elsewhere; those of other tenants are passed over.
    """
    own = [head for head in heads if head.tenant_id == tenant_id]
    while True:
        ends = store.ends(tenant_id)
        check = _Check(keys, tenant_id, own)
        check.begin(ends)
        for entry in _stream(store, tenant_id, ends):
            check.entry(entry)
        after = store.ends(tenant_id)
        if after.anchor_sequence == ends.anchor_sequence:
            check.finish(ends, after)
            return check.result()
        # a sweep came between: what it took away is no gap


def _stream(store: AuditStore, tenant_id: str, ends: ChainEnds) -> Iterator[AuditEntry]:
    """All entries; on a server that goes on writing, at least up to where it was at first."""
    after = 0
    while page := store.entries(tenant_id, _ALL, after=after, limit=PAGE):
        yield from page
        after = page[-1].sequence
        if len(page) < PAGE and after >= ends.sequence:
            return


class _Check:
    def __init__(self, keys: ChainKeys, tenant_id: str, heads: Sequence[SignedHead]) -> None:
        self._keys = keys
        self._tenant_id = tenant_id
        self._breaks: list[ChainBreak] = []
        self._left_out = 0
        self._heads: dict[int, list[SignedHead]] = {}
        for head in heads:
            if keys.is_genuine(head):
                self._heads.setdefault(head.sequence, []).append(head)
            else:
                self._broken(
                    BreakKind.HEAD,
                    head.sequence,
                    f"A head to compare with, of {head.at.isoformat()}, was not signed by this "
                    "server.",
                )
        self._head_count = len(heads)
        self._checked = 0
        self._first = 0
        self._last = 0
        self._previous = b""
        self._ends: ChainEnds = ChainEnds()

    def begin(self, ends: ChainEnds) -> None:
        self._ends = ends
        self._last = ends.anchor_sequence
        self._previous = ends.anchor_mac
        if ends.anchor_sequence:
            proof = self._keys.anchor_proof(self._tenant_id, ends.anchor_sequence, ends.anchor_mac)
            if not hmac.compare_digest(proof, ends.anchor_proof):
                self._broken(
                    BreakKind.ANCHOR,
                    ends.anchor_sequence,
                    f"Entries up to {ends.anchor_sequence} are said to have been swept, but no "
                    "server with this key swept them.",
                )
            self._compare_heads(ends.anchor_sequence, ends.anchor_mac)

    def entry(self, entry: AuditEntry) -> None:
        expected = self._last + 1
        if entry.sequence < expected:
            self._broken(
                BreakKind.UNLINKED,
                entry.sequence,
                f"Entry {entry.sequence} stands before the beginning of the chain.",
            )
            return
        if entry.sequence > expected:
            gone = (
                f"entry {expected} is"
                if entry.sequence == expected + 1
                else f"entries {expected} to {entry.sequence - 1} are"
            )
            self._broken(
                BreakKind.MISSING, expected, f"Before entry {entry.sequence}, {gone} missing."
            )
        elif not hmac.compare_digest(entry.previous_mac, self._previous):
            self._broken(
                BreakKind.UNLINKED,
                entry.sequence,
                f"Entry {entry.sequence} does not follow the one before it.",
            )
        if not hmac.compare_digest(self._keys.mac(entry), entry.mac):
            self._broken(
                BreakKind.CHANGED,
                entry.sequence,
                f"Entry {entry.sequence} is not as it was written.",
            )
        self._compare_heads(entry.sequence, entry.mac)
        self._first = self._first or entry.sequence
        self._last, self._previous = entry.sequence, entry.mac
        self._checked += 1

    def finish(self, before: ChainEnds, after: ChainEnds) -> None:
        if self._last < before.sequence:
            self._broken(
                BreakKind.TRUNCATED,
                self._last + 1,
                f"The chain had {before.sequence} entries; it ends after entry {self._last}.",
            )
        elif after.sequence < self._last or (
            after.sequence == self._last and not hmac.compare_digest(after.mac, self._previous)
        ):
            self._broken(
                BreakKind.HEAD,
                self._last,
                f"The record of the chain's end does not fit its last entry, {self._last}.",
            )
        for sequence, heads in sorted(self._heads.items()):
            if sequence > self._last:
                self._broken(
                    BreakKind.TRUNCATED,
                    self._last + 1,
                    f"On {heads[-1].at.isoformat()} the chain had {sequence} entries; it ends "
                    f"after entry {self._last}.",
                )

    def result(self) -> Verification:
        return Verification(
            tenant_id=self._tenant_id,
            checked=self._checked,
            first_sequence=self._first,
            last_sequence=self._last,
            last_mac=self._previous,
            heads=self._head_count,
            breaks=tuple(self._breaks),
            breaks_left_out=self._left_out,
        )

    def _compare_heads(self, sequence: int, mac: bytes) -> None:
        for head in self._heads.pop(sequence, ()):
            if not hmac.compare_digest(head.mac, mac):
                self._broken(
                    BreakKind.ROLLED_BACK,
                    sequence,
                    f"Entry {sequence} is another one than on {head.at.isoformat()}: what was "
                    "written since an earlier state was replaced.",
                )

    def _broken(self, kind: BreakKind, sequence: int, message: str) -> None:
        if len(self._breaks) < MAX_BREAKS:
            self._breaks.append(ChainBreak(kind, sequence, message))
        else:
            self._left_out += 1
