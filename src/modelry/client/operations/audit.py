"""The audit log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from modelry.client.decoding import decode, encode
from modelry.client.exchange import Flow, Param, Request, send_json
from modelry.client.operations.paths import api
from modelry.client.records import AuditHead, AuditHeadAnswer, AuditPage, AuditVerification


def list_entries(
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    actor: str | None = None,
    action: str | None = None,
    resource: str | None = None,
    outcome: str | None = None,
    after: int = 0,
    before: int | None = None,
    oldest_first: bool = False,
    limit: int = 100,
) -> Flow[AuditPage]:
    """Entries, newest first. `next` of the page is `before` (or `after`) of the following one.

    Args:
        since: the earliest time, with a time zone.
        until: the time before which.
        actor: who.
        action: what; `keys.*` for all that begins so.
        resource: on what; `/deployments/*` for all that begins so.
        outcome: `ok`, `intent` or an error's code.
        after: entries with a higher sequence.
        before: entries with a lower sequence.
        oldest_first: in the order in which it happened.
        limit: how many at most, up to 1000.
    """
    params: dict[str, Param] = {
        "since": None if since is None else since.isoformat(),
        "until": None if until is None else until.isoformat(),
        "actor": actor,
        "action": action,
        "resource": resource,
        "outcome": outcome,
        "after": after or None,
        "before": before,
        "oldest_first": True if oldest_first else None,
        "limit": limit,
    }
    request = Request("GET", api("audit", "entries"), params=params, idempotent=True)
    return decode(AuditPage, (yield from send_json(request)))


def read_head() -> Flow[AuditHeadAnswer]:
    """A signed statement of where the chain ends now; keep it where the server cannot reach."""
    request = Request("GET", api("audit", "head"), idempotent=True)
    return decode(AuditHeadAnswer, (yield from send_json(request)))


def verify(heads: Sequence[AuditHead] = ()) -> Flow[AuditVerification]:
    """Check that no entry was changed, taken away, inserted or moved.

    Args:
        heads: signed heads to compare with, besides those that the server kept.
    """
    request = Request(
        "POST", api("audit", "verify"), json={"heads": encode(list(heads))}, idempotent=True
    )
    return decode(AuditVerification, (yield from send_json(request)))
