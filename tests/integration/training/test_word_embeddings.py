"""Word vectors from gensim's own corpus of news (real text): learnt, stopped, exported, served."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gensim.models import Word2Vec
from gensim.test.utils import datapath

from modelry.domain.datasets import Column, ColumnType, Schema
from modelry.domain.errors import Cancelled, Conflict, DataDamaged, InvalidInput, RowsInvalid
from modelry.metrics.embeddings import nearest, unit
from modelry.testing.datasets import MemoryRows, rows_of
from modelry.testing.training import MemoryRun
from modelry.training.contract import Trained
from modelry.training.inputs import graph_of
from modelry.training.parity import Exported
from modelry.training.recipes.word_embeddings import (
    WordEmbeddingParameters,
    WordEmbeddings,
    serving,
)
from modelry.training.recipes.word_embeddings.corpus import Corpus, Sentences, read
from modelry.training.recipes.word_embeddings.training import learn

SCHEMA = Schema((Column("text", ColumnType.TEXT),))
TEXTS = Path(datapath("lee_background.cor")).read_text("utf-8").splitlines()
PARAMETERS = WordEmbeddingParameters(
    dimensions=32, epochs=8, min_count=5, learning_rate=0.05, show=("israeli", "nowhere-in-it")
)


@pytest.fixture(scope="module")
def data() -> MemoryRows:
    questions = ["man men woman women", "he his she her", "unheard unseen unknown untold"]
    return rows_of(SCHEMA, {"train": {"text": TEXTS}, "analogies": {"text": questions}})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> MemoryRun:
    return MemoryRun(tmp_path_factory.mktemp("words"), seed=3)


@pytest.fixture(scope="module")
def trained(data: MemoryRows, run: MemoryRun) -> Trained:
    return WordEmbeddings().train(data, PARAMETERS, run)


@pytest.fixture(scope="module")
def corpus(data: MemoryRows, run: MemoryRun) -> Corpus:
    return read(data, "train", "text", PARAMETERS, run)


@pytest.fixture(scope="module")
def embed(trained: Trained) -> Any:
    """Asks the exported version through its processing graph."""
    graph = graph_of(serving.TASK, trained.manifest["pre"], trained.manifest["post"],
                     serving.signature(32), files=dict(trained.files))  # fmt: skip
    session = Exported(trained.files["model"])

    def ask(*texts: str) -> Any:
        inputs, context = graph.before([{"text": text} for text in texts])
        return graph.after({"embedding": session(inputs)["embedding"]}, context)

    return ask


def test_the_loss_falls(trained: Trained, run: MemoryRun) -> None:
    losses = [values["loss"] for values in run.curves.values()]
    assert len(losses) == PARAMETERS.epochs
    assert losses[-1] < losses[0] - 0.3 < 6 * np.log(2)  # what vectors of zeros have
    assert trained.metrics["loss"] == losses[-1]


def test_words_of_the_same_matter_lie_close(trained: Trained) -> None:
    near = json.loads(trained.kept["neighbours.json"].read_text())
    words = {word for word, _ in near["israeli"]}
    assert words & {"palestinian", "palestinians", "gaza", "arafat", "israel", "militants", "hamas"}
    assert near["nowhere-in-it"] is None


def test_analogies_with_unknown_words_are_left_out(trained: Trained, run: MemoryRun) -> None:
    assert trained.metrics["analogies"] == 2
    assert 0 <= trained.metrics["analogy_accuracy"] <= 1
    assert "2 of 3 analogies have only words with vectors" in run.lines


def test_the_exported_model_answers_as_the_trained_one(trained: Trained) -> None:
    assert trained.parity.is_met
    assert trained.parity.rows == len(set(TEXTS))
    assert trained.parity.max_abs < 1e-6


def test_a_served_text_is_the_mean_of_its_words(embed: Any) -> None:
    whole, twice, unknown, *words = embed(
        "The Prime Minister, said!", "the the prime minister SAID said", "qwertz the minister",
        "the", "prime", "minister", "said",
    )  # fmt: skip
    mean = np.mean(words, axis=0)
    assert np.allclose(whole, mean / np.linalg.norm(mean), atol=1e-6)
    assert not np.allclose(whole, twice, atol=1e-2)
    pair = np.mean([words[0], words[2]], axis=0)
    assert np.allclose(unknown, pair / np.linalg.norm(pair), atol=1e-6)


def test_texts_of_unknown_words_alone_have_no_direction(embed: Any) -> None:
    assert not embed("qwertz asdfgh").any()
    with pytest.raises(InvalidInput, match="'text' is empty"):
        embed("!!! ...")


def test_it_is_what_gensim_itself_learns_from_the_same_words(
    corpus: Corpus, run: MemoryRun
) -> None:
    """Its own call over all epochs, beside ours epoch by epoch: the same neighbours."""
    ours = learn(corpus, PARAMETERS, MemoryRun(run.scratch / "ours", seed=3), fingerprint="")
    sentences = list(Sentences(corpus, run.stop))
    theirs = Word2Vec(sentences, vector_size=32, sg=1, epochs=8, min_count=1, alpha=0.05,
                      workers=1, seed=3)  # fmt: skip
    places = theirs.wv.key_to_index
    other = unit(theirs.wv.vectors[[places[word] for word in corpus.vocabulary]])
    mine = unit(ours.vectors)
    asked = range(20, 220)
    shared = [
        len({at for at, _ in nearest(mine, word, 10)} & {at for at, _ in nearest(other, word, 10)})
        for word in asked
    ]
    assert np.mean(shared) > 4  # of 10, of about 1,750 words: two seeds of gensim share as many


def test_a_run_that_was_stopped_ends_in_the_same_vectors(
    data: MemoryRows, trained: Trained, tmp_path: Path
) -> None:
    stopped = MemoryRun(tmp_path / "stopped", seed=3, stop_after=3)
    with pytest.raises(Cancelled):
        WordEmbeddings().train(data, PARAMETERS, stopped)
    again = MemoryRun(tmp_path / "again", seed=3, checkpoint=stopped.checkpoint())
    resumed = WordEmbeddings().train(data, PARAMETERS, again)
    assert any(line.startswith("going on after epoch 3") for line in again.lines)
    assert resumed.weights_digest == trained.weights_digest


def test_a_checkpoint_of_another_run_or_none_at_all_is_refused(
    corpus: Corpus, tmp_path: Path
) -> None:
    short = PARAMETERS.model_copy(update={"epochs": 1})
    run = MemoryRun(tmp_path / "first", seed=1)
    learn(corpus, short, run, fingerprint="a")
    other = MemoryRun(tmp_path / "other", seed=2, checkpoint=run.checkpoint())
    with pytest.raises(Conflict, match="other data, parameters or seed"):
        learn(corpus, short, other, fingerprint="a")
    broken = tmp_path / "broken"
    broken.write_bytes(b"PK no archive")
    with pytest.raises(DataDamaged, match="cannot be read"):
        learn(corpus, short, MemoryRun(tmp_path / "b", checkpoint=broken), fingerprint="a")


@pytest.mark.parametrize(
    ("texts", "parameters", "reason"),
    [
        (["one two three"], {}, "3 words were read, 3 of them different, and 0 are"),
        (["", "..."], {}, "0 words were read"),
        (["a b " * 140_000], {"memory_mb": 1}, "more than 262144 words"),
    ],
)
def test_too_few_words_and_too_many_are_refused(
    texts: list[str], parameters: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match=reason):
        read(rows_of(SCHEMA, {"train": {"text": texts}}), "train", "text",
             WordEmbeddingParameters(**parameters), MemoryRun(tmp_path))  # fmt: skip


def test_analogies_that_are_not_four_words_are_refused_by_row(tmp_path: Path) -> None:
    rows = rows_of(SCHEMA, {"train": {"text": TEXTS[:50]},
                            "analogies": {"text": ["a b c d", "a b c"]}})  # fmt: skip
    with pytest.raises(RowsInvalid, match="Row 2 of split 'analogies' has 3 words"):
        WordEmbeddings().train(rows, PARAMETERS, MemoryRun(tmp_path))


def test_words_have_apostrophes_and_hyphens_and_case_only_when_asked(tmp_path: Path) -> None:
    texts = {"text": ["Don't touch the well-known \u0130stanbul naïve_word 42, don\u2019t! ''"]}
    keep = WordEmbeddingParameters(min_count=1, lowercase=False)
    found = read(rows_of(SCHEMA, {"train": texts}), "train", "text", keep, MemoryRun(tmp_path))
    assert list(found.vocabulary) == ["Don't", "touch", "the", "well-known", "\u0130stanbul",
                                      "naïve_word", "42", "don\u2019t"]  # fmt: skip


def test_long_texts_are_learnt_from_in_parts() -> None:
    numbers = np.zeros(25_000, np.int32)
    long = Corpus(["a"], np.array([25_000]), numbers, np.array([25_000]))
    assert [len(part) for part in long.texts()] == [10_000, 10_000, 5_000]
