from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelry.domain.errors import BudgetExceeded, InvalidInput, QuotaExceeded
from modelry.domain.quotas import TENANT_WIDE, QuotaLimits, check_limits
from modelry.services.quotas.accounts import Accounts, Use
from modelry.services.quotas.demands import tensor_demand, text_demand
from modelry.services.quotas.gates import NOTHING, Demand, Unit
from modelry.services.quotas.periods import told
from modelry.testing.samples import principal

NOW = datetime(2030, 1, 31, 23, 59, 0, tzinfo=UTC)
OK = Use("ok", None, 0.0)
WHO = principal()
TENANT, KEY = WHO.tenant_id, WHO.key_id


def accounts(tenant=None, key=None, **given):
    made = Accounts(clock=lambda: NOW, **given)
    limits = {(TENANT, TENANT_WIDE): tenant, (TENANT, KEY): key}
    made.apply({subject: QuotaLimits(**one) for subject, one in limits.items() if one})
    return made


def one_request(account, now=0.0, demand=NOTHING, use=OK):
    account.end(account.begin(demand, now), demand, use, now)


def far(account):
    """A time at which the account's buckets are full."""
    return max(gate.bucket.stamp for gate in account.gates if gate.bucket) + 1e6


def test_without_limits_nothing_is_kept_but_what_is_open():
    account = accounts().of(WHO)
    assert account.gates == ()
    gates = account.begin(NOTHING, 0.0)
    assert account.tenant.open == account.key.open == 1
    account.end(gates, NOTHING, None, 0.0)
    assert account.tenant.open == account.key.open == 0


def test_the_rate_is_told_exactly():
    account = accounts(key={"requests_per_second": 4, "request_burst": 2}).of(WHO)
    now = far(account)
    one_request(account, now)
    one_request(account, now)
    with pytest.raises(QuotaExceeded, match=r"This key may use 4 requests per second") as caught:
        account.check(NOTHING, now)
    assert caught.value.retry_after_s == pytest.approx(0.25)
    account.check(NOTHING, now + 0.25)


def test_keys_of_a_tenant_share_its_limit():
    made = accounts(tenant={"requests_per_second": 1})
    first, second = made.of(WHO), made.of(principal("viewer"))
    now = far(first)
    one_request(first, now)
    with pytest.raises(QuotaExceeded, match="This tenant"):
        second.check(NOTHING, now)


def test_tokens_are_reserved_and_settled():
    account = accounts(key={"tokens_per_minute": 600}).of(WHO)
    now = far(account)
    demand = Demand(tokens=500)
    gates = account.begin(demand, now)
    with pytest.raises(QuotaExceeded) as caught:
        account.check(demand, now)
    assert caught.value.retry_after_s == pytest.approx(40)
    account.end(gates, demand, Use("ok", {"input_tokens": 40, "output_tokens": 60}, 0.0), now)
    assert account.allowance(Unit.TOKENS, now).remaining == pytest.approx(500)
    account.check(demand, now)


def test_more_than_was_reserved_is_a_debt():
    account = accounts(key={"tokens_per_minute": 60}).of(WHO)
    now = far(account)
    demand = Demand(tokens=10)
    one_request(account, now, demand, Use("ok", {"input_tokens": 0, "output_tokens": 120}, 0))
    with pytest.raises(QuotaExceeded) as caught:
        account.check(demand, now)
    assert caught.value.retry_after_s == pytest.approx(70)


@pytest.mark.parametrize(
    ("status", "paid"), [("ok", 50), ("cancelled", 50), ("invalid_input", 0), ("replica_lost", 0)]
)
def test_who_leaves_pays_what_was_reserved_and_who_was_refused_does_not(status, paid):
    account = accounts(key={"tokens_per_day": 100}).of(WHO)
    demand = Demand(tokens=50)
    one_request(account, 0.0, demand, Use(status, None, 0.0))
    assert account.allowance(Unit.TOKENS, 0.0).remaining == 100 - paid


def test_tensors_pay_what_was_reserved_as_their_units_are_others():
    account = accounts(key={"images_per_day": 10}).of(WHO)
    one_request(account, 0.0, Demand(images=4), Use("ok", {"tensor_rows": 4}, 0.0))
    assert account.allowance(Unit.IMAGES, 0.0).remaining == 6


