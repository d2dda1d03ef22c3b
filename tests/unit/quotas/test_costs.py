"""Budgets of money: what counts on them, when they are used up, and which cannot be."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from modelry.domain.errors import BudgetExceeded, InvalidInput, PermissionDenied
from modelry.domain.prices import Price
from modelry.domain.quotas import TENANT_WIDE, Quota, QuotaLimits, check_limits
from modelry.domain.usage import NOWHERE, Origin
from modelry.services.inference.metering import Meter, OpenRequest
from modelry.services.quotas.accounts import Account, Accounts
from modelry.services.quotas.costs import CostBudgets
from modelry.services.quotas.exchange import CountExchange
from modelry.services.quotas.gates import NOTHING, Unit
from modelry.services.quotas.service import QuotasService
from modelry.services.usage.prices import PricesService
from modelry.testing.memory_database import MemoryDatabase
from modelry.testing.samples import OTHER_TENANT_ID, add_tenants, api_key, principal

NOW = datetime(2030, 1, 30, 23, 0, 0, tzinfo=UTC)
WHO = principal()
OTHER_KEY = replace(WHO, key_id="another")
CHAT = Origin(WHO.tenant_id, "assistant", "llm", 1, "chat")
TEN_A_DAY = QuotaLimits(cost_per_day=10, cost_currency="EUR")


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


class Gateway:
    """One server: its accounts, its prices, and what meters on them."""

    def __init__(self, database: MemoryDatabase, clock: Clock) -> None:
        self.database = database
        self.accounts = Accounts(clock=clock)
        self.prices = PricesService(database.prices, clock=clock)
        self.prices.refresh()
        self.costs = CostBudgets(self.accounts, self.prices, clock=clock)
        self.meter = Meter(self.costs)
        self.exchange = CountExchange(database.quotas, self.accounts, clock=clock)
        self.quotas = QuotasService(database.quotas, self.accounts, self.prices, clock=clock)
        self.quotas.on_change(self.accounts.change)

    @property
    def account(self) -> Account:
        return self.accounts.of(WHO)

    def limit(self, limits: QuotaLimits, key_id: str = WHO.key_id) -> None:
        self.accounts.change(Quota(WHO.tenant_id, key_id, limits))

    def price(self, unit: str, amount: str, currency: str = "EUR", **more: Any) -> Price:
        price = Price(
            f"p{unit}{currency}{more.get('tenant', '')}", unit, Decimal(amount), 1, currency,
            NOW - timedelta(days=1), None, NOW, "owner", **more,
        )  # fmt: skip
        self.database.prices.put(price)
        self.prices.refresh()
        return price

    def use(self, origin: Origin = CHAT, key_id: str = WHO.key_id, **units: int) -> None:
        now = time.monotonic()
        key = (origin, WHO.tenant_id, key_id, "ok", "", b"")
        self.meter.note(key, now, now, b"r", (units or None, 0))

    def left(self, key_id: str = WHO.key_id) -> float:
        account = self.accounts.of_caller(WHO.tenant_id, key_id)
        allowance = account.allowance(Unit.COST, time.monotonic())
        assert allowance is not None
        return allowance.remaining


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database() -> MemoryDatabase:
    made = MemoryDatabase()
    add_tenants(made)
    return made


@pytest.fixture
def gateway(database: MemoryDatabase, clock: Clock) -> Gateway:
    return Gateway(database, clock)


def test_a_request_pays_for_all_its_units(gateway: Gateway) -> None:
    gateway.price("requests", "0.5")
    gateway.price("output_tokens", "0.01")
    gateway.price("images", "9")
    gateway.limit(TEN_A_DAY)
    gateway.use(output_tokens=50)
    assert gateway.left() == pytest.approx(9)


def test_the_last_request_may_go_over_and_the_next_waits_for_the_day(
    gateway: Gateway, clock: Clock
) -> None:
    gateway.price("requests", "6")
    gateway.limit(TEN_A_DAY)
    for _ in range(2):
        gateway.account.check(NOTHING, 0.0)
        gateway.use()
    with pytest.raises(BudgetExceeded, match="This key may use 10 EUR per day") as caught:
        gateway.account.check(NOTHING, 0.0)
    assert caught.value.retry_after_s == 3600
    assert gateway.left() == 0


def test_months_end_with_the_month(gateway: Gateway) -> None:
    gateway.price("requests", "6")
    gateway.limit(QuotaLimits(cost_per_month=5, cost_currency="EUR"), TENANT_WIDE)
    gateway.use()
    with pytest.raises(BudgetExceeded, match="This tenant may use 5 EUR per month") as caught:
        gateway.account.check(NOTHING, 0.0)
    assert caught.value.retry_after_s == 25 * 3600


def test_a_request_of_a_door_pays_when_it_ends(gateway: Gateway) -> None:
    gateway.price("requests", "1")
    gateway.limit(TEN_A_DAY)
    with OpenRequest(gateway.meter, "r") as request:
        request.principal = WHO
        request.origin = CHAT
    assert gateway.left() == pytest.approx(9)


def test_to_be_refused_costs_nothing_but_what_was_used_before_does(gateway: Gateway) -> None:
    """Else a key that is over its budget could use up its tenant's by asking on."""
    gateway.price("requests", "1")
    gateway.price("duration_us", "1")
    gateway.price("output_tokens", "1")
    gateway.limit(TEN_A_DAY, TENANT_WIDE)
    now = time.monotonic()
    for status in ("budget_exceeded", "quota_exceeded", "overloaded"):
        key = (CHAT, WHO.tenant_id, WHO.key_id, status, "", b"")
        gateway.meter.note(key, now, now + 1, b"r", (None, 0))
    assert gateway.left() == 10
    gateway.meter.note(key, now, now + 1, b"r", ({"output_tokens": 3}, 0))
    assert gateway.left() == 7


