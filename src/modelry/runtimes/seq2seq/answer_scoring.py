"""Scores given answers beside the step loop, a few texts at a time, with rests for others."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from modelry.domain.errors import Cancelled, ModelryError
from modelry.processing.sequences.forced import forced_scores
from modelry.processing.sequences.graphs import SequenceGraphs
from modelry.processing.text_encoder import TextEncoder
from modelry.runtime_api.answer_scores import GivenAnswer
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.tensors import Array
from modelry.runtimes.seq2seq.step_loop import StepLoop, told

ROWS_AT_ONCE = 32
TOKENS_AT_ONCE = 4096
"""Source tokens of a batch, fillings included: it bounds the memory of attention."""
LONGEST_REST_S = 0.05


class AnswerScorer:
    """Scores answers.

    Args:
        graphs: run the model.
        encoder: its tokenizer.
        loop: steps the searches of others; scores rest while it does.
    """

    def __init__(self, graphs: SequenceGraphs, encoder: TextEncoder, loop: StepLoop) -> None:
        self._graphs = graphs
        self._encoder = encoder
        self._loop = loop

    def answer_of(self, tokens: Sequence[int]) -> GivenAnswer:
        """An answer with the places of its tokens, each of which adds to the text before it."""

        def read(count: int) -> str:
            decode = self._encoder.tokenizer.decode
            return str(decode(list(tokens[:count]), skip_special_tokens=True))

        whole = read(len(tokens))
        text = whole.strip()
        before = len(whole) - len(whole.lstrip())
        lengths = [len(read(count)) - before for count in range(len(tokens) + 1)]
        ends = np.maximum.accumulate(np.clip(lengths, 0, len(text))).tolist()
        return GivenAnswer(text, tuple(tokens), tuple(pairwise(ends)))

    def score(self, rows: Sequence[Sequence[int]], answer: GivenAnswer, stop: StopSignal) -> Array:
        """(rows, tokens) log-probabilities; texts of about the same length run together.

        Raises:
            Cancelled: `stop` was raised.
            ModelFailed: the engine broke.
        """
        found = np.empty((len(rows), len(answer.tokens)))
        began = time.monotonic()

        def after_step() -> None:
            nonlocal began
            if stop.is_set():
                raise Cancelled("The explanation was stopped because its caller went away.")
            if self._loop.is_busy:
                time.sleep(min(LONGEST_REST_S, time.monotonic() - began))
            began = time.monotonic()

        for part in _batches(rows):
            try:
                sources = [rows[at] for at in part]
                found[part] = forced_scores(self._graphs, sources, answer.tokens, after_step)
            except ModelryError:
                raise
            except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no base class
                raise told(error) from None
        return found


def _batches(rows: Sequence[Sequence[int]]) -> list[list[int]]:
    """Places of rows that run together, from the longest on."""
    batches: list[list[int]] = []
    width = 0
    for at in sorted(range(len(rows)), key=lambda one: -len(rows[one])):
        is_full = not batches or len(batches[-1]) == ROWS_AT_ONCE
        if is_full or (len(batches[-1]) + 1) * width > TOKENS_AT_ONCE:
            batches.append([])
            width = len(rows[at])
        batches[-1].append(at)
    return batches
