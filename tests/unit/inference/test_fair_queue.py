import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelry.domain.deployments import Limits
from modelry.domain.errors import Overloaded
from modelry.domain.quotas import TENANT_WIDE, QuotaLimits
from modelry.runtime_api.frames import Kind
from modelry.services.inference.call import RawCall
from modelry.services.inference.fair_queue import FairQueue
from modelry.services.quotas.accounts import Accounts
from modelry.services.quotas.gates import Demand
from modelry.testing.replica_pool import FakeLink
from modelry.testing.samples import principal

pytestmark = pytest.mark.anyio


class Waiting:
    """What the queue looks at of a call."""

    def __init__(self, accounts, tenant, cost=1):
        self.principal = principal(tenant_id=tenant)
        self.account = accounts.of(self.principal)
        self.demand = Demand(tokens=cost)


def weighted(**weights):
    accounts = Accounts()
    accounts.apply({(name, TENANT_WIDE): QuotaLimits(weight=one) for name, one in weights.items()})
    return accounts


def order(queue, count):
    return "".join(queue.popleft().principal.tenant_id for _ in range(count))


def test_a_quiet_tenant_goes_before_a_crowd():
    queue, accounts = FairQueue(), Accounts()
    for _ in range(100):
        queue.append(Waiting(accounts, "a"))
    assert order(queue, 10) == "a" * 10
    queue.append(Waiting(accounts, "b"))
    assert "b" in order(queue, 2)
    assert len(queue) == 89


def test_tenants_are_served_by_weight_and_cost():
    queue, accounts = FairQueue(), weighted(a=3.0, b=1.0)
    for _ in range(40):
        queue.append(Waiting(accounts, "a"))
        queue.append(Waiting(accounts, "b"))
    assert order(queue, 40).count("a") == pytest.approx(30, abs=2)
    queue, accounts = FairQueue(), Accounts()
    for _ in range(40):
        queue.append(Waiting(accounts, "a", cost=4))
        queue.append(Waiting(accounts, "b", cost=1))
    assert order(queue, 40).count("a") == pytest.approx(8, abs=2)


def test_a_tenant_saves_nothing_up_while_it_is_quiet():
    queue, accounts = FairQueue(), Accounts()
    for _ in range(50):
        queue.append(Waiting(accounts, "a"))
    order(queue, 40)
    for _ in range(10):
        queue.append(Waiting(accounts, "b"))
    assert 4 <= order(queue, 10).count("a") <= 6


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9), st.booleans()), max_size=60))
def test_every_call_comes_out_once_and_in_the_order_of_its_tenant(steps):
    queue, accounts = FairQueue(), weighted(a=2.0)
    entered, left = [], []
    for tenant, cost, takes in steps:
        call = Waiting(accounts, tenant, cost)
        entered.append(call)
        queue.append(call)
        if takes:
            left.append(queue.popleft())
    if entered and entered[-1] not in left:
        queue.remove(entered[-1])
        entered.pop()
    while queue:
        left.append(queue.popleft())
    assert len(left) == len(entered)
    for tenant in "abc":
        assert [one for one in left if one.principal.tenant_id == tenant] == [
            one for one in entered if one.principal.tenant_id == tenant
        ]
    with pytest.raises(IndexError):
        queue.popleft()


def call(tenant):
    return RawCall(principal(tenant_id=tenant), Kind.INFER, b"{}")


def sent(link):
    return [one.principal.tenant_id for one in link.calls]


async def test_a_flood_leaves_places_on_the_replica_free(make_group):
    group = make_group()
    link = FakeLink("r", group, answer=lambda _: None, capacity=8)
    group.attach(link)
    for _ in range(20):
        group.submit(call("t1"))
    assert sent(link) == ["t1"] * 8
    group.submit(call("guest"))
    for _ in range(5):
        link.finish(link.calls[0])
    assert sent(link).count("guest") == 1
    assert sent(link).count("t1") == 4
    group.submit(call("guest"))
    assert sent(link).count("guest") == 2
    while link.calls:
        link.finish(link.calls[0])
    assert group.in_flight == 0


async def test_one_tenant_alone_may_use_every_place(make_group):
    group = make_group()
    link = FakeLink("r", group, answer=lambda _: None, capacity=4)
    group.attach(link)
    for _ in range(6):
        group.submit(call("guest"))
    assert sent(link) == ["guest"] * 4
    link.finish(link.calls[0])
    assert sent(link) == ["guest"] * 4


async def test_a_full_queue_makes_room_for_a_tenant_that_has_less(make_group):
    group = make_group(Limits(queue=4))
    for _ in range(4):
        group.submit(call("t1"))
    newest = list(group.waiting._flows["t1"].calls)[-1][1]
    guest = call("guest")
    group.submit(guest)
    with pytest.raises(Overloaded):
        await newest.answer()
    with pytest.raises(Overloaded):
        group.submit(call("t1"))
    group.attach(FakeLink("r", group))
    assert await guest.answer()
    assert group.accounts.tenant("guest").open == 0