def test_keys_pay_on_their_tenants_budget_too(gateway: Gateway) -> None:
    gateway.price("requests", "1")
    gateway.limit(TEN_A_DAY, TENANT_WIDE)
    gateway.use()
    gateway.use(key_id="another")
    assert gateway.left() == gateway.left("another") == pytest.approx(8)


def test_without_limits_of_cost_nothing_is_counted(gateway: Gateway) -> None:
    gateway.price("requests", "1")
    gateway.limit(QuotaLimits(requests_per_day=5))
    assert not gateway.costs.accounts.counts_cost
    gateway.use()
    gateway.limit(TEN_A_DAY)
    assert gateway.costs.accounts.counts_cost
    assert gateway.left() == 10, "a budget counts from when it is set"


def test_defaults_count_as_well(database: MemoryDatabase, clock: Clock) -> None:
    gateway = Gateway(database, clock)
    accounts = Accounts(clock=clock, key_defaults=TEN_A_DAY)
    costs = CostBudgets(accounts, gateway.prices, clock=clock)
    assert costs.accounts.counts_cost
    gateway.price("requests", "10")
    now = time.monotonic()
    costs.settle((WHO.tenant_id, "any"), CHAT, "ok", (now, now), (None, 0))
    with pytest.raises(BudgetExceeded):
        accounts.of_caller(WHO.tenant_id, "any").check(NOTHING, 0.0)


def test_the_price_is_that_of_when_the_request_came(gateway: Gateway, clock: Clock) -> None:
    price = gateway.price("requests", "1")
    gateway.database.prices.put(replace(price, valid_until=NOW))
    gateway.database.prices.put(replace(price, price_id="p2", amount=Decimal(5), valid_from=NOW))
    gateway.prices.refresh()
    gateway.limit(TEN_A_DAY)
    now = time.monotonic()
    key = (CHAT, WHO.tenant_id, WHO.key_id, "ok", "", b"")
    clock.now = NOW + timedelta(seconds=1)
    gateway.meter.note(key, now - 60, now, b"r", (None, 0))
    assert gateway.left() == pytest.approx(9)


def test_what_is_free_may_be_used_and_nobody_is_forgotten(gateway: Gateway) -> None:
    gateway.price("requests", "1", tenant="paying")
    gateway.limit(TEN_A_DAY)
    gateway.use()
    gateway.use(NOWHERE)
    assert gateway.left() == 10
    gateway.costs.check(gateway.account, CHAT)


def test_what_is_priced_in_another_currency_is_refused(gateway: Gateway) -> None:
    gateway.price("requests", "1")
    gateway.price("output_tokens", "1", "USD", deployment="assist*")
    gateway.limit(TEN_A_DAY)
    with pytest.raises(PermissionDenied, match=r"This key may spend EUR, .* priced in USD"):
        gateway.costs.check(gateway.account, CHAT)
    gateway.costs.check(gateway.account, replace(CHAT, deployment="other"))
    gateway.price("output_tokens", "0", "USD", deployment="assist*")
    gateway.costs.check(gateway.account, CHAT)  # free is free in every currency


