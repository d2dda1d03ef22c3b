"""Acts outside of the management API: the intent before, the outcome after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

from modelry.domain.access import Principal
from modelry.domain.errors import Cancelled, InternalError, ModelryError
from modelry.services.audit.trail import ChainedTrail

INTENT = "intent"
OK = "ok"


@asynccontextmanager
async def entered(
    trail: ChainedTrail,
    principal: Principal,
    action: str,
    resource: str,
    detail: Mapping[str, Any],
) -> AsyncIterator[dict[str, Any]]:
    """Enter that `principal` does `action` before what is inside, and how it ended after it.

    What is put into the mapping that is given is told with the outcome: ids and numbers, never
    secrets.

    Raises:
        AuditUnavailable: the intent cannot be written; what is inside is not done.
    """
    enter, tenant_id, told = _entry(principal, action, resource), principal.tenant_id, dict(detail)
    intent = partial(trail.append, tenant_id, outcome=INTENT, detail=dict(detail), **enter)
    await asyncio.to_thread(intent)
    outcome = OK
    try:
        yield told
    except BaseException as error:
        outcome = outcome_of(error)
        raise
    finally:
        end = partial(trail.append_late, tenant_id, outcome=outcome, detail=told, **enter)
        await asyncio.shield(asyncio.to_thread(end))


@contextmanager
def entered_in_thread(
    trail: ChainedTrail,
    principal: Principal,
    action: str,
    resource: str,
    detail: Mapping[str, Any],
) -> Iterator[None]:
    """As `entered`, for threads that may wait for the database.

    Raises:
        AuditUnavailable: the intent cannot be written; what is inside is not done.
    """
    enter = {**_entry(principal, action, resource), "detail": dict(detail)}
    trail.append(principal.tenant_id, outcome=INTENT, **enter)
    outcome = OK
    try:
        yield
    except BaseException as error:
        outcome = outcome_of(error)
        raise
    finally:
        trail.append_late(principal.tenant_id, outcome=outcome, **enter)


def _entry(principal: Principal, action: str, resource: str) -> dict[str, Any]:
    return {"actor": principal.key_id, "action": action, "resource": resource}


def outcome_of(error: BaseException) -> str:
    """The word for how an act ended."""
    if isinstance(error, ModelryError):
        return error.code
    is_cancelled = isinstance(error, asyncio.CancelledError)
    return Cancelled.code if is_cancelled else InternalError.code
