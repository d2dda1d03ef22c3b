"""Nearest words and analogies, on vectors whose answers are plain to see."""

import numpy as np
import pytest

from modelry.metrics.embeddings import analogy_accuracy, nearest, unit

# man, woman, king, queen, apple: one direction for each meaning
WORDS = unit(np.array([[1, 0, 0], [1, 1, 0], [1, 0, 1], [1, 1, 1], [-1, 0, 0]], np.float32))


def test_vectors_have_length_1_and_zeros_stay():
    made = unit(np.array([[3, 4], [0, 0]], np.float32))
    assert made.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0]]


def test_the_nearest_words_come_first_and_never_the_word_itself():
    found = nearest(WORDS, 0, 10)
    assert [at for at, _ in found] == [1, 2, 3, 4]
    assert found[-1][1] == pytest.approx(-1)
    assert len(nearest(WORDS, 0, 2)) == 2


def test_analogies_are_solved_by_the_word_that_completes_them():
    assert analogy_accuracy(WORDS, np.array([[0, 1, 2, 3], [1, 0, 3, 2]])) == 1.0
    assert analogy_accuracy(WORDS, np.array([[0, 1, 2, 3], [0, 1, 2, 4]])) == 0.5


def test_the_words_of_a_question_are_no_answers():
    same = unit(np.array([[1, 0], [1, 0.01], [1, 0.02], [0, 1]], np.float32))
    assert analogy_accuracy(same, np.array([[0, 1, 2, 3]])) == 1.0


def test_without_questions_there_is_no_accuracy():
    assert analogy_accuracy(WORDS, np.empty((0, 4), np.int64)) is None
