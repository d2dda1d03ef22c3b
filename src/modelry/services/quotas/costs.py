"""Budgets of money: what requests cost by the platform's prices, as the ledger counts it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from modelry.domain.errors import PermissionDenied
from modelry.domain.prices import Use
from modelry.domain.usage import DURATION, ENGINE, REQUESTS, Origin, paid_units
from modelry.services.quotas.accounts import Account, Accounts
from modelry.services.quotas.periods import utc_now
from modelry.services.quotas.ports import Prices


class CostBudgets:
    """Counts what each request cost on the accounts whose costs are limited.

    A request pays when it is metered, with the units of its record, so that budgets and ledger
    agree; only sums are kept as binary floating-point numbers here, the ledger's costs are exact.
    A budget is in one currency. What is priced in another one could not count, so it is refused.

    Args:
        accounts: those of this process; used on the event loop only.
        prices: read from memory.
        clock: gives the time of day.
    """

    def __init__(
        self, accounts: Accounts, prices: Prices, *, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self.accounts = accounts
        self._prices = prices
        self._clock = clock

    def check(self, account: Account, origin: Origin) -> None:
        """Refuse what is priced in another currency than a budget that it would have to count on.

        Raises:
            PermissionDenied: it is; tells both.
        """
        priced_in = self._prices.currencies(_use_of(origin, account.tenant.tenant_id))
        for gate in account.cost_gates:
            foreign = sorted(priced_in - {gate.currency})
            if foreign:
                level = account.key if gate in account.key.gates else account.tenant
                raise PermissionDenied(
                    f"{level.owner} may spend {gate.currency}, and this model is priced in "
                    f"{' and '.join(foreign)}, which could not count on it. Have the limit or the "
                    "price changed.",
                    param="model",
                )

    def settle(
        self,
        caller: tuple[str, str],
        origin: Origin,
        status: str,
        times: tuple[float, float],
        used: tuple[Mapping[str, int] | None, int],
    ) -> None:
        """A request ended: count what it cost.

        Args:
            caller: tenant id and key id.
            origin: what answered.
            status: how it ended.
            times: when it came and ended, monotonic seconds.
            used: its units, and the microseconds of its replica's time.
        """
        gates = self.accounts.of_caller(*caller).cost_gates
        if not gates:
            return
        started, ended = times
        units, engine_us = used
        counted = {
            **(units or {}),
            REQUESTS: 1,
            DURATION: round(max(0.0, ended - started) * 1e6),
            ENGINE: engine_us,
        }
        now = time.monotonic()
        began = self._clock() - timedelta(seconds=max(0.0, now - started))
        paid = paid_units(status, counted)
        costs = self._prices.cost(_use_of(origin, caller[0]), paid, began)
        for gate in gates:
            cost = costs.get(gate.currency)
            if cost:
                gate.settle(0, float(cost), now)


def _use_of(origin: Origin, tenant_id: str) -> Use:
    return Use(tenant_id, origin.name_for(tenant_id), origin.model, origin.task)
