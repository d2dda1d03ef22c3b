"""`make bench-words`: the recipe `word-embeddings` beside gensim's own run and the same in torch.

All three learn from the same words with the same settings, one thread each, one after the other.
The torch one takes a batch of pairs a step, with gradients of the rows that it touched only: what
skip-gram in a framework comes to. Analogies are Google's, as far as all four words have vectors;
word similarity is WordSim-353 (both come with gensim).

    python -m benchmarks.word_embeddings [TEXT] [--words 1000000] [--epochs 5]

TEXT is a plain file, or a gzip; by default the dictionary of the Debian package `dict-gcide`.
"""

from __future__ import annotations

import argparse
import gzip
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from gensim.models import Word2Vec
from gensim.test.utils import datapath

from benchmarks import machine, training_data
from modelry.domain.datasets import Column, ColumnType, Schema
from modelry.metrics.embeddings import analogy_accuracy, nearest, unit
from modelry.testing.datasets import rows_of
from modelry.testing.training import MemoryRun
from modelry.training.recipes.word_embeddings import WordEmbeddingParameters
from modelry.training.recipes.word_embeddings.corpus import Corpus, Sentences, read
from modelry.training.recipes.word_embeddings.training import learn

SCHEMA = Schema((Column("text", ColumnType.TEXT),))
BATCH = 4096
ASKED = range(100, 600)


def corpus_of(
    file: Path, words: int, parameters: WordEmbeddingParameters, run: MemoryRun
) -> Corpus:
    """The first so many words of a file, a paragraph a text."""
    raw = file.read_bytes()
    text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8", "replace")
    texts, count = [], 0
    for part in text.split("\n\n"):
        texts.append(" ".join(part.split()))
        count += len(texts[-1].split())
        if count >= words:
            break
    return read(rows_of(SCHEMA, {"train": {"text": texts}}), "train", "text", parameters, run)


def ours(corpus: Corpus, parameters: WordEmbeddingParameters, run: MemoryRun) -> np.ndarray:
    """The recipe's vectors."""
    return learn(corpus, parameters, run, fingerprint="").vectors


def gensims(corpus: Corpus, parameters: WordEmbeddingParameters, run: MemoryRun) -> np.ndarray:
    """Gensim's, in one call."""
    model = Word2Vec(
        Sentences(corpus, run.stop),
        vector_size=parameters.dimensions, window=parameters.window, sg=1,
        negative=parameters.negatives, sample=parameters.subsampling, min_count=1, workers=1,
        epochs=parameters.epochs, alpha=parameters.learning_rate, seed=run.seed,
    )  # fmt: skip
    rows = model.wv.key_to_index
    vectors: np.ndarray = model.wv.vectors[[rows[word] for word in corpus.vocabulary]]
    return vectors


def torchs(corpus: Corpus, parameters: WordEmbeddingParameters, run: MemoryRun) -> np.ndarray:
    """The same objective in torch: batches of pairs, Adam on the rows that were touched."""
    torch.manual_seed(run.seed)
    random = np.random.default_rng(run.seed)
    size, width = len(corpus.vocabulary), parameters.dimensions
    centres = torch.nn.Embedding(size, width, sparse=True)
    others = torch.nn.Embedding(size, width, sparse=True)
    torch.nn.init.uniform_(centres.weight, -0.5 / width, 0.5 / width)
    torch.nn.init.zeros_(others.weight)
    optimiser = torch.optim.SparseAdam([centres.weight, others.weight], lr=2e-3)
    weights = torch.from_numpy(corpus.counts**0.75)
    for _ in range(parameters.epochs):
        for inner, outer in _pairs(corpus, parameters, random):
            strangers = torch.multinomial(
                weights, len(inner) * parameters.negatives, replacement=True
            ).view(len(inner), -1)
            middle = centres(inner)[:, :, None]
            together = (others(outer)[:, None] @ middle)[:, 0, 0]
            apart = (others(strangers) @ middle)[:, :, 0]
            loss = -torch.nn.functional.logsigmoid(together).sum()
            loss = loss - torch.nn.functional.logsigmoid(-apart).sum()
            optimiser.zero_grad()
            (loss / len(inner)).backward()
            optimiser.step()
    return centres.weight.detach().numpy()


