import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelry.training.schedules import rate_factor

SCHEDULES = ["constant", "cosine", "one-cycle"]


@given(
    st.sampled_from(SCHEDULES),
    st.integers(1, 5000),
    st.floats(0, 1),
    st.sampled_from([0, 0.1, 0.9]),
)
def test_factors_are_over_0_and_at_most_1(schedule, total, place, warm_up):
    step = min(total - 1, int(place * total))
    assert 0 < rate_factor(schedule, step, total, warm_up) <= 1


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_it_rises_first_and_never_after(schedule):
    factors = [rate_factor(schedule, step, 100, 0.2) for step in range(100)]
    assert factors[:20] == sorted(factors[:20])
    assert factors[21:] == sorted(factors[21:], reverse=True)
    assert max(factors) == pytest.approx(1.0, abs=0.01)


def test_ends():
    assert rate_factor("constant", 99, 100) == 1.0
    assert rate_factor("cosine", 99, 100) < 0.001
    assert rate_factor("one-cycle", 0, 100) == pytest.approx(1 / 25)
    assert rate_factor("one-cycle", 99, 100) == pytest.approx(1e-4)
