"""chrF and BLEU are sacrebleu's; ROUGE is checked by hand and by what must hold of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelry.domain.errors import InvalidInput
from modelry.metrics.text import bleu, chrf, exact_matches, rouge_l, rouge_n

SENTENCE = "police killed the gunman"


def test_known_values_of_rouge():
    # Lin (2004): "police kill the gunman" shares 3 of 4 words, in order; "the gunman kill police" 2
    assert rouge_l(["police kill the gunman"], [SENTENCE]) == pytest.approx(75)
    assert rouge_l(["the gunman kill police"], [SENTENCE]) == pytest.approx(50)
    assert rouge_n(["police kill the gunman"], [SENTENCE], 1) == pytest.approx(75)
    assert rouge_n(["police kill the gunman"], [SENTENCE], 2) == pytest.approx(100 / 3)
    assert rouge_n(["the the the"], ["the cat"], 1) == pytest.approx(40)
    assert rouge_n(["a b"], ["a b"], 3) == 100.0


def test_known_values_of_sacrebleu():
    pytest.importorskip("sacrebleu")
    written = ["The dog bit the man.", "It was not unexpected.", "The man bit him first."]
    wanted = ["The dog bit the man.", "It was not unexpected.", "The man bit him first."]
    assert bleu(written, wanted) == pytest.approx(100)
    assert chrf(written, wanted) == pytest.approx(100)
    # the example of sacrebleu's own documentation, against the first of its references
    system = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
    assert bleu(system, wanted) == pytest.approx(45.067, abs=0.01)
    assert 0 < bleu(["a b c d"], ["a b x y"]) < 100
    # 3 of 4 letters, 2 of 3 pairs, 1 of 2 triples, none of 1
    assert chrf(["Haus"], ["Maus"]) == pytest.approx(100 * (3 / 4 + 2 / 3 + 1 / 2) / 4)


def test_exact_matches():
    assert exact_matches(["a", "b", "c", "d"], ["a", "B", "c", "x"]) == 50.0


@pytest.mark.parametrize("measure", [bleu, chrf, rouge_l, rouge_n, exact_matches])
@pytest.mark.parametrize(("written", "wanted"), [([], []), (["a"], []), (["a"], ["a", "b"])])
def test_as_many_texts_as_references(measure, written, wanted):
    with pytest.raises(InvalidInput, match="references"):
        measure(written, wanted)


def test_n_grams_of_nothing_are_refused():
    with pytest.raises(InvalidInput, match="n is 0"):
        rouge_n(["a"], ["a"], 0)


TEXTS = st.lists(st.sampled_from(["the", "cat", "Dog", "runs", ","]), max_size=8).map(" ".join)


@given(ours=TEXTS, theirs=TEXTS)
def test_rouge_is_symmetric_bounded_and_full_for_the_same(ours, theirs):
    for measure in (rouge_l, rouge_n):
        score = measure([ours], [theirs])
        assert 0 <= score <= 100
        assert score == pytest.approx(measure([theirs], [ours]))
        assert measure([ours], [ours]) == 100.0
    assert rouge_l([ours], [theirs]) <= rouge_n([ours], [theirs]) + 1e-9
