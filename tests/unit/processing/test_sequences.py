"""Beam search against all sequences there are, and batches whose searches come and go."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelry.processing.sequences.batch import SearchBatch, search_all
from modelry.processing.sequences.graphs import Memory, SequenceGraphs, joined, padded
from modelry.processing.sequences.search import Search
from modelry.runtime_api.sequence_models import SequenceModel

PAD, START, END = 0, 1, 2
VOCABULARY = 6
MODEL = SequenceModel(VOCABULARY, PAD, START, END, 1, 1, 1, 32, 32)


class Value:
    """What a session takes and gives, as ONNX Runtime's values."""

    def __init__(self, array):
        self._array = array

    def numpy(self):
        return self._array


class Chain:
    """A decoder whose next token depends on the text, the last token and all before it.

    The last two it knows from its cache alone: a past that is mixed up gives other scores.
    """

    def __init__(self, seed):
        self.tables = np.random.default_rng(seed).normal(size=(8, VOCABULARY, VOCABULARY)) * 2
        self.most_rows = 0

    def scores(self, text, sequence):
        """Log-probabilities of what follows `sequence`, which begins with the start token."""
        logits = self.tables[text % 8, sequence[-1]] + self.tables[sum(sequence) % 8, 0]
        logits = logits.copy()
        logits[[PAD, START]] = -1e9
        return logits - np.log(np.exp(logits).sum())

    def run_with_ort_values(self, names, feed, run_options=None):
        feed = {name: value.numpy() for name, value in feed.items()}
        if "source" in feed:
            part = (feed["source"] * feed["source_mask"])[:, None, :, None].astype("f4")
            return [Value(part), Value(part)]
        past = feed["past.0.key"][feed["parents"]]
        tokens = feed["tokens"].astype("f4")[:, None, None, None]
        present = np.concatenate([past, tokens], axis=2)
        self.most_rows = max(self.most_rows, len(tokens))
        beams = len(tokens) // len(feed["source_mask"])
        texts = feed["memory.0.key"][:, 0, :, 0].sum(axis=1).astype(int)
        rows = []
        for at, position in enumerate(feed["positions"]):
            own = present[at, 0, present.shape[2] - 1 - position :, 0].astype(int).tolist()
            rows.append(self.scores(int(texts[at // beams]), own))
        scores = np.array(rows, "f4")
        order = np.argsort(-scores, axis=1, kind="stable")[:, : feed["candidates"][0]]
        found = [np.take_along_axis(scores, order, 1), order.astype("i8"), present, present]
        return [Value(array) for array in found]


def graphs_of(chain):
    return SequenceGraphs(MODEL, chain, chain, Value)


def every_sequence(chain, text, most):
    """All sequences that end within `most` tokens: (sum of log-probabilities, tokens)."""
    found = []
    for length in range(most + 1):
        for tokens in itertools.product(range(END + 1, VOCABULARY), repeat=length):
            sequence = [START, *tokens]
            total = sum(
                chain.scores(text, sequence[: at + 1])[token]
                for at, token in enumerate([*tokens, END])
            )
            found.append((total, tokens))
    return found


def test_with_enough_beams_the_best_of_all_sequences_is_found():
    for seed in range(5):
        chain = Chain(seed)
        best = max(every_sequence(chain, 7, 4))
        (found,) = search_all(
            graphs_of(chain), [[5, END]], beams=300, most_tokens=4, length_penalty=0.0
        )
        assert found.tokens == best[1]
        assert found.score == pytest.approx(best[0] / (len(best[1]) + 1), abs=1e-5)
        assert found.is_complete


def test_the_length_penalty_chooses_between_short_and_long():
    for seed in range(5):
        chain = Chain(seed)
        best = max(every_sequence(chain, 7, 4), key=lambda one: one[0] / (len(one[1]) + 1))
        (found,) = search_all(
            graphs_of(chain), [[5, END]], beams=300, most_tokens=4, length_penalty=1.0
        )
        assert found.tokens == best[1]


def greedy(chain, text, most):
    sequence = [START]
    while len(sequence) <= most:
        token = int(np.argmax(chain.scores(text, sequence)))
        if token == END:
            break
        sequence.append(token)
    return tuple(sequence[1:])


def test_one_beam_takes_the_likeliest_token_each_time():
    for seed in range(10):
        chain = Chain(seed)
        (found,) = search_all(graphs_of(chain), [[4, END]], beams=1, most_tokens=12)
        assert found.tokens == greedy(chain, 4 + END, 12)


@given(
    seed=st.integers(0, 1000),
    beams=st.integers(1, 4),
    waits=st.lists(st.integers(0, 6), min_size=1, max_size=6),
    gone=st.sets(st.integers(0, 5)),
)
@settings(max_examples=60, deadline=None)
def test_searches_that_join_and_leave_find_what_they_find_alone(seed, beams, waits, gone):
    """`waits`: how many steps pass before the next text joins; `gone`: texts that are dropped."""
    chain = Chain(seed)
    graphs = graphs_of(chain)
    sources = [[3] * (at % 3) + [at % 4 + 1, END] for at in range(len(waits))]
    batch = SearchBatch(graphs, beams)
    found = {}

    def step():
        if batch.searches:
            found.update({search.owner: search.best() for search in batch.step()})

    for at, wait in enumerate(waits):
        search = Search(start=START, end=END, beams=beams, most_tokens=9, owner=at)
        batch.join([search], graphs.encode([sources[at]]))
        for _ in range(wait):
            step()
        if at in gone:
            batch.drop(lambda search, at=at: search.owner == at)
    while batch.searches:
        step()
    for at, source in enumerate(sources):
        if at in found:
            (alone,) = search_all(graphs, [source], beams=beams, most_tokens=9)
            assert found[at].tokens == alone.tokens
            assert found[at].score == pytest.approx(alone.score, abs=1e-4)
        else:
            assert at in gone


def test_columns_of_searches_that_left_are_dropped():
    graphs = graphs_of(Chain(0))
    batch = SearchBatch(graphs, 1)
    for at in range(30):
        batch.join(
            [Search(start=START, end=99, beams=1, most_tokens=6, owner=at)],
            graphs.encode([[at % 4 + 1, END]]),
        )
        batch.step()
    assert len(batch.searches) < 10
    assert batch._past[0].numpy().shape[2] < 16


def test_answers_come_in_the_order_of_the_texts_however_many_fit_at_once():
    chain = Chain(1)
    sources = [[3] * (at % 5) + [END] for at in range(11)]
    found = search_all(graphs_of(chain), sources, beams=2, most_tokens=5, at_once=3)
    alone = [search_all(graphs_of(chain), [one], beams=2, most_tokens=5)[0] for one in sources]
    assert [one.tokens for one in found] == [one.tokens for one in alone]
    assert chain.most_rows == 6


def test_a_search_that_is_cut_has_as_many_tokens_as_it_may():
    search = Search(start=START, end=END, beams=1, most_tokens=2)
    while not search.is_done:
        search.advance([[-0.1, -5.0]], [[4, END]])
    assert search.best().tokens == (4, 4)
    assert not search.best().is_complete
    assert search.best().score == pytest.approx(-0.1)


def test_the_end_may_follow_the_last_token_that_there_may_be():
    search = Search(start=START, end=END, beams=1, most_tokens=1)
    search.advance([[-0.1, -5.0]], [[4, END]])
    search.advance([[-0.2, -5.0]], [[END, 4]])
    assert (search.best().tokens, search.best().is_complete) == ((4,), True)


def test_a_vocabulary_of_fewer_tokens_than_beams():
    search = Search(start=START, end=END, beams=4, most_tokens=3)
    for _ in range(4):
        if not search.is_done:
            search.advance([[-0.5, -1.0]] * 4, [[3, END]] * 4)
    assert search.best().is_complete
    assert math.isfinite(search.best().score)


def test_memories_are_joined_and_taken_apart():
    tokens, mask = padded([[1, 2, 3], [4]], PAD)
    assert tokens.tolist() == [[1, 2, 3], [4, 0, 0]]
    one = Memory((tokens[:, None, :, None],), mask)
    other = Memory((np.full((1, 1, 5, 1), 7),), np.ones((1, 5), np.int64))
    both = joined([one, other])
    assert both.parts[0].shape == (3, 1, 5, 1)
    assert both.mask.sum(axis=1).tolist() == [3, 1, 5]
    back = both.take([0, 1])
    assert back.parts[0][:, 0, :, 0].tolist() == tokens.tolist()
    assert back.mask.tolist() == mask.tolist()
