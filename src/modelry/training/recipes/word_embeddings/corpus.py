"""Texts as numbers of words, all in memory, and the vocabulary that they come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelry.domain.errors import Cancelled, InvalidInput
from modelry.runtime_api.engine import StopSignal
from modelry.training.contract import Run, TrainingData
from modelry.training.recipes.word_embeddings import WordEmbeddingParameters
from modelry.training.recipes.word_embeddings.words import UNKNOWN, Cutter

READ_AT_ONCE = 1024
MAX_DISTINCT = 10_000_000
MAX_SENTENCE = 10_000
"""Words; gensim leaves out what is beyond, so longer texts are given to it in parts."""

Numbers = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Corpus:
    """Texts, of which only words of the vocabulary are left.

    Attributes:
        vocabulary: words, most frequent first; of equally frequent ones the first seen.
        counts: of each, how often it is in the texts.
        numbers: places in the vocabulary, one text after the other.
        ends: where in `numbers` each text ends.
    """

    vocabulary: Sequence[str]
    counts: npt.NDArray[np.int64]
    numbers: Numbers
    ends: npt.NDArray[np.int64]

    @property
    def places(self) -> Mapping[str, int]:
        """Where in the vocabulary each word is."""
        return {word: at for at, word in enumerate(self.vocabulary)}

    def texts(self) -> Iterator[Numbers]:
        """Each text, in parts where it is long."""
        start = 0
        for end in self.ends.tolist():
            for at in range(start, end, MAX_SENTENCE):
                yield self.numbers[at : min(at + MAX_SENTENCE, end)]
            start = end


class Sentences:
    """Texts as lists of words, for gensim; ends early, and says so, when the run is to end.

    Gensim reads in a thread of its own in which an exception would leave it waiting for ever.
    """

    def __init__(self, corpus: Corpus, stop: StopSignal) -> None:
        self._corpus, self._stop = corpus, stop
        self.count = sum(1 for _ in corpus.texts())

    def __iter__(self) -> Iterator[list[str]]:
        words = np.array(self._corpus.vocabulary, dtype=object)
        for numbers in self._corpus.texts():
            if self._stop.is_set():
                return
            yield words[numbers].tolist()


def read(
    data: TrainingData, split: str, column: str, parameters: WordEmbeddingParameters, run: Run
) -> Corpus:
    """Read all texts of a split.

    Raises:
        InvalidInput: there are too many words, or too few to learn from.
        Cancelled: the run was stopped.
    """
    limit = parameters.memory_mb * 2**20 // 4
    cutter = Cutter(lowercase=parameters.lowercase)
    known: dict[str, int] = {}
    parts: list[Numbers] = []
    lengths: list[int] = []
    total = 0
    for text in _texts(data, split, column, run):
        words = cutter.words(text)
        numbers = np.array([known.setdefault(word, len(known)) for word in words], dtype=np.int32)
        total += len(numbers)
        if total > limit or len(known) > MAX_DISTINCT:
            raise InvalidInput(
                f"Split '{split}' has more than {min(total, limit)} words, {len(known)} of them "
                f"different; 'memory_mb' allows {limit} words, {MAX_DISTINCT} of them different. "
                "Allow more memory, or derive a dataset with fewer rows.",
                param="memory_mb",
            )
        parts.append(numbers)
        lengths.append(len(numbers))
    return _with_vocabulary(list(known), parts, np.cumsum(lengths, dtype=np.int64), parameters)


def _texts(data: TrainingData, split: str, column: str, run: Run) -> Iterator[str]:
    done, count = 0, data.description.rows[split]
    for batch in data.batches(split, [column], READ_AT_ONCE):
        if run.stop.is_set():
            raise Cancelled(f"Training was stopped while '{split}' was read.")
        yield from batch.column(0).to_pylist()
        done += batch.num_rows
        run.progress(done, count, "rows", f"reading {split}")


def _with_vocabulary(
    seen: Sequence[str],
    parts: Sequence[Numbers],
    ends: npt.NDArray[np.int64],
    parameters: WordEmbeddingParameters,
) -> Corpus:
    numbers = np.concatenate(parts) if parts else np.empty(0, np.int32)
    counts = np.bincount(numbers, minlength=len(seen))
    order = np.argsort(-counts, kind="stable")
    kept = order[counts[order] >= parameters.min_count][: parameters.max_vocabulary]
    kept = np.array([at for at in kept.tolist() if seen[at] != UNKNOWN], dtype=np.int64)
    if len(kept) < 2:
        raise InvalidInput(
            f"{len(numbers)} words were read, {len(seen)} of them different, and {len(kept)} are "
            f"in the texts at least {parameters.min_count} times; expected two at least. Give more "
            "text, or a smaller 'min_count'.",
            param="min_count",
        )
    renumbered = np.full(len(seen), -1, dtype=np.int32)
    renumbered[kept] = np.arange(len(kept), dtype=np.int32)
    told = renumbered[numbers]
    is_kept = told >= 0
    places = np.concatenate([[0], np.cumsum(is_kept)])
    return Corpus([seen[at] for at in kept.tolist()], counts[kept], told[is_kept], places[ends])
