import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tests.support.processing import ANY, graph_of

from modelry.domain.errors import ModelFailed
from modelry.domain.signature import Datatype
from modelry.processing.steps.scores import sigmoid, softmax, top_k
from modelry.processing.values import Context

rows = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
    elements=st.floats(-90, 90, width=32),
)


@settings(deadline=None)
@given(rows)
def test_softmax_is_its_formula(scores):
    for row, got in zip(scores.astype(float), softmax(scores), strict=True):
        powers = [math.exp(value - max(row)) for value in row]
        assert got == pytest.approx([power / sum(powers) for power in powers], abs=1e-6)


@pytest.mark.parametrize("classes", range(1, 9))
def test_probabilities_of_few_classes_are_those_that_are_made_row_by_row(classes):
    scores = np.random.default_rng(0).normal(0, 30, (100, classes)).astype("f4")
    scores[::7] = -np.inf
    scores[::11, 0] = 5
    with np.errstate(invalid="ignore"):
        powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    np.testing.assert_array_equal(softmax(scores), powers / powers.sum(axis=-1, keepdims=True))


@settings(deadline=None)
@given(rows)
def test_sigmoid_is_its_formula(scores):
    expected = [[1 / (1 + math.exp(-value)) for value in row] for row in scores.astype(float)]
    assert sigmoid(scores).tolist() == [pytest.approx(row, abs=1e-6) for row in expected]


def test_huge_scores_do_not_overflow():
    huge = np.array([[3e38, -3e38, 0]], "f4")
    assert softmax(huge).tolist() == [[1, 0, 0]]
    assert sigmoid(huge).tolist() == [[1, 0, 0.5]]
    masked = np.array([[1.0, -np.inf]], "f4")
    assert softmax(masked).tolist() == [[1, 0]]


def test_integers_are_scores_too():
    assert softmax(np.array([[1, 1]], np.int64)).tolist() == [[0.5, 0.5]]


@settings(deadline=None)
@given(rows, st.integers(1, 8), st.none() | st.floats(-90, 90, width=32))
def test_top_k_is_what_sorting_gives(scores, k, least):
    ranking = top_k(scores, k=k, min_score=least)
    for row, indexes, best in zip(scores.tolist(), ranking.indexes, ranking.scores, strict=True):
        expected = sorted(range(len(row)), key=lambda at: (-row[at], at))[:k]
        expected = [at for at in expected if least is None or row[at] >= least]
        assert list(indexes) == expected
        assert list(best) == [row[at] for at in expected]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_scores_that_are_no_numbers_are_refused_and_named(bad):
    scores = np.zeros((3, 4), "f4")
    scores[1, 2] = bad
    with pytest.raises(ModelFailed, match=r"Item 2 of 3.*NaN or infinite"):
        top_k(scores, k=1, min_score=None)
    scores[1] = bad
    with pytest.raises(ModelFailed):
        graph_of(post=["softmax", {"top_k": 1}]).after({"y": scores}, Context(3))


def test_axes_of_size_one_do_not_matter():
    graph = graph_of(post=["softmax", {"top_k": 1}], outputs=(("y", Datatype.FP32, (ANY, 1, 4)),))
    scores = np.array([[[0, 0, 9, 0]]], "f4")
    assert graph.after({"y": scores}, Context(1)).indexes == [[2]]


def test_classes_without_scores_are_ranked_as_they_came():
    graph = graph_of(
        post=["classes", "label"], outputs=(("y", Datatype.INT64, (ANY,)),), labels=["a", "b"]
    )
    ranking = graph.after({"y": np.array([1, 0])}, Context(2))
    assert ranking.indexes == [[1], [0]]
    assert ranking.scores is None
    assert ranking.labels == ("a", "b")
    with pytest.raises(ModelFailed):
        graph.after({"y": np.array([-1, 0])}, Context(2))


def test_one_of_several_outputs_can_be_named():
    outputs = [("hidden", Datatype.FP32, (ANY, 2, 3)), ("logits", Datatype.FP32, (ANY, 2))]
    graph = graph_of(post=[{"output": "logits"}, {"top_k": 1}], outputs=outputs)
    given_outputs = {"hidden": np.zeros((1, 2, 3)), "logits": np.array([[0.0, 1.0]])}
    assert graph.after(given_outputs, Context(1)).indexes == [[1]]