@pytest.mark.anyio
async def test_servers_share_budgets_and_keep_them(database: MemoryDatabase, clock: Clock) -> None:
    first, second = Gateway(database, clock), Gateway(database, clock)
    first.price("requests", "4")
    second.prices.refresh()
    quota = Quota(WHO.tenant_id, TENANT_WIDE, TEN_A_DAY)
    database.quotas.write(WHO.tenant_id, lambda records: records.put(quota, "o", NOW))
    for gateway in (first, second, first):
        await gateway.exchange.run()
        gateway.use()
    await first.exchange.run()
    await second.exchange.run()
    again = Gateway(database, clock)
    await again.exchange.run()
    for gateway in (second, again):
        with pytest.raises(BudgetExceeded):
            gateway.account.check(NOTHING, 0.0)
    clock.now = NOW + timedelta(hours=1)
    await again.exchange.run()
    again.account.check(NOTHING, 0.0)


@pytest.mark.anyio
async def test_each_currency_is_counted_apart(database: MemoryDatabase, clock: Clock) -> None:
    gateway = Gateway(database, clock)
    gateway.price("requests", "8")

    def limit(currency: str) -> None:
        limits = replace(TEN_A_DAY, cost_currency=currency)
        quota = Quota(WHO.tenant_id, TENANT_WIDE, limits)
        database.quotas.write(WHO.tenant_id, lambda records: records.put(quota, "o", NOW))

    left = []
    for currency in ("EUR", "USD", "EUR"):
        limit(currency)
        await gateway.exchange.run()
        if currency == "EUR" and not left:
            gateway.use()
        await gateway.exchange.run()
        left.append(gateway.left())
    assert left == [2, 10, 2]


def test_a_limit_that_could_never_count_is_refused(gateway: Gateway) -> None:
    gateway.database.keys.write(WHO.tenant_id, lambda records: records.put(api_key("k1")))
    wanted = {"cost_per_day": 5, "cost_currency": "EUR"}
    with pytest.raises(InvalidInput, match="there are none"):
        gateway.quotas.set_key(WHO, "k1", wanted)
    gateway.price("requests", "1", tenant=OTHER_TENANT_ID)
    gateway.price("requests", "0")
    gateway.price("requests", "1", "USD")
    with pytest.raises(InvalidInput, match="prices are in USD"):
        gateway.quotas.set_tenant(WHO, WHO.tenant_id, wanted)
    gateway.price("requests", "1")
    assert gateway.quotas.set_key(WHO, "k1", wanted).limits == replace(TEN_A_DAY, cost_per_day=5)


def test_a_keys_limit_is_below_its_tenants_in_the_same_currency(gateway: Gateway) -> None:
    gateway.database.keys.write(WHO.tenant_id, lambda records: records.put(api_key("k1")))
    gateway.price("requests", "1")
    gateway.price("requests", "1", "USD")
    gateway.quotas.set_tenant(WHO, WHO.tenant_id, TEN_A_DAY.set_values())
    for limits, param in (
        ({"cost_per_day": 11, "cost_currency": "EUR"}, "cost_per_day"),
        ({"cost_per_day": 9, "cost_currency": "USD"}, "cost_currency"),
    ):
        with pytest.raises(InvalidInput) as caught:
            gateway.quotas.set_key(WHO, "k1", limits)
        assert caught.value.param == param


@pytest.mark.parametrize(
    "limits",
    [
        {"cost_per_day": 5},
        {"cost_currency": "EUR"},
        {"cost_per_month": 5, "cost_currency": "eur"},
        {"cost_per_month": 5, "cost_currency": "EUR\n"},
        {"cost_per_month": 5, "cost_currency": 5},
        {"cost_per_month": 0, "cost_currency": "EUR"},
        {"cost_per_month": "5", "cost_currency": "EUR"},
    ],
)
def test_what_is_no_limit_of_cost(limits: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match="cost_"):
        check_limits(limits, for_key=True)


def test_limits_of_cost_take_the_place_of_the_defaults_together() -> None:
    defaults = QuotaLimits(cost_per_month=100, cost_currency="USD", tokens_per_day=5)
    assert TEN_A_DAY.or_else(defaults) == replace(TEN_A_DAY, tokens_per_day=5)
    assert QuotaLimits().or_else(defaults) == defaults
