"""What every HTTP door does about limits: asks, tells what is left, and holds refusals back."""

from __future__ import annotations

import asyncio
import math
import time
from functools import lru_cache

from modelry.domain.access import Permission, Principal
from modelry.domain.errors import (
    InvalidInput,
    ModelryError,
    NotFound,
    NotSupported,
    PayloadTooLarge,
    PermissionDenied,
)
from modelry.services.quotas.accounts import Account, Accounts, narrowest
from modelry.services.quotas.gates import NOTHING, Allowance
from modelry.services.quotas.pacing import Pacer

TOLD_S = 0.005
"""For how long the heads of the hot route repeat what they told, while much is left."""
_MUCH = 1000

_FOR_WHAT_IT_IS = (InvalidInput, NotFound, NotSupported, PayloadTooLarge, PermissionDenied)
"""Why a request is refused that cannot be answered later either."""


@lru_cache(maxsize=1024)
def _template(name: bytes, limit: float) -> bytes:
    """The lines of a limit, to be completed by what changes from request to request."""
    return (
        b"x-ratelimit-limit-%s: %d\r\n"
        b"x-ratelimit-remaining-%s: %%d\r\n"
        b"x-ratelimit-reset-%s: %%dms\r\n"
    ) % (name, limit, name, name)


class DoorLimits:
    """The limits of those who call, as the doors see them.

    Args:
        accounts: what the data plane admits on.
    """

    def __init__(self, accounts: Accounts) -> None:
        self.accounts = accounts
        self._pacer = Pacer()

    def check_prediction(self, principal: Principal) -> None:
        """Refuse what would be refused after its body was read; takes nothing.

        Raises:
            QuotaExceeded, BudgetExceeded: the caller's limits do not allow another request.
        """
        account = self.accounts.of(principal)
        if account.was_refused:
            account.check(NOTHING, time.monotonic())

    def count_refused(self, error: ModelryError, principal: Principal | None) -> None:
        """Count a request for a prediction that `error` refused before it was admitted.

        Only those who may predict pay so: another key must not use up what its tenant may ask.
        """
        if (
            principal is not None
            and isinstance(error, _FOR_WHAT_IT_IS)
            and Permission.INFERENCE in principal.permissions
        ):
            self.accounts.of(principal).count_refused(time.monotonic())

    def check_api_request(self, principal: Principal) -> None:
        """Count a request that is no prediction.

        Raises:
            QuotaExceeded: the caller sent too many of them.
        """
        self.accounts.of(principal).check_api_request(time.monotonic())

    def headers(self, principal: Principal) -> dict[str, str]:
        """What is left for predictions; empty without limits."""
        account = self.accounts.of(principal)
        return dict(_lines(account)) if account.gates else {}

    def api_headers(self, principal: Principal) -> dict[str, str]:
        """What is left for other requests; empty without a limit."""
        allowance = self.accounts.of(principal).api_allowance(time.monotonic())
        return {} if allowance is None else dict(_unit_lines("requests", allowance))

    def hold_s(self, error: ModelryError, tenant_id: str | None, peer: str) -> float:
        """How much later `error` is to be told; see `Pacer`."""
        return self._pacer.hold_s(error, tenant_id, peer, time.monotonic())

    async def hold_back(self, error: ModelryError, principal: Principal | None, peer: str) -> None:
        """Wait until `error` may be told."""
        hold_s = self.hold_s(error, None if principal is None else principal.tenant_id, peer)
        if hold_s > 0:
            await asyncio.sleep(hold_s)
            shorten(error, hold_s)


def shorten(error: ModelryError, held_s: float) -> None:
    """Take the time that `error` was held back off the time after which to come again."""
    if error.retry_after_s is not None:
        error.retry_after_s = max(0.001, error.retry_after_s - held_s)


def header_lines(account: Account) -> bytes:
    """As `DoorLimits.headers`, as the lines of a head; exact where less than `_MUCH` is left,
    else at most `TOLD_S` old.

    Under load, thousands of heads per second say nearly the same: printing each costs as much as
    admitting the request.
    """
    now = time.monotonic()
    if now < account.told_until:
        return account.told
    account.advance.give_back(now)
    lines = b""
    least = math.inf
    for name, gates in account.limited_units:
        limit, remaining, reset_s = narrowest(gates, now)
        lines += _template(name, limit) % (remaining, reset_s * 1000)
        least = min(least, remaining)
    if least >= _MUCH:
        account.told, account.told_until = lines, now + TOLD_S
    return lines


def _lines(account: Account) -> list[tuple[str, str]]:
    now = time.monotonic()
    account.advance.give_back(now)
    lines: list[tuple[str, str]] = []
    for name, gates in account.limited_units:
        lines += _unit_lines(name.decode(), Allowance(*narrowest(gates, now)))
    return lines


def _unit_lines(name: str, allowance: Allowance) -> list[tuple[str, str]]:
    limit, remaining, reset_s = allowance
    return [
        (f"x-ratelimit-limit-{name}", f"{int(limit)}"),
        (f"x-ratelimit-remaining-{name}", f"{int(remaining)}"),
        (f"x-ratelimit-reset-{name}", f"{int(reset_s * 1000)}ms"),
    ]
