"""Use cases on limits."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from modelry.domain.access import Permission, Principal
from modelry.domain.errors import InvalidInput, NotFound, PermissionDenied
from modelry.domain.quotas import CURRENCY, TENANT_WIDE, UNLIMITED, Quota, QuotaLimits, check_limits
from modelry.services.quotas.accounts import Accounts, Level
from modelry.services.quotas.gates import Allowance
from modelry.services.quotas.periods import utc_now
from modelry.services.quotas.ports import Prices, QuotaRecords, QuotaStore


@dataclass(frozen=True, slots=True)
class Standing:
    """Limits with what is left of them, by unit; `key_id` is empty for the whole tenant."""

    tenant_id: str
    key_id: str
    limits: QuotaLimits
    left: Mapping[str, Allowance]
    open_requests: int


class QuotasService:
    """Sets, tells and forgets limits.

    Reading what is left must happen on the event loop that the accounts are used on.

    Args:
        store: keeps limits.
        accounts: what is counted in this process.
        prices: by which costs are counted.
        clock: gives the time of day.
    """

    def __init__(
        self,
        store: QuotaStore,
        accounts: Accounts,
        prices: Prices,
        *,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._prices = prices
        self._store = store
        self._accounts = accounts
        self._clock = clock
        self._listeners: list[Callable[[Quota], None]] = []

    def on_change(self, listener: Callable[[Quota], None]) -> None:
        """Call `listener` with limits that were changed, in the thread that changed them."""
        self._listeners.append(listener)

    def mine(self, principal: Principal) -> list[Standing]:
        """What the caller's key and its tenant may use, and have left."""
        principal.require(Permission.SELF_READ)
        account = self._accounts.of(principal)
        return [_standing(account.key), _standing(account.tenant)]

    def of_keys(self, principal: Principal) -> list[Quota]:
        """The limits that were set for keys of the caller's tenant."""
        principal.require(Permission.QUOTAS_READ)
        found = self._store.read(principal.tenant_id, lambda records: records.all())
        return [one for one in found if one.key_id != TENANT_WIDE]

    def of_tenant(self, principal: Principal, tenant_id: str) -> Quota:
        """The limits that were set for a tenant.

        Raises:
            NotFound: no such tenant.
        """
        principal.require(Permission.PLATFORM_READ)

        def work(records: QuotaRecords) -> Quota:
            _check_tenant(records, tenant_id)
            return records.find(TENANT_WIDE) or Quota(tenant_id, TENANT_WIDE, UNLIMITED)

        return self._store.read(tenant_id, work)

    def set_key(self, principal: Principal, key_id: str, values: Mapping[str, object]) -> Quota:
        """Set all limits of a key; those that are left out end.

        Raises:
            NotFound: no such key in the caller's tenant.
            InvalidInput: a limit is not one, is above the tenant's, or could never count.
            PermissionDenied: it is the caller's own key, or that has limits.
        """
        principal.require(Permission.QUOTAS_WRITE)
        limits = check_limits(values, for_key=True)
        self._check_is_priced(principal.tenant_id, limits)

        def work(records: QuotaRecords) -> Quota:
            _check_key(records, principal, key_id)
            tenant = records.find(TENANT_WIDE)
            outer = self._accounts.with_defaults(
                TENANT_WIDE, tenant.limits if tenant else UNLIMITED
            )
            _check_within(limits, outer)
            quota = Quota(principal.tenant_id, key_id, limits)
            records.put(quota, principal.key_id, self._clock())
            return quota

        return self._changed(self._store.write(principal.tenant_id, work))

    def clear_key(self, principal: Principal, key_id: str) -> None:
        """Let a key have no limits but its tenant's, and the defaults.

        Raises:
            NotFound: no such key in the caller's tenant.
            PermissionDenied: it is the caller's own key, or that has limits.
        """
        principal.require(Permission.QUOTAS_WRITE)

        def work(records: QuotaRecords) -> None:
            _check_key(records, principal, key_id)
            records.delete(key_id)

        self._store.write(principal.tenant_id, work)
        self._changed(Quota(principal.tenant_id, key_id, UNLIMITED))

    def set_tenant(
        self, principal: Principal, tenant_id: str, values: Mapping[str, object]
    ) -> Quota:
        """Set all limits of a tenant; for those that are left out the defaults hold.

        Raises:
            NotFound: no such tenant.
            InvalidInput: a limit is not one, or could never count.
        """
        principal.require(Permission.PLATFORM_WRITE)
        quota = Quota(tenant_id, TENANT_WIDE, check_limits(values, for_key=False))

        self._check_is_priced(tenant_id, quota.limits)

        def work(records: QuotaRecords) -> Quota:
            _check_tenant(records, tenant_id)
            records.put(quota, principal.key_id, self._clock())
            return quota

        return self._changed(self._store.write(tenant_id, work))

    def storage_limit(self, tenant_id: str) -> int | None:
        """How many bytes of files a tenant may keep, None for any."""

        def work(records: QuotaRecords) -> QuotaLimits:
            found = records.find(TENANT_WIDE)
            return found.limits if found else UNLIMITED

        limits = self._store.read(tenant_id, work)
        return self._accounts.with_defaults(TENANT_WIDE, limits).storage_bytes

    def _check_is_priced(self, tenant_id: str, limits: QuotaLimits) -> None:
        """Refuse a limit of costs in a currency in which nothing costs anything."""
        currency = limits.cost_currency
        if currency is None:
            return
        known = self._prices.currencies_for(tenant_id)
        if currency not in known:
            priced_in = f"prices are in {', '.join(sorted(known))}" if known else "there are none"
            raise InvalidInput(
                f"A limit in {currency} would never count: no price for this tenant is in it "
                f"({priced_in}). Have a price added first, or name another currency.",
                param=CURRENCY,
            )

    def _changed(self, quota: Quota) -> Quota:
        for listener in self._listeners:
            listener(quota)
        return quota