def test_explanations_are_counted_where_they_were_made():
    account = accounts(key={"explanations_per_day": 3}).of(WHO)
    demand = Demand(explanations=1)
    one_request(account, 0.0, demand, Use("ok", {"explanations": 1, "model_calls": 90}, 0.0))
    one_request(account, 0.0, demand, Use("invalid_input", None, 0.0))
    one_request(account, 0.0, NOTHING, OK)
    assert account.allowance(Unit.EXPLANATIONS, 0.0).remaining == 2
    with pytest.raises(BudgetExceeded, match="3 explanations per day"):
        account.check(Demand(explanations=3), 0.0)


def test_budgets_end_with_their_day_and_month():
    account = accounts(key={"requests_per_day": 2, "requests_per_month": 3}).of(WHO)
    one_request(account)
    gates = account.begin(NOTHING, 0.0)
    with pytest.raises(BudgetExceeded, match="2 requests per day") as caught:
        account.check(NOTHING, 0.0)
    assert caught.value.retry_after_s == 60
    account.end(gates, NOTHING, None, 0.0)
    account.check(NOTHING, 0.0)


def test_engine_time_is_paid_afterwards():
    account = accounts(key={"engine_seconds_per_minute": 6}).of(WHO)
    now = far(account)
    one_request(account, now, use=Use("ok", None, 9.0))
    with pytest.raises(QuotaExceeded) as caught:
        account.check(NOTHING, now)
    assert caught.value.retry_after_s == pytest.approx(30, rel=1e-3)


def test_open_requests_are_bounded_by_the_lower_limit():
    account = accounts(key={"concurrent_requests": 2}, open_requests=10).of(WHO)
    held = [account.begin(NOTHING, 0.0) for _ in range(2)]
    with pytest.raises(QuotaExceeded, match="2 open requests; its limit is 2"):
        account.check(NOTHING, 0.0)
    account.end(held[0], NOTHING, OK, 0.0)
    account.check(NOTHING, 0.0)


@pytest.mark.parametrize("unit", ["requests", "tokens"])
def test_who_is_refused_by_the_tenant_takes_nothing_from_the_key(unit):
    made = accounts(
        key={"requests_per_second": 5, "requests_per_day": 9, "tokens_per_day": 9},
        tenant={f"{unit}_per_day": 1},
    )
    account, demand = made.of(WHO), Demand(tokens=1)
    now = far(account)
    one_request(account, now, demand)
    before = [(gate.day, gate.month, gate.pending, gate.reserved) for gate in account.gates]
    level = account.key.gates[0].bucket.level
    with pytest.raises(BudgetExceeded, match="This tenant"):
        account.begin(demand, now)
    assert [(one.day, one.month, one.pending, one.reserved) for one in account.gates] == before
    assert account.key.gates[0].bucket.level == pytest.approx(level)
    assert account.key.open == account.tenant.open == 0


def test_a_request_that_was_never_tried_pays_nothing():
    account = accounts(key={"requests_per_second": 2, "requests_per_day": 2}).of(WHO)
    now = far(account)
    for _ in range(3):
        account.end(account.begin(NOTHING, now), NOTHING, None, now)
    gate = account.key.gates[0]
    assert (gate.day, gate.month, gate.pending, gate.bucket.level) == (0, 0, 0, 2)
    one_request(account, now)
    assert (gate.day, gate.month, gate.pending, gate.bucket.level) == (1, 1, 1, 1)


@given(
    st.floats(0.01, 1e6),
    st.integers(1, 50),
    st.lists(st.floats(0, 5), min_size=1, max_size=40),
)
def test_to_be_admitted_is_what_check_says(rate, burst, gaps):
    account = accounts(key={"requests_per_second": rate, "request_burst": burst}).of(WHO)
    now = far(account)
    for gap in gaps:
        now += gap
        try:
            account.check(NOTHING, now)
            wait_s = 0.0
        except QuotaExceeded as error:
            wait_s = error.retry_after_s
        if wait_s:
            with pytest.raises(QuotaExceeded) as caught:
                account.begin(NOTHING, now)
            assert caught.value.retry_after_s == wait_s
        else:
            one_request(account, now)


def test_limits_that_change_meanwhile_leave_no_reservation_behind():
    made = accounts(key={"tokens_per_day": 100})
    account = made.of(WHO)
    demand = Demand(tokens=80)
    before = account.begin(demand, 0.0)
    made.apply({})
    none = account.begin(demand, 0.0)
    made.apply({(TENANT, KEY): QuotaLimits(tokens_per_day=100)})
    account.end(before, demand, OK, 0.0)
    account.end(none, demand, OK, 0.0)
    assert account.key.open == account.tenant.open == 0
    assert account.allowance(Unit.TOKENS, 0.0).remaining == 100
    one_request(account, 0.0, demand)
    with pytest.raises(BudgetExceeded):
        account.check(demand, 0.0)


