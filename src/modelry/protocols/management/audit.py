"""`/audit`: who did what, and whether the record of it is whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any

import orjson
from fastapi import Query, Response
from pydantic import Field
from starlette.responses import StreamingResponse

from modelry.domain.access import Permission
from modelry.domain.audit import AuditEntry, BreakKind, SignedHead
from modelry.protocols.management.routing import managed_router, needs
from modelry.protocols.management.services import Audit, Caller
from modelry.protocols.management.shapes import Answer, Body, Moment
from modelry.services.audit.ports import AuditFilter
from modelry.services.audit.service import MAX_GIVEN_HEADS, MAX_LISTED

router = managed_router("audit")

Word = Annotated[str | None, Query(min_length=1, max_length=1000)]
Sequence64 = Annotated[int, Query(ge=0, le=2**63 - 1)]
Hex32 = Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="64 hexadecimal digits")]


class Entry(Answer):
    """One act; `mac` binds it to all entries before it."""

    sequence: int
    at: datetime
    actor: str
    action: str
    resource: str
    outcome: str
    detail: dict[str, Any]
    previous_mac: str
    mac: str

    @classmethod
    def of(cls, entry: AuditEntry) -> Entry:
        """The shape of `entry`."""
        return cls(
            sequence=entry.sequence,
            at=entry.at,
            actor=entry.actor,
            action=entry.action,
            resource=entry.resource,
            outcome=entry.outcome,
            detail=dict(entry.detail),
            previous_mac=entry.previous_mac.hex(),
            mac=entry.mac.hex(),
        )


class EntryList(Answer):
    """Entries; `next` goes on from there: as `before`, or as `after` when `oldest_first`."""

    entries: list[Entry]
    next: int | None


class HeadShape(Body):
    """A signed head of a chain, to be kept outside of the server."""

    tenant_id: Annotated[str, Field(min_length=1, max_length=64)]
    sequence: Annotated[int, Field(strict=True, ge=0, le=2**63 - 1)]
    mac: Hex32
    at: Moment
    signature: Annotated[str, Field(pattern="^[0-9a-f]{128}$")]

    @classmethod
    def of(cls, head: SignedHead) -> HeadShape:
        """The shape of `head`."""
        return cls(
            tenant_id=head.tenant_id,
            sequence=head.sequence,
            mac=head.mac.hex(),
            at=head.at,
            signature=head.signature.hex(),
        )

    def head(self) -> SignedHead:
        """The head."""
        return SignedHead(
            self.tenant_id,
            self.sequence,
            bytes.fromhex(self.mac),
            self.at,
            bytes.fromhex(self.signature),
        )


class CurrentHead(Answer):
    """Where the chain ends now, signed; `public_key` (Ed25519, hex) checks the signature."""

    head: HeadShape
    public_key: str


class VerifyBody(Body):
    """Heads to compare with, besides those that the server kept."""

    heads: Annotated[list[HeadShape], Field(max_length=MAX_GIVEN_HEADS)] = Field(
        default_factory=list
    )


class Break(Answer):
    """One thing that is wrong, at the entry `sequence`."""

    kind: BreakKind
    sequence: int
    message: str


class Verified(Answer):
    """What a check of the whole chain found; `sound` when nothing is wrong."""

    sound: bool
    checked: int
    first_sequence: int
    last_sequence: int
    heads: int
    breaks: list[Break]
    breaks_left_out: int


@router.get(
    "/audit/entries",
    summary="List audit entries",
    openapi_extra=needs(Permission.AUDIT_READ),
)
def list_audit(
    *,
    caller: Caller,
    audit: Audit,
    since: Moment | None = None,
    until: Moment | None = None,
    actor: Word = None,
    action: Word = None,
    resource: Word = None,
    outcome: Word = None,
    after: Sequence64 = 0,
    before: Sequence64 | None = None,
    oldest_first: bool = False,
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = 100,
) -> EntryList:
    """Newest first. `action` and `resource` may end in `*`, which means: what begins so."""
    found = audit.find(
        caller,
        AuditFilter(since, until, actor, action, resource, outcome),
        after=after,
        before=before,
        newest_first=not oldest_first,
        limit=limit,
    )
    return EntryList(
        entries=[Entry.of(one) for one in found],
        next=found[-1].sequence if len(found) == limit else None,
    )


@router.get(
    "/audit/export",
    summary="All audit entries, as lines of JSON",
    response_class=Response,
    responses={
        200: {
            "description": "One entry a line, oldest first.",
            "content": {"application/x-ndjson": {"schema": {"$ref": "#/components/schemas/Entry"}}},
        }
    },
    openapi_extra=needs(Permission.AUDIT_READ, audited=True),
)
def export_audit(
    *,
    caller: Caller,
    audit: Audit,
    since: Moment | None = None,
    until: Moment | None = None,
    actor: Word = None,
    action: Word = None,
    resource: Word = None,
    outcome: Word = None,
) -> Response:
    """Those that were there when the export began, narrowed as the list can be."""
    wanted = AuditFilter(since, until, actor, action, resource, outcome)
    return StreamingResponse(
        _lines(audit.stream(caller, wanted)), media_type="application/x-ndjson"
    )


@router.get(
    "/audit/head",
    summary="A signed statement of where the chain ends",
    openapi_extra=needs(Permission.AUDIT_READ),
)
def audit_head(caller: Caller, audit: Audit) -> CurrentHead:
    """Keep it elsewhere: with it, `verify` finds out when entries before it are taken away."""
    return CurrentHead(head=HeadShape.of(audit.head(caller)), public_key=audit.public_key.hex())


@router.post(
    "/audit/verify",
    summary="Check that no entry was changed, taken away, inserted or moved",
    openapi_extra=needs(Permission.AUDIT_READ),
)
def verify_audit(body: VerifyBody, caller: Caller, audit: Audit) -> Verified:
    """The whole chain of the tenant is read."""
    found = audit.verify(caller, [one.head() for one in body.heads])
    return Verified(
        sound=found.is_sound,
        checked=found.checked,
        first_sequence=found.first_sequence,
        last_sequence=found.last_sequence,
        heads=found.heads,
        breaks=[
            Break(kind=one.kind, sequence=one.sequence, message=one.message) for one in found.breaks
        ],
        breaks_left_out=found.breaks_left_out,
    )


def _lines(pages: Iterator[Sequence[AuditEntry]]) -> Iterator[bytes]:
    for page in pages:
        yield b"".join(
            orjson.dumps(Entry.of(entry).model_dump(mode="json")) + b"\n" for entry in page
        )