def _pairs(
    corpus: Corpus, parameters: WordEmbeddingParameters, random: np.random.Generator
) -> Iterator[tuple[torch.Tensor, ...]]:
    """All pairs of an epoch after subsampling, mixed within chunks of text."""
    share = corpus.counts / (parameters.subsampling * corpus.counts.sum())
    kept = np.minimum(1, np.sqrt(1 / share) + 1 / share)
    for numbers in np.array_split(corpus.numbers, max(1, len(corpus.numbers) // 200_000)):
        words = numbers[random.random(len(numbers)) < kept[numbers]].astype(np.int64)
        reach = random.integers(1, parameters.window + 1, len(words))
        found = []
        for away in range(1, parameters.window + 1):
            near = reach[:-away] >= away
            found.append(np.stack([words[:-away][near], words[away:][near]]))
            near = reach[away:] >= away
            found.append(np.stack([words[away:][near], words[:-away][near]]))
        pairs = np.concatenate(found, axis=1)
        mixed = torch.from_numpy(pairs[:, random.permutation(pairs.shape[1])])
        yield from zip(*(side.split(BATCH) for side in mixed), strict=True)


def questions_of(corpus: Corpus) -> np.ndarray:
    """Google's analogies whose words all have vectors."""
    places = corpus.places
    lines = Path(datapath("questions-words.txt")).read_text().lower().splitlines()
    asked = [line.split() for line in lines if not line.startswith(":")]
    known = [[places[word] for word in line] for line in asked if all(w in places for w in line)]
    return np.array(known, dtype=np.int64).reshape(-1, 4)


def similarity(corpus: Corpus, vectors: np.ndarray) -> tuple[float, int]:
    """Spearman's correlation with people's judgement, and of how many pairs."""
    places = corpus.places
    lines = Path(datapath("wordsim353.tsv")).read_text().lower().splitlines()
    pairs = [line.split("\t") for line in lines if line and not line.startswith("#")]
    known = [(a, b, float(score)) for a, b, score in pairs if a in places and b in places]
    told = [vectors[places[a]] @ vectors[places[b]] for a, b, _ in known]
    ranks = [np.argsort(np.argsort(one)) for one in (told, [score for *_, score in known])]
    alike: np.ndarray = np.atleast_2d(np.corrcoef(np.array(ranks, np.float64)))
    return float(alike[0, 1]), len(known)


def shared(corpus: Corpus, one: np.ndarray, other: np.ndarray) -> float:
    """How many of the ten nearest words are the same, of frequent words, on average."""
    words = [at for at in ASKED if at < len(corpus.vocabulary)]
    both = [
        {at for at, _ in nearest(one, word, 10)} & {at for at, _ in nearest(other, word, 10)}
        for word in words
    ]
    return float(np.mean([len(each) for each in both]))


Learner = Callable[[Corpus, WordEmbeddingParameters, MemoryRun], np.ndarray]
LEARNERS: dict[str, Learner] = {"recipe": ours, "gensim": gensims, "torch": torchs}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("text", type=Path, nargs="?")
    parser.add_argument("--words", type=int, default=1_000_000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--dimensions", type=int, default=100)
    given = parser.parse_args()
    given.text = given.text or training_data.dictionary()
    torch.set_num_threads(1)
    parameters = WordEmbeddingParameters(epochs=given.epochs, dimensions=given.dimensions)
    with tempfile.TemporaryDirectory() as folder:
        run = MemoryRun(Path(folder), seed=1)
        corpus = corpus_of(given.text, given.words, parameters, run)
        questions = questions_of(corpus)
        rows, made = [], {}
        for name, learner in LEARNERS.items():
            began = time.process_time()
            made[name] = unit(learner(corpus, parameters, MemoryRun(Path(folder) / name, seed=1)))
            seconds = time.process_time() - began
            close, pairs = similarity(corpus, made[name])
            rows.append([
                name,
                f"{given.epochs * len(corpus.numbers) / seconds:,.0f}",
                f"{100 * (analogy_accuracy(made[name], questions) or 0):.1f} %",
                f"{close:.3f}",
                f"{shared(corpus, made[name], made['gensim']):.1f}" if "gensim" in made else "",
            ])  # fmt: skip
            print(*rows[-1], sep="\t", flush=True)
    rows[0][-1] = f"{shared(corpus, made['recipe'], made['gensim']):.1f}"
    head = ["learnt by", "words/s of CPU time", "analogies solved", "similarity",
            "of 10 neighbours as gensim"]  # fmt: skip
    machine.write(
        "word-embeddings",
        "Word embeddings",
        [
            *machine.describe(["modelry", "gensim", "torch", "numpy"]),
            f"- {len(corpus.numbers):,} words of {given.text.name}",
            f"- {len(corpus.vocabulary):,} different ones; {parameters.model_dump_json()}",
            f"- {len(questions)} analogies, {pairs} pairs of words; one thread each",
            "",
            *machine.table(head, rows),
        ],
    )


if __name__ == "__main__":
    main()
