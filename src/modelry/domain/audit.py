"""The words of the audit trail: entries, heads, and what a verification found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

TENANT_DESTROYED = "tenants.destroyed"
"""The act under which a deleted tenant's certificate is in the home tenant's chain."""
GENESIS_MAC = bytes(32)
"""What the first entry of a chain has for the MAC of the entry before it."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One act, bound to all that came before it.

    `sequence` counts from 1 within a tenant. `at` is a time in UTC with microseconds.
    `detail_json` is canonical JSON. `mac` is the HMAC-SHA256 over all other fields, `previous_mac`
    among them.
    """

    tenant_id: str
    sequence: int
    at: datetime
    actor: str
    action: str
    resource: str
    outcome: str
    detail_json: str
    previous_mac: bytes
    mac: bytes

    @property
    def detail(self) -> Mapping[str, Any]:
        """What else is known of the act."""
        found: Mapping[str, Any] = json.loads(self.detail_json)
        return found


@dataclass(frozen=True, slots=True)
class ChainEnds:
    """Where a tenant's chain ends now, and where what is kept of it begins.

    Entries up to `anchor_sequence` (0 for none) were swept; `anchor_mac` is the MAC of the last
    one of them, and `anchor_proof` shows that the server itself swept them.
    """

    sequence: int = 0
    mac: bytes = GENESIS_MAC
    anchor_sequence: int = 0
    anchor_mac: bytes = GENESIS_MAC
    anchor_proof: bytes = b""


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A statement, to be kept elsewhere: at `at` the chain had this many entries, ending so."""

    tenant_id: str
    sequence: int
    mac: bytes
    at: datetime
    signature: bytes


def tenant_resource(tenant_id: str) -> str:
    """What acts on a tenant have as their resource."""
    return f"/tenants/{tenant_id}"


class BreakKind(StrEnum):
    """What is wrong with a chain."""

    CHANGED = "changed"
    """An entry's fields are not those that were written."""
    MISSING = "missing"
    """Entries between two others are not there."""
    UNLINKED = "unlinked"
    """An entry does not follow the one before it: inserted or moved."""
    TRUNCATED = "truncated"
    """Entries at the end are not there."""
    ROLLED_BACK = "rolled_back"
    """Another entry stands where a signed head was taken: the past was replaced."""
    ANCHOR = "anchor"
    """What says that older entries were swept was not written by the server."""
    HEAD = "head"
    """The record of the chain's end, or a head to check against, is not genuine."""


@dataclass(frozen=True, slots=True)
class ChainBreak:
    """One thing that is wrong, at the entry `sequence`."""

    kind: BreakKind
    sequence: int
    message: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What the check of one tenant's chain found.

    `checked` entries from `first_sequence` to `last_sequence` were read, and compared with
    `heads` signed heads. `breaks_left_out` counts what was found beyond the breaks that are told.
    """

    tenant_id: str
    checked: int
    first_sequence: int
    last_sequence: int
    last_mac: bytes
    heads: int
    breaks: tuple[ChainBreak, ...] = ()
    breaks_left_out: int = 0

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.breaks