def test_defaults_hold_where_nothing_was_set():
    made = accounts(
        key={"tokens_per_day": 7}, key_defaults=QuotaLimits(requests_per_day=1, tokens_per_day=3)
    )
    assert made.of(WHO).key.limits == QuotaLimits(requests_per_day=1, tokens_per_day=7)


def test_requests_to_the_api_have_a_limit_of_their_own():
    account = accounts(key={"api_requests_per_second": 1}).of(WHO)
    now = account.key.api_bucket.stamp
    account.check_api_request(now)
    account.check_api_request(now)
    with pytest.raises(QuotaExceeded) as caught:
        account.check_api_request(now)
    assert caught.value.retry_after_s == pytest.approx(1)
    assert account.gates == ()


@pytest.mark.parametrize(
    "values",
    [
        {"tokens": 1},
        {"requests_per_second": 0},
        {"requests_per_second": "5"},
        {"tokens_per_minute": 1.5},
        {"concurrent_requests": True},
        {"tokens_per_day": 10**16},
        {"requests_per_second": float("nan")},
        {"request_burst": 5},
        {"storage_bytes": 5},
    ],
)
def test_limits_that_are_none_are_refused(values):
    with pytest.raises(InvalidInput):
        check_limits(values, for_key=True)


def test_tensors_are_no_way_round_the_limits_of_typed_doors():
    header = b'{"inputs":[{"name":"x","shape":[3,8],"datatype":"INT64"}]}'
    assert tensor_demand("image-classification", header) == Demand(images=3)
    assert tensor_demand("text-embedding", header) == Demand(tokens=24)
    assert tensor_demand("tensor", b"not read") == NOTHING


def test_a_prompt_and_all_its_answers_are_reserved():
    assert text_demand(b"x" * 400, 2, 50) == Demand(tokens=200)
    assert text_demand(b"x" * 400, 1).tokens > 100


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.8594, "0.859 s"), (42, "42 s"), (119, "119 s"), (750, "12 min"), (27_000, "7.5 h")],
)
def test_waits_are_told_as_people_read_them(seconds, words):
    assert told(seconds) == words


@given(
    gaps=st.lists(st.sampled_from([0.0, 0.00002, 0.0004, 0.006]), max_size=80),
    looks=st.sets(st.integers(0, 80)),
)
def test_what_is_counted_in_advance_is_what_came_once_somebody_looks(gaps, looks):
    made = accounts(
        tenant={"requests_per_day": 1_000_000, "requests_per_second": 10_000},
        key={"requests_per_month": 1_000_000},
    )
    account = made.of(WHO)
    now = far(account)
    for came, gap in enumerate(gaps, start=1):
        now += gap
        one_request(account, now)
        if came in looks:
            assert account.allowance(Unit.REQUESTS, now).remaining <= 1_000_000 - came
            assert [gate.day for gate in account.gates] == [came, came]
            assert [gate.pending for gate in account.gates] == [came, came]
    account.advance.give_back(now)
    assert [gate.month for gate in account.gates] == [len(gaps), len(gaps)]
    level = account.tenant.gates[0].bucket.fill(now)
    assert 10_000 - len(gaps) <= level <= 10_000


def test_nothing_is_counted_in_advance_where_little_is_left_or_requests_are_few():
    little = accounts(key={"requests_per_day": 1000}).of(WHO)
    for _ in range(1000):
        one_request(little)
        assert little.advance.left == 0
    with pytest.raises(BudgetExceeded):
        one_request(little)
    slow = accounts(key={"requests_per_day": 1_000_000}).of(WHO)
    for number in range(1, 20):
        one_request(slow, number * 0.01)
        assert slow.advance.left == 0


def test_limits_that_change_take_no_advance_with_them():
    made = accounts(key={"requests_per_day": 1_000_000})
    account = made.of(WHO)
    for _ in range(5):
        one_request(account)
    assert account.advance.left
    made.apply({(TENANT, KEY): QuotaLimits(requests_per_day=6)})
    one_request(account)
    with pytest.raises(BudgetExceeded):
        one_request(account)
