import numpy as np
import pytest
import sklearn.metrics as known
from hypothesis import given
from hypothesis import strategies as st

from modelry.domain.errors import InvalidInput
from modelry.metrics import regression as ours


@given(st.integers(0, 2**32), st.integers(2, 50), st.sampled_from([(), (1,), (3,)]))
def test_they_agree_with_scikit_learn(seed, rows, more):
    randomness = np.random.default_rng(seed)
    truth, answers = randomness.normal(size=(2, rows, *more)) * 100
    told = ours.summary(truth, answers)
    assert told["mean_squared_error"] == pytest.approx(known.mean_squared_error(truth, answers))
    assert told["mean_absolute_error"] == pytest.approx(known.mean_absolute_error(truth, answers))
    assert told["r_squared"] == pytest.approx(known.r2_score(truth, answers))
    assert told["root_mean_squared_error"] == pytest.approx(told["mean_squared_error"] ** 0.5)
    if not more:
        assert ours.median_absolute_error(truth, answers) == pytest.approx(
            known.median_absolute_error(truth, answers)
        )


def test_a_target_that_does_not_vary_explains_nothing():
    assert ours.r_squared(np.ones(3), np.array([1.0, 2.0, 3.0])) is None
    assert "r_squared" not in ours.summary(np.ones(3), np.ones(3))


def test_no_rows_and_other_shapes_are_told():
    with pytest.raises(InvalidInput, match=r"shape \[0\]"):
        ours.summary(np.array([]), np.array([]))
    with pytest.raises(InvalidInput, match=r"\[2\] and the answers \[2, 1\]"):
        ours.summary(np.zeros(2), np.zeros((2, 1)))
