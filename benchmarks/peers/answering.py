"""What explaining peers share: questions on stdin, answers on stdout, a model on onnxruntime.

Runs in the peers' environments, which have no Modelry.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from itertools import compress, pairwise
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

NOTHING = "."

Question = Mapping[str, Any]
Arrays = Mapping[str, np.ndarray]
Answer = Mapping[str, Any]


class Model:
    """Gives the score that is explained, as the version's own steps after the engine would."""

    def __init__(self, path: str, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self._session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        self.inputs = [one.name for one in self._session.get_inputs()]
        self.rows = 0

    def scores(self, feed: Arrays, question: Question) -> np.ndarray:
        """(n,) of the target."""
        count = len(next(iter(feed.values())))
        self.rows += count
        at_once = question.get("rows_at_once") or count
        found = [
            self._session.run(None, {name: each[at : at + at_once] for name, each in feed.items()})[
                0
            ]
            for at in range(0, count, at_once)
        ]
        scores = np.concatenate(found).reshape(count, -1)
        if question["softmax"]:
            powers = np.exp(scores - scores.max(axis=1, keepdims=True))
            scores = powers / powers.sum(axis=1, keepdims=True)
        return scores[:, question["target"]]

    def of_array(self, question: Question) -> Callable[[np.ndarray], np.ndarray]:
        """Scores of arrays that are the model's only input."""
        (name,) = self.inputs
        return lambda array: self.scores({name: np.asarray(array, np.float32)}, question)


class Texts:
    """Scores texts as the version does: its tokeniser, cut at its length."""

    def __init__(self, model: Model, question: Question) -> None:
        self._model = model
        self._question = question
        self._tokenizer = Tokenizer.from_file(question["tokenizer"])
        self._tokenizer.enable_truncation(question["max_length"])
        self._tokenizer.enable_padding()
        ends = [0, *(end for _, end in question["words"])]
        text = question["text"]
        self._pieces = [text[start:end] for start, end in pairwise(ends)]
        self._rest = text[ends[-1] :]

    def of_texts(self, texts: Any) -> np.ndarray:
        """Scores (n,) of texts."""
        encoded = self._tokenizer.encode_batch([str(one).strip() or NOTHING for one in texts])
        ids = np.array([one.ids for one in encoded], np.int64)
        mask = np.array([one.attention_mask for one in encoded], np.int64)
        return self._model.scores({"input_ids": ids, "attention_mask": mask}, self._question)

    def of_presences(self, presences: np.ndarray) -> np.ndarray:
        """Scores of the text with those of its words for which a row (n, words) has a 1."""
        return self.of_texts(
            ["".join(compress(self._pieces, one)) + self._rest for one in np.asarray(presences) > 0]
        )


def timed(model: Model, ask: Callable[[], np.ndarray]) -> Answer:
    """What comes out, the seconds that it took, and how many rows the model was asked for."""
    rows, began = model.rows, time.perf_counter()
    found = ask()
    seconds = time.perf_counter() - began
    weights = np.asarray(found, float).ravel().tolist()
    return {"weights": weights, "seconds": seconds, "rows": model.rows - rows}


def serve(answers: Mapping[str, Callable[[Model, Question, Arrays], Answer]]) -> None:
    """Answer questions until there are none."""
    threads = int(sys.argv[1])
    models: dict[str, Model] = {}
    # libraries print where they like: only answers go to the real stdout
    told = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        question = json.loads(line)
        path = question["model"]
        if path not in models:
            models[path] = Model(path, threads)
        model = models[path]
        with np.load(question["arrays"]) as arrays:
            answer = answers[question["what"]](model, question, dict(arrays))
        told.write(json.dumps(answer) + "\n")
        told.flush()
