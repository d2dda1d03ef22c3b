"""Use cases on prices: they are added and ended, never changed, so that past costs stay."""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fnmatch import fnmatchcase

from modelry.domain.access import Permission, Principal
from modelry.domain.errors import Conflict, InvalidInput, NotFound
from modelry.domain.prices import Price, PriceList, Use
from modelry.services.usage.ports import PriceStore

MOST_PRICES = 10_000
REFRESH_S = 5.0
"""How late a price that another server added is known here."""
_UNIT = re.compile(r"[a-z][a-z0-9_]{0,39}")
_CURRENCY = re.compile(r"[A-Z]{3}")
_PATTERN = re.compile(r"[A-Za-z0-9._@*?-]{1,129}")
_MAX_PER = 10**12


class PricesService:
    """The price list of the platform.

    Args:
        store: keeps it.
        clock: gives the time.
    """

    def __init__(
        self, store: PriceStore, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._known: PriceList | None = None
        self._found: Sequence[Price] = ()
        self._known_at = datetime.min.replace(tzinfo=UTC)

    def price_list(self) -> PriceList:
        """All prices, as of a few seconds ago at most."""
        with self._lock:
            now = self._clock()
            if self._known is None or now - self._known_at > timedelta(seconds=REFRESH_S):
                return self._read(now)
            return self._known

    def refresh(self) -> None:
        """Read the prices, so that what another server changed counts here."""
        with self._lock:
            self._read(self._clock())

    def _read(self, now: datetime) -> PriceList:
        found = self._store.all()
        if self._known is None or found != self._found:  # a list knows which price is for what
            self._known, self._found = PriceList(found), found
        self._known_at = now
        return self._known

    def cost(
        self, use: Use, units: Mapping[str, int], at: datetime | None = None
    ) -> dict[str, Decimal]:
        """What units cost that were used at a moment, by currency; as of the last `refresh`.

        Reads memory only, so that it may be called for each request.

        Args:
            use: who used what.
            units: how much.
            at: when; None for now.
        """
        known = self._known
        return {} if known is None else known.cost(use, units, at or self._clock())

    def currencies(self, use: Use) -> frozenset[str]:
        """The currencies of the prices for `use` now that are not nothing; reads memory only."""
        if self._known is None:
            return frozenset()
        prices = self._known.of(use, self._clock()).values()
        return frozenset(one.currency for one in prices if one.amount)

    def currencies_for(self, tenant_id: str) -> frozenset[str]:
        """Those of the prices that a tenant may have to pay now or later."""
        self.refresh()
        now = self._clock()
        return frozenset(
            one.currency
            for one in self._found
            if one.amount
            and fnmatchcase(tenant_id, one.tenant)
            and (one.valid_until is None or now < one.valid_until)
        )

    def list(self, principal: Principal) -> list[Price]:
        """All prices, the newest first.

        Raises:
            PermissionDenied: the caller has nothing to do with the platform.
        """
        principal.require(Permission.PLATFORM_READ)
        return sorted(
            self._store.all(), key=lambda one: (one.valid_from, one.created_at), reverse=True
        )

    def add(
        self,
        principal: Principal,
        *,
        unit: str,
        amount: Decimal,
        per: int,
        currency: str,
        valid_from: datetime | None = None,
        patterns: Mapping[str, str] | None = None,
    ) -> Price:
        """Add a price that holds from the next minute on, or from a later one.

        Args:
            principal: who asks.
            unit: what is counted, such as `input_tokens`, `images`, `engine_us`, `requests`.
            amount: what `per` units cost; zero makes them free.
            per: how many units.
            currency: three capital letters.
            valid_from: from when on; rounded up to a whole minute.
            patterns: what it is for: `tenant`, `deployment`, `model`, `task`.

        Raises:
            PermissionDenied: the caller may not manage the platform.
            InvalidInput: a value that cannot be a price's, or a time that has passed.
            Conflict: there are too many prices.
        """
        principal.require(Permission.PLATFORM_WRITE)
        now = self._clock()
        begin = _next_minute(now) if valid_from is None else _next_minute(valid_from)
        if begin <= now:
            raise InvalidInput(
                "A price cannot hold from a time that has passed: what was used then would cost "
                "something else than it did. Leave valid_from out for the next minute.",
                param="valid_from",
            )
        _check(unit=unit, amount=amount, per=per, currency=currency, patterns=patterns or {})
        price = Price(
            price_id=f"price_{secrets.token_hex(8)}",
            unit=unit,
            amount=amount,
            per=per,
            currency=currency,
            valid_from=begin,
            valid_until=None,
            created_at=now,
            created_by=principal.key_id,
            **(patterns or {}),
        )
        if len(self._store.all()) >= MOST_PRICES:
            raise Conflict(f"There are {MOST_PRICES} prices already; no more can be kept.")
        self._store.put(price)
        self.refresh()
        return price

    def end(self, principal: Principal, price_id: str) -> Price:
        """Let a price hold no longer than to the end of this minute; costs so far stay.

        Raises:
            PermissionDenied: the caller may not manage the platform.
            NotFound: no such price.
            Conflict: it has ended already.
        """
        principal.require(Permission.PLATFORM_WRITE)
        found = next((one for one in self._store.all() if one.price_id == price_id), None)
        if found is None:
            raise NotFound(f"There is no price '{price_id[:80]}'.", param="price_id")
        end = max(_next_minute(self._clock()), found.valid_from)
        if found.valid_until is not None and found.valid_until <= end:
            raise Conflict(f"The price '{price_id}' has ended or ends this minute already.")
        ended = replace(found, valid_until=end)
        self._store.put(ended)
        self.refresh()
        return ended


def _next_minute(moment: datetime) -> datetime:
    """`moment` if it is a whole minute, else the next one."""
    whole = moment.astimezone(UTC).replace(second=0, microsecond=0)
    return whole if whole == moment else whole + timedelta(minutes=1)


def _check(
    *, unit: str, amount: Decimal, per: int, currency: str, patterns: Mapping[str, str]
) -> None:
    if not _UNIT.fullmatch(unit):
        raise InvalidInput(
            f"{unit[:60]!r} is no unit such as 'input_tokens', 'images' or 'requests'.",
            param="unit",
        )
    exponent = amount.as_tuple().exponent
    if not isinstance(exponent, int) or amount < 0 or exponent < -12 or amount >= 10**9:
        raise InvalidInput(
            f"amount is {str(amount)[:40]}; expected a decimal number from 0 to 999999999 with at "
            "most 12 decimals.",
            param="amount",
        )
    if not 1 <= per <= _MAX_PER:
        raise InvalidInput(f"per must be from 1 to {_MAX_PER}.", param="per")
    if not _CURRENCY.fullmatch(currency):
        raise InvalidInput(
            f"{currency[:20]!r} is no currency; expected three capital letters, such as EUR.",
            param="currency",
        )
    for name, pattern in patterns.items():
        if not _PATTERN.fullmatch(pattern):
            raise InvalidInput(
                f"{name} is {pattern[:60]!r}; expected a name, or a pattern with * and ?.",
                param=name,
            )
