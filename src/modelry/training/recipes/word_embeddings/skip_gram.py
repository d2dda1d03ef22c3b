"""Skip-gram with negative sampling, by gensim, one epoch at a time.

Gensim's loops are C without the interpreter's lock; `benchmarks/word_embeddings.py` measures them
beside the same in torch. After each epoch all that goes on is in two tables and a random state, so
a run that was stopped ends in the same vectors as one that was not, with one thread.
Source: Mikolov et al., "Distributed Representations of Words and Phrases and their
Compositionality", 2013.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gensim.models import Word2Vec

from modelry.domain.errors import Conflict, DataDamaged, TrainingDiverged
from modelry.training.recipes.word_embeddings import WordEmbeddingParameters
from modelry.training.recipes.word_embeddings.corpus import Corpus, Sentences

LEAST_RATE = 1e-4
MEASURED_PAIRS = 20_000

Floats = npt.NDArray[np.float32]


class SkipGram:
    """A model that is trained epoch by epoch.

    Args:
        corpus: what it learns from; gives the vocabulary.
        parameters: of the recipe.
        seed: of all randomness.
    """

    def __init__(self, corpus: Corpus, parameters: WordEmbeddingParameters, seed: int) -> None:
        self._corpus, self._parameters = corpus, parameters
        self._model = Word2Vec(
            vector_size=parameters.dimensions,
            window=parameters.window,
            negative=parameters.negatives,
            sample=parameters.subsampling,
            min_count=1,
            sg=1,
            hs=0,
            seed=seed % 2**32,
            workers=parameters.threads,
            alpha=parameters.learning_rate,
            min_alpha=LEAST_RATE,
        )
        counts = dict(zip(corpus.vocabulary, corpus.counts.tolist(), strict=True))
        self._model.build_vocab_from_freq(counts, corpus_count=len(corpus.ends))
        rows = self._model.wv.key_to_index  # gensim orders equally frequent words otherwise
        self._rows = np.array([rows[word] for word in corpus.vocabulary], dtype=np.int64)
        self._pairs = [self._rows[one] for one in _sampled_pairs(corpus, parameters, seed)]
        self.epochs_done = 0

    @property
    def vectors(self) -> Floats:
        """(v, d), in the order of the corpus' vocabulary."""
        found: Floats = self._model.wv.vectors[self._rows]
        return found

    @property
    def model(self) -> Any:
        """Gensim's own."""
        return self._model

    def learn_epoch(self, sentences: Sentences) -> None:
        """See every text once; the rate falls as if all epochs were one run.

        Raises:
            TrainingDiverged: a vector is no number any more.
        """
        rate, epochs = self._parameters.learning_rate, self._parameters.epochs
        fall = (rate - LEAST_RATE) / epochs
        self._model.train(
            sentences,
            total_examples=sentences.count,
            epochs=1,
            start_alpha=rate - fall * self.epochs_done,
            end_alpha=rate - fall * (self.epochs_done + 1),
        )
        self.epochs_done += 1
        if not np.isfinite(self._model.wv.vectors).all():
            raise TrainingDiverged(
                f"Training diverged: after epoch {self.epochs_done} a vector is no number. Choose "
                f"a smaller 'learning_rate' than {rate:g}."
            )

    def loss(self) -> float:
        """Mean loss of some pairs of the texts and of random ones, always the same."""
        centres, others, strangers = self._pairs
        inputs, outputs = self._model.wv.vectors[centres], self._model.syn1neg
        together = np.einsum("pd,pd->p", inputs, outputs[others])
        apart = np.einsum("pd,pkd->pk", inputs, outputs[strangers])
        losses = np.logaddexp(0, -together) + np.logaddexp(0, apart).sum(axis=1)
        return float(losses.mean())

    def save(self, file: Path, fingerprint: str) -> None:
        """Write where it is."""
        _, keys, place, *_ = self._model.random.get_state()
        np.savez(
            file,
            fingerprint=np.array(fingerprint),
            epochs_done=np.array(self.epochs_done),
            vectors=self._model.wv.vectors,
            outputs=self._model.syn1neg,
            keys=keys,
            place=np.array(place),
        )

    def restore(self, file: Path, fingerprint: str) -> None:
        """Go on from what `save` wrote.

        Raises:
            DataDamaged: the file is none.
            Conflict: it is of a run with other data, parameters or seed.
        """
        try:
            with np.load(file, allow_pickle=False) as held:
                told = {name: held[name] for name in held.files}
            is_same = str(told["fingerprint"]) == fingerprint
            if is_same:
                self._model.wv.vectors[:] = told["vectors"]
                self._model.syn1neg[:] = told["outputs"]
                self._model.random.set_state(("MT19937", told["keys"], int(told["place"]), 0, 0.0))
                self.epochs_done = int(told["epochs_done"])
        except (OSError, ValueError, KeyError, EOFError):
            raise DataDamaged("The checkpoint cannot be read; start the job again.") from None
        if not is_same:
            raise Conflict(
                "The checkpoint is of a run with other data, parameters or seed; start a new job."
            )


def _sampled_pairs(
    corpus: Corpus, parameters: WordEmbeddingParameters, seed: int
) -> tuple[npt.NDArray[np.int64], ...]:
    """Words (p,), one near each (p,), and strangers (p, negatives) by how frequent they are.

    Frequent words are passed over as they are in learning.
    """
    random = np.random.default_rng(seed)
    starts = np.concatenate([[0], corpus.ends[:-1]])
    places = random.integers(len(corpus.numbers), size=MEASURED_PAIRS)
    closeness = np.arange(parameters.window, 0, -1)  # windows are narrowed at random in learning
    away = 1 + random.choice(parameters.window, MEASURED_PAIRS, p=closeness / closeness.sum())
    near = places + away * random.choice([-1, 1], MEASURED_PAIRS)
    text = np.searchsorted(corpus.ends, places, side="right")
    is_inside = (near >= starts[text]) & (near < corpus.ends[text])
    places, near = places[is_inside], near[is_inside]
    if parameters.subsampling:
        common = corpus.counts / (parameters.subsampling * corpus.counts.sum())
        kept = np.minimum(1, np.sqrt(1 / common) + 1 / common)
        chance = kept[corpus.numbers[places]] * kept[corpus.numbers[near]]
        is_kept = random.random(len(places)) < chance
        places, near = places[is_kept], near[is_kept]
    weights = corpus.counts**0.75
    strangers = random.choice(
        len(weights), (len(places), parameters.negatives), p=weights / weights.sum()
    )
    return corpus.numbers[places].astype(np.int64), corpus.numbers[near].astype(np.int64), strangers
