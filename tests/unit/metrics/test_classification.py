import numpy as np
import pytest
import sklearn.metrics as known
from hypothesis import given
from hypothesis import strategies as st

from modelry.domain.errors import InvalidInput
from modelry.metrics import classification as ours


@st.composite
def answers(draw, least_classes=2):
    classes = draw(st.integers(least_classes, 7))
    rows = draw(st.integers(1, 60))
    randomness = np.random.default_rng(draw(st.integers(0, 2**32)))
    truth = randomness.integers(0, classes, rows)
    scores = np.round(randomness.random((rows, classes)), draw(st.integers(1, 6))) + 1e-3
    return truth, scores / scores.sum(axis=1, keepdims=True)


@given(answers())
def test_they_agree_with_scikit_learn(given_answers):
    truth, probabilities = given_answers
    classes = list(range(probabilities.shape[1]))
    chosen = probabilities.argmax(axis=1)
    confusion = ours.confusion_matrix(truth, chosen, len(classes))
    assert np.array_equal(confusion, known.confusion_matrix(truth, chosen, labels=classes))
    assert ours.accuracy(truth, chosen) == pytest.approx(known.accuracy_score(truth, chosen))
    assert ours.log_loss(truth, probabilities) == pytest.approx(
        known.log_loss(truth, probabilities, labels=classes)
    )
    precision, recall, f1, _ = known.precision_recall_fscore_support(
        truth, chosen, labels=classes, zero_division=0
    )
    for mine, theirs in zip(
        ours.precision_recall_f1(confusion), (precision, recall, f1), strict=True
    ):
        assert mine == pytest.approx(theirs)
    assert ours.macro_f1(confusion) == pytest.approx(
        known.f1_score(truth, chosen, average="macro", zero_division=0)
    )


@given(answers(least_classes=3), st.integers(1, 3))
def test_top_k_is_what_the_sorted_scores_say(given_answers, k):
    truth, probabilities = given_answers
    right = [
        truth[at] in sorted(range(len(row)), key=lambda one: (-row[one], one))[:k]
        for at, row in enumerate(probabilities)
    ]
    assert ours.top_k_accuracy(truth, probabilities, k) == pytest.approx(np.mean(right))


@given(answers())
def test_the_area_under_the_curve_agrees(given_answers):
    truth, probabilities = given_answers
    is_positive = truth == 1
    area = ours.roc_auc(is_positive, probabilities[:, 1])
    if is_positive.all() or not is_positive.any():
        assert area is None
    else:
        assert area == pytest.approx(known.roc_auc_score(is_positive, probabilities[:, 1]))


def test_the_brier_score_of_certainty_is_0_and_of_certain_error_2():
    truth = np.array([0, 1])
    assert ours.brier_score(truth, np.eye(2)) == 0
    assert ours.brier_score(truth, 1 - np.eye(2)) == 2


def test_a_certain_error_costs_much_but_not_infinitely_much():
    assert ours.log_loss(np.array([0]), np.array([[0.0, 1.0]])) == pytest.approx(34.5, abs=0.1)


def test_no_rows_and_too_few_answers_are_told():
    with pytest.raises(InvalidInput, match="0 rows"):
        ours.accuracy(np.array([], int), np.array([], int))
    with pytest.raises(InvalidInput, match="2 rows and 1 answers"):
        ours.summary(np.array([0, 1]), np.array([[0.5, 0.5]]))
