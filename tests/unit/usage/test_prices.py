"""Prices: exact, closest first, and never changing what was used before."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelry.domain.access import Role
from modelry.domain.errors import Conflict, InvalidInput, NotFound, PermissionDenied
from modelry.domain.prices import Use
from modelry.services.usage.costs import with_costs
from modelry.services.usage.ports import Segment, TotalsQuery, UsageAmount, UsageGroup
from modelry.services.usage.prices import PricesService
from modelry.testing.memory_database import MemoryDatabase
from modelry.testing.memory_usage import MemoryPriceStore
from modelry.testing.samples import NOW, OTHER_TENANT_ID, add_tenants, principal

USE = Use("default", "assistant", "llm", "chat")


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, **time: float) -> None:
        self.now += timedelta(**time)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def prices(clock: Clock) -> PricesService:
    return PricesService(MemoryPriceStore(), clock=clock)


def add(prices: PricesService, unit: str, amount: str, per: int = 1, **more: Any) -> str:
    names = ("tenant", "deployment", "model", "task")
    patterns = {name: more.pop(name) for name in names if name in more}
    made = prices.add(
        principal(), unit=unit, amount=Decimal(amount), per=per,
        currency=more.pop("currency", "EUR"), patterns=patterns, **more,
    )  # fmt: skip
    return made.price_id


def test_costs_are_exact_and_by_currency(prices: PricesService, clock: Clock) -> None:
    add(prices, "input_tokens", "0.15", 1_000_000)
    add(prices, "output_tokens", "0.60", 1_000_000)
    add(prices, "requests", "0.001", currency="USD")
    clock.pass_(minutes=1)
    units = {"input_tokens": 1_234_567, "output_tokens": 3, "requests": 3, "images": 9}
    assert prices.cost(USE, units) == {
        "EUR": Decimal("0.18518505") + Decimal("0.0000018"),
        "USD": Decimal("0.003"),
    }


def test_cached_tokens_with_a_price_cost_that_instead(prices: PricesService, clock: Clock) -> None:
    add(prices, "input_tokens", "2")
    clock.pass_(minutes=1)
    units = {"input_tokens": 10, "cached_tokens": 4}
    assert prices.cost(USE, units) == {"EUR": 20}
    add(prices, "cached_tokens", "0.5")
    clock.pass_(minutes=1)
    assert prices.cost(USE, units) == {"EUR": 6 * 2 + 4 * Decimal("0.5")}


@pytest.mark.parametrize(
    ("patterns", "amount"),
    [
        ({}, 1),
        ({"task": "chat"}, 2),
        ({"model": "ll*"}, 3),
        ({"model": "llm"}, 4),
        ({"deployment": "assistant"}, 5),
        ({"tenant": "def????"}, 6),
        ({"tenant": "default", "deployment": "a*"}, 7),
    ],
)
def test_the_closest_price_counts(
    prices: PricesService, clock: Clock, patterns: dict[str, str], amount: int
) -> None:
    all_ = [{}, {"task": "chat"}, {"model": "ll*"}, {"model": "llm"}, {"deployment": "assistant"},
            {"tenant": "def????"}, {"tenant": "default", "deployment": "a*"}]  # fmt: skip
    for at, each in enumerate(all_[: all_.index(patterns) + 1], start=1):
        add(prices, "requests", str(at), **each)
    add(prices, "requests", "99", deployment="other")
    clock.pass_(minutes=1)
    assert prices.cost(USE, {"requests": 1}) == {"EUR": amount}


def test_a_later_price_takes_over_and_an_ended_one_gives_back(
    prices: PricesService, clock: Clock
) -> None:
    add(prices, "requests", "1")
    clock.pass_(minutes=2)
    later = add(prices, "requests", "2", valid_from=clock.now + timedelta(hours=1))
    assert prices.cost(USE, {"requests": 1}) == {"EUR": 1}
    clock.pass_(hours=2)
    assert prices.cost(USE, {"requests": 1}) == {"EUR": 2}
    prices.end(principal(), later)
    assert prices.cost(USE, {"requests": 1}) == {"EUR": 2}
    clock.pass_(minutes=1)
    assert prices.cost(USE, {"requests": 1}) == {"EUR": 1}
    with pytest.raises(Conflict):
        prices.end(principal(), later)


def test_the_past_cannot_be_priced(prices: PricesService, clock: Clock) -> None:
    for begin in (clock.now - timedelta(days=1), clock.now.replace(second=0, microsecond=0)):
        with pytest.raises(InvalidInput, match="has passed"):
            add(prices, "requests", "1", valid_from=begin)


@pytest.mark.parametrize(
    "wrong",
    [
        {"unit": "No Unit"}, {"unit": "=x"}, {"currency": "euro"}, {"currency": "EURO"},
        {"amount": Decimal(-1)}, {"amount": Decimal("NaN")}, {"amount": Decimal("1e-13")},
        {"amount": Decimal("1e9")}, {"per": 0}, {"patterns": {"task": "a b"}},
    ],
)  # fmt: skip
def test_what_cannot_be_a_price_is_refused(prices: PricesService, wrong: dict[str, Any]) -> None:
    right = {"unit": "requests", "amount": Decimal(1), "per": 1, "currency": "EUR"}
    with pytest.raises(InvalidInput):
        prices.add(principal(), **(right | wrong))
    assert prices.list(principal()) == []


def test_the_platform_alone_has_to_do_with_prices(prices: PricesService) -> None:
    stranger = principal(Role.OWNER, OTHER_TENANT_ID)
    right = {"unit": "requests", "amount": Decimal(1), "per": 1, "currency": "EUR"}
    for act in (
        lambda: prices.list(stranger),
        lambda: prices.add(stranger, **right),
        lambda: prices.add(principal(Role.ADMIN), **right),
        lambda: prices.end(stranger, "p"),
    ):
        with pytest.raises(PermissionDenied):
            act()
    with pytest.raises(NotFound):
        prices.end(principal(), "none")


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "end", "use"]),
            st.integers(1, 200),
            st.sampled_from(["*", "chat", "a*", "default"]),
        ),
        max_size=12,
    )
)
def test_no_change_of_prices_alters_past_costs(steps: list[tuple[str, int, str]]) -> None:
    clock, database = Clock(), MemoryDatabase()
    add_tenants(database)
    prices = PricesService(MemoryPriceStore(), clock=clock)
    paid = Decimal(0)
    made: list[str] = []
    begin = NOW.replace(second=0, microsecond=0)

    def total() -> Decimal:
        query = TotalsQuery(
            "default", begin, clock.now + timedelta(minutes=1), (UsageGroup.DAY, UsageGroup.KEY)
        )
        found = database.usage.totals(query)
        costed = with_costs(query, found, prices.price_list(), database.usage.totals)
        return sum((cost for one in costed for cost in one.costs.values()), Decimal(0))

    for number, (step, amount, pattern) in enumerate(steps):
        if step == "add":
            name = {"chat": "task", "default": "tenant"}.get(pattern, "deployment")
            made.append(add(prices, "requests", str(amount), 7, **{name: pattern}))
        elif step == "end" and made:
            with contextlib.suppress(Conflict):
                prices.end(principal(), made[amount % len(made)])
        elif step == "use":
            minute = int(clock.now.timestamp()) // 60
            used = UsageAmount(
                "default", minute, "", f"k{number}", "assistant", "llm", 1, "chat", "ok",
                "requests", amount,
            )  # fmt: skip
            at = datetime.fromtimestamp(minute * 60, UTC)
            database.usage.add([Segment("default", "r", number, at, at, 1, b"", b"", (used,))])
            paid += prices.cost(USE, {"requests": amount}).get("EUR", Decimal(0))
        assert abs(total() - paid) < Decimal("1e-20")
        clock.pass_(seconds=17 + amount % 50)
        prices.price_list()
