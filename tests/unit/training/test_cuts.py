"""Tokens in other cuts: the same letters, chosen by a seed, within a bound."""

from __future__ import annotations

import numpy as np
import pytest

from modelry.training.recipes.seq2seq.cuts import Cuts
from modelry.training.recipes.seq2seq.tokens import SPECIAL, learnt_tokenizer

TEXTS = ["the number of numbers", "an unnumbered page", "Übergrößen der Seite", "page numbering"]


@pytest.fixture(scope="module")
def tokenizer():
    return learnt_tokenizer(TEXTS * 5, 330)


def rows_of(tokenizer):
    return [np.array(tokenizer.encode(text).ids, np.int32) for text in TEXTS]


def again(tokenizer, left_out, *, seed=3, most=999, draw=5):
    cuts = Cuts(tokenizer, left_out, seed)
    return cuts.again(rows_of(tokenizer), most, np.random.default_rng(draw))


def test_other_cuts_have_the_same_letters(tokenizer):
    usual = rows_of(tokenizer)
    found = again(tokenizer, 0.5)
    assert [tokenizer.decode(row).strip() for row in found] == TEXTS
    assert all(len(ours) >= len(theirs) for ours, theirs in zip(found, usual, strict=True))
    assert sum(map(len, found)) > 1.3 * sum(map(len, usual))
    assert [row[-1] for row in found] == [tokenizer.token_to_id(SPECIAL[2])] * len(TEXTS)


def test_the_seed_and_the_generator_choose(tokenizer):
    told = [row.tolist() for row in again(tokenizer, 0.3)]
    assert [row.tolist() for row in again(tokenizer, 0.3)] == told
    assert [row.tolist() for row in again(tokenizer, 0.3, seed=4)] != told
    assert [row.tolist() for row in again(tokenizer, 0.3, draw=6)] != told


def test_without_chance_tokens_stay_as_they_are(tokenizer):
    found = again(tokenizer, 0.0)
    assert all((a == b).all() for a, b in zip(found, rows_of(tokenizer), strict=True))


def test_a_row_that_would_get_too_long_stays_as_it_is(tokenizer):
    usual = rows_of(tokenizer)
    most = max(map(len, usual))
    found = again(tokenizer, 0.9, most=most)
    assert max(map(len, found)) == most
    assert any(len(a) == len(b) for a, b in zip(found, usual, strict=True))
