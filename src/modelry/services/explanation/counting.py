"""Explanations that jobs make count as those of every other door do.

The worker that serves counts those that it is asked for. What follows gradients asks it for none
where nothing shall be measured. To be used on the event loop alone, as accounts are.
"""

from __future__ import annotations

import time

from modelry.domain.access import Principal
from modelry.services.inference.metering import OK
from modelry.services.inference.routing import Target
from modelry.services.inference.service import InferenceService
from modelry.services.quotas.accounts import Use
from modelry.services.quotas.gates import Demand

_ONE = Demand(explanations=1)
EXPLAINED = {"explanations": 1}
"""The units of one."""


async def check_explanations(
    inference: InferenceService, principal: Principal, count: int = 1
) -> None:
    """See that the caller's limits allow so many explanations now; takes nothing.

    Raises:
        QuotaExceeded, BudgetExceeded: they do not.
    """
    inference.accounts.of(principal).check(Demand(explanations=count), time.monotonic())


async def count_explanation(
    inference: InferenceService, principal: Principal, target: Target, job_id: str
) -> None:
    """Take one explanation of `target` from the caller's limits, and note it for the ledger.

    Raises:
        ModelryError: as `take_explanation`.
    """
    now = take_explanation(inference, principal, target)
    key = (target.group.origin, principal.tenant_id, principal.key_id, OK, "", b"")
    inference.meter.note(key, now, now, job_id.encode(), (EXPLAINED, 0))


def take_explanation(inference: InferenceService, principal: Principal, target: Target) -> float:
    """Take one explanation of `target` from the caller's limits; when, in monotonic seconds.

    Raises:
        QuotaExceeded, BudgetExceeded: the limits do not allow it.
        PermissionDenied: it costs what the caller's budget is not in.
        Overloaded: what requests use cannot be kept.
    """
    account, meter, origin = inference.accounts.of(principal), inference.meter, target.group.origin
    meter.check_room()
    if account.cost_gates and meter.costs is not None:
        meter.costs.check(account, origin)
    now = time.monotonic()
    account.end(account.begin(_ONE, now), _ONE, Use(OK, EXPLAINED, 0.0), now)
    return now
