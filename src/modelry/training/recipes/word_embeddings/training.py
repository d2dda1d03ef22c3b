"""From rows of text to a version that embeds texts by their words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from modelry.domain.errors import Cancelled, RowsInvalid
from modelry.metrics.embeddings import analogy_accuracy, nearest, unit
from modelry.training.contract import Parity, Run, Trained, TrainingData
from modelry.training.inputs import graph_of
from modelry.training.parity import ROWS, Exported, Tensors, compare
from modelry.training.recipes.word_embeddings import (
    WordEmbeddingParameters,
    chosen_column,
    chosen_split,
    serving,
)
from modelry.training.recipes.word_embeddings.corpus import READ_AT_ONCE, Corpus, Sentences, read
from modelry.training.recipes.word_embeddings.skip_gram import SkipGram
from modelry.training.recipes.word_embeddings.words import Cutter

NEIGHBOURS = 10
MODEL_FILE, TOKENIZER_FILE, NEIGHBOURS_FILE = "model.onnx", "tokenizer.json", "neighbours.json"

Floats = npt.NDArray[np.float32]


def train(data: TrainingData, parameters: WordEmbeddingParameters, run: Run) -> Trained:
    """See `Recipe.train`."""
    column = chosen_column(data.description, parameters).name
    split = chosen_split(data.description, parameters)
    corpus = read(data, split, column, parameters, run)
    run.log(
        f"{len(corpus.numbers)} words in {len(corpus.ends)} texts, "
        f"{len(corpus.vocabulary)} of them different"
    )
    questions = _questions(data, column, corpus, parameters, run)
    model = learn(corpus, parameters, run, fingerprint=f"{data.description.digest} {column}")
    vectors = unit(model.vectors)
    metrics = {"loss": model.loss(), "vocabulary": float(len(corpus.vocabulary))}
    solved = analogy_accuracy(vectors, questions)
    if solved is not None:
        metrics |= {"analogy_accuracy": solved, "analogies": float(len(questions))}
    batch = next(iter(data.batches(split, [column], ROWS)))
    version = _Version(corpus, vectors, corpus.places, parameters, run.scratch)
    run.progress(0, None, "epochs", "exporting")
    return version.written(metrics, batch.column(0).to_pylist(), run)


def learn(
    corpus: Corpus, parameters: WordEmbeddingParameters, run: Run, *, fingerprint: str
) -> SkipGram:
    """All epochs; goes on after the last one that `run` kept.

    Raises:
        Cancelled: `run.stop` was raised; what was learnt since the last epoch is lost.
    """
    given = parameters.model_dump_json(exclude={"show", "threads", "memory_mb"})
    mark = hashlib.sha256(f"{fingerprint} {run.seed} {given}".encode()).hexdigest()
    model = SkipGram(corpus, parameters, run.seed)
    kept = run.checkpoint()
    if kept is not None:
        model.restore(kept, mark)
        run.log(f"going on after epoch {model.epochs_done} of {parameters.epochs}")
    sentences = Sentences(corpus, run.stop)
    while model.epochs_done < parameters.epochs:
        run.progress(model.epochs_done, parameters.epochs, "epochs", "training")
        model.learn_epoch(sentences)
        if run.stop.is_set():
            raise Cancelled(f"Training was stopped in epoch {model.epochs_done}.")
        loss = model.loss()
        run.metrics(model.epochs_done, {"epoch": float(model.epochs_done), "loss": loss})
        run.log(f"epoch {model.epochs_done} of {parameters.epochs}: loss {loss:.4f}")
        file = run.scratch / "checkpoint.npz"
        model.save(file, mark)
        run.save_checkpoint(model.epochs_done, file)
        file.unlink()
    run.progress(parameters.epochs, parameters.epochs, "epochs", "training")
    return model


def _questions(
    data: TrainingData,
    column: str,
    corpus: Corpus,
    parameters: WordEmbeddingParameters,
    run: Run,
) -> npt.NDArray[np.int64]:
    """Analogies (q, 4) whose words all have vectors.

    Raises:
        RowsInvalid: a row is not four words.
    """
    split = parameters.analogy_split
    if not data.description.rows.get(split):
        return np.empty((0, 4), np.int64)
    cutter = Cutter(lowercase=parameters.lowercase)
    places = corpus.places
    asked = []
    row = 0
    for batch in data.batches(split, [column], READ_AT_ONCE):
        for text in batch.column(0).to_pylist():
            row += 1
            words = cutter.words(text)
            if len(words) != 4:
                raise RowsInvalid(
                    f"Row {row} of split '{split}' has {len(words)} words; an analogy has four, "
                    "such as 'man king woman queen'.",
                    param="analogy_split",
                )
            asked.append([places.get(word, -1) for word in words])
    found = np.array(asked, dtype=np.int64).reshape(-1, 4)
    known = found[(found >= 0).all(axis=1)]
    run.log(f"{len(known)} of {len(found)} analogies have only words with vectors")
    return known


@dataclass(frozen=True, slots=True)
class _Version:
    """What was learnt, on its way into files."""

    corpus: Corpus
    vectors: Floats
    places: Mapping[str, int]
    parameters: WordEmbeddingParameters
    folder: Path

    def written(self, metrics: Mapping[str, float], texts: Sequence[str], run: Run) -> Trained:
        """Write all files; some real texts show that they answer as they should."""
        nothing = np.zeros((1, self.vectors.shape[1]), np.float32)
        files = {
            "model": self.folder / MODEL_FILE,
            serving.TOKENIZER_ROLE: self.folder / TOKENIZER_FILE,
        }
        serving.write_model(np.concatenate([nothing, self.vectors]), files["model"])
        cutter = Cutter(lowercase=self.parameters.lowercase)
        cutter.save(self.corpus.vocabulary, files[serving.TOKENIZER_ROLE])
        return Trained(
            manifest={
                "task": serving.TASK,
                "files": {role: file.name for role, file in files.items()},
                "pre": serving.pre(),
                "post": serving.post(),
            },
            files=files,
            metrics=metrics,
            parity=self._parity(files, texts),
            weights_digest=_digest(self.corpus, self.vectors),
            kept=_neighbours(self.corpus, self.vectors, self.parameters, run),
        )

    def _parity(self, files: Mapping[str, Path], texts: Sequence[str]) -> Parity:
        """The files' answers beside means of the words' vectors that are taken here."""
        signature = serving.signature(self.vectors.shape[1])
        graph = graph_of(serving.TASK, serving.pre(), serving.post(), signature, files=files)
        exported = Exported(files["model"])
        exported.check(signature)
        cutter = Cutter(lowercase=self.parameters.lowercase)
        cut = {text: cutter.words(text) for text in texts}
        used = [text for text, words in cut.items() if 0 < len(words) <= serving.MAX_WORDS]
        rows, _ = graph.before([{"text": text} for text in used])
        means = iter([self._mean(cut[text]) for text in used])

        def trained(part: Tensors) -> Tensors:  # asked for all rows in order
            return {serving.OUTPUT: np.stack([next(means) for _ in part[serving.IDS]])}

        return compare(exported, trained, rows)

    def _mean(self, words: Sequence[str]) -> Floats:
        places = self.places
        known = [self.vectors[places[word]] for word in words if word in places]
        total = np.sum(known, axis=0) if known else np.zeros(self.vectors.shape[1])
        mean: Floats = (total / len(words)).astype(np.float32)
        return mean


def _digest(corpus: Corpus, vectors: Floats) -> str:
    found = hashlib.sha256(json.dumps(list(corpus.vocabulary)).encode())
    found.update(np.ascontiguousarray(vectors).tobytes())
    return f"sha256:{found.hexdigest()}"


def _neighbours(
    corpus: Corpus, vectors: Floats, parameters: WordEmbeddingParameters, run: Run
) -> dict[str, Path]:
    """A file with the nearest words of those that were asked for."""
    if not parameters.show:
        return {}
    places = corpus.places
    told: dict[str, Any] = {}
    for word in parameters.show:
        if word not in places:
            told[word] = None
            continue
        found = nearest(vectors, places[word], NEIGHBOURS)
        told[word] = [[corpus.vocabulary[at], round(cosine, 4)] for at, cosine in found]
        near = ", ".join(corpus.vocabulary[at] for at, _ in found)
        run.log(f"nearest to '{word}': {near}")
    file = run.scratch / NEIGHBOURS_FILE
    file.write_text(json.dumps(told, ensure_ascii=False, indent=1))
    return {NEIGHBOURS_FILE: file}
