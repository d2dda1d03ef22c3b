from hypothesis import given
from hypothesis import strategies as st

from modelry.services.quotas.buckets import TokenBucket

RATES = st.floats(0.01, 1e6)
STEPS = st.lists(
    st.tuples(
        st.one_of(st.floats(-1e3, 1e3), st.floats(0, 1e-6), st.floats(0, 1e12)), st.floats(0, 50)
    ),
    max_size=60,
)


@given(RATES, st.floats(1, 1e6), st.floats(-1e6, 1e9), STEPS)
def test_no_more_than_the_rate_and_one_burst_is_admitted(rate, burst, start, steps):
    bucket = TokenBucket(rate, burst, start)
    now = latest = start
    taken = 0.0
    for elapsed, wanted in steps:
        now += elapsed
        latest = max(latest, now)
        amount = min(wanted, burst)
        if bucket.wait_s(amount, now) == 0:
            bucket.take(amount, now)
            taken += amount
        bound = burst + rate * (latest - start)
        assert taken <= bound * (1 + 1e-6)
        assert bucket.level <= burst


@given(RATES, st.floats(1, 1e6), st.floats(0, 3), st.floats(0.001, 1))
def test_who_waits_as_long_as_told_is_admitted(rate, burst, taken, wanted):
    bucket = TokenBucket(rate, burst, 100.0)
    bucket.take(burst * taken, 100.0)
    wait_s = bucket.wait_s(burst * wanted, 100.0)
    assert bucket.wait_s(burst * wanted, 100.0 + wait_s) <= 1e-6 * (1 + wait_s)


@given(st.lists(st.floats(0, 5), max_size=30), st.integers(1, 100))
def test_what_was_used_in_debt_is_paid_back(overdrafts, seconds):
    bucket = TokenBucket(1.0, 2.0, 0.0)
    for amount in overdrafts:
        bucket.take(amount, 0.0)
    used = sum(overdrafts)
    for second in range(seconds):
        if bucket.wait_s(1, float(second)) == 0:
            bucket.take(1, float(second))
            used += 1
    assert used <= max(sum(overdrafts), 2 + seconds) + 1e-6


def test_a_clock_that_goes_backwards_fills_nothing():
    bucket = TokenBucket(1.0, 2.0, 100.0)
    bucket.take(2, 100.0)
    assert bucket.wait_s(1, 50.0) == 1.0
    assert bucket.wait_s(1, 100.0) == 1.0
    assert bucket.wait_s(1, 101.0) == 0.0


def test_other_bounds_keep_what_is_missing():
    bucket = TokenBucket(1.0, 10.0, 0.0)
    bucket.take(4, 0.0)
    assert bucket.resized(5.0, 20.0, 0.0).level == 16.0
    assert bucket.resized(1.0, 2.0, 0.0).level == -2.0
