from datetime import UTC, datetime, timedelta

import pytest

from modelry.domain.errors import BudgetExceeded, Overloaded, QuotaExceeded
from modelry.domain.quotas import TENANT_WIDE, Quota, QuotaLimits
from modelry.services.quotas.accounts import Accounts, Use
from modelry.services.quotas.exchange import CountExchange
from modelry.services.quotas.gates import NOTHING, Unit
from modelry.testing import samples
from modelry.testing.memory_database import MemoryDatabase

pytestmark = pytest.mark.anyio

WHO = samples.principal()
OK = Use("ok", None, 0.0)


class Clock:
    def __init__(self):
        self.now = datetime(2030, 1, 30, 12, 0, tzinfo=UTC)

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def database():
    made = MemoryDatabase()
    samples.add_tenants(made)
    return made


def limit(database, **limits):
    quota = Quota(WHO.tenant_id, TENANT_WIDE, QuotaLimits(**limits))
    database.quotas.write(WHO.tenant_id, lambda records: records.put(quota, "o", samples.NOW))


class Gateway:
    def __init__(self, database, clock):
        self.accounts = Accounts(clock=clock)
        self.exchange = CountExchange(database.quotas, self.accounts, clock=clock)

    @property
    def account(self):
        return self.accounts.of(WHO)

    def use(self, count=1):
        for _ in range(count):
            self.account.check(NOTHING, 0.0)
            self.account.end(self.account.begin(NOTHING, 0.0), NOTHING, OK, 0.0)


async def test_budgets_are_shared_and_survive_restarts(database, clock):
    limit(database, requests_per_day=5, requests_per_month=8)
    first, second = Gateway(database, clock), Gateway(database, clock)
    for one in (first, second):
        await one.exchange.run()
    first.use(3)
    second.use(1)
    for one in (first, second, first):
        await one.exchange.run()
    assert first.account.allowance(Unit.REQUESTS, 0.0).remaining == 1
    restarted = Gateway(database, clock)
    await restarted.exchange.run()
    restarted.use(1)
    with pytest.raises(BudgetExceeded):
        restarted.use(1)
    await restarted.exchange.run()
    clock.now += timedelta(days=1)
    await restarted.exchange.run()
    restarted.use(3)
    with pytest.raises(BudgetExceeded, match="per month"):
        restarted.use(1)
    await restarted.exchange.run()
    clock.now += timedelta(days=1)
    late = Gateway(database, clock)
    await late.exchange.run()
    late.use(5)


async def test_a_month_is_added_up_when_a_gateway_starts_late_in_it(database, clock):
    limit(database, requests_per_month=8)
    clock.now = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
    first = Gateway(database, clock)
    await first.exchange.run()
    first.use(5)
    await first.exchange.run()
    clock.now += timedelta(days=20)
    second = Gateway(database, clock)
    await second.exchange.run()
    assert second.account.allowance(Unit.REQUESTS, 0.0).remaining == 3


async def test_what_others_used_is_taken_from_the_bucket(database, clock):
    limit(database, requests_per_second=0.001, request_burst=10)
    first, second = Gateway(database, clock), Gateway(database, clock)
    for one in (first, second):
        await one.exchange.run()
    first.use(7)
    second.use(8)
    for one in (first, second, first):
        await one.exchange.run()
    levels = [one.account.allowance(Unit.REQUESTS, 0.0).remaining for one in (first, second)]
    assert levels == [0, 0]
    assert first.account.tenant.gates[0].bucket.level == pytest.approx(-5, abs=0.1)
    with pytest.raises(QuotaExceeded):
        first.use()


async def test_what_could_not_be_told_is_told_later(database, clock, monkeypatch):
    limit(database, requests_per_day=5)
    gateway = Gateway(database, clock)
    await gateway.exchange.run()
    gateway.use(2)

    def fail(report):
        raise Overloaded("The database is busy; try again.")

    with monkeypatch.context() as patched:
        patched.setattr(database.quotas, "exchange", fail)
        with pytest.raises(Overloaded):
            await gateway.exchange.run()
    gateway.use(1)
    assert gateway.account.allowance(Unit.REQUESTS, 0.0).remaining == 2
    await gateway.exchange.run()
    other = Gateway(database, clock)
    await other.exchange.run()
    assert other.account.allowance(Unit.REQUESTS, 0.0).remaining == 2


async def test_free_places_are_parted_among_gateways(database, clock):
    limit(database, concurrent_requests=10)
    first, second = Gateway(database, clock), Gateway(database, clock)
    for one in (first, second, first):
        await one.exchange.run()
        assert one.account
    for one in (first, second, first):
        clock.now += timedelta(seconds=5)
        await one.exchange.run()
    assert [opened(one.account) for one in (first, second)] == [5, 5]


def opened(account):
    """How many requests may be open."""
    for count in range(100):
        try:
            account.check(NOTHING, 0.0)
        except QuotaExceeded:
            return count
        account.begin(NOTHING, 0.0)
    return 100