def _standing(level: Level) -> Standing:
    now = time.monotonic()
    left = {gate.unit.value: gate.allowance(now) for gate in level.gates}
    return Standing(
        level.tenant_id,
        level.key_id,
        level.limits,
        {unit: allowance for unit, allowance in left.items() if allowance is not None},
        level.open,
    )


def _check_tenant(records: QuotaRecords, tenant_id: str) -> None:
    if not records.has_tenant():
        raise NotFound(f"Tenant '{tenant_id[:80]}' does not exist.", param="tenant_id")


def _check_key(records: QuotaRecords, principal: Principal, key_id: str) -> None:
    if key_id == TENANT_WIDE or not records.has_key(key_id):
        raise NotFound(f"API key '{key_id[:80]}' does not exist.", param="key_id")
    if key_id == principal.key_id:  # a key that limits itself could shut out everybody
        raise PermissionDenied(
            "A key cannot change its own limits; use another key.", param="key_id"
        )
    own = records.find(principal.key_id)
    if own is not None and own.limits != UNLIMITED:
        raise PermissionDenied(
            "This key has limits of its own, so it cannot change those of others; use a key "
            "without limits.",
            param="key_id",
        )


def _check_within(limits: QuotaLimits, outer: QuotaLimits) -> None:
    if outer.cost_currency and limits.cost_currency not in (None, outer.cost_currency):
        raise InvalidInput(
            f"The tenant's limit is in {outer.cost_currency}; one in {limits.cost_currency} could "
            "not be told to be below it.",
            param=CURRENCY,
        )
    beyond: Sequence[str] = limits.beyond(outer)
    if beyond:
        name = beyond[0]
        raise InvalidInput(
            f"'{name}' may be {getattr(outer, name):g} at most, which is the tenant's limit; "
            f"{getattr(limits, name):g} was passed.",
            param=name,
        )
