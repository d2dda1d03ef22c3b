"""Asks the engine for the target's score of perturbed inputs: each one once, in small batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from modelry.domain.errors import Cancelled, ModelFailed
from modelry.explaining.contract import Method, Parts
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.tensors import Array
from modelry.tasks.prediction import Predictor, Prepared

SLICE_S = 0.002
"""How long a batch may take, about: a request that comes meanwhile waits so long for it."""
MADE_AT_ONCE_BYTES = 2**24
"""Of perturbed inputs that are made at once, about, as 64-bit numbers."""

Run = Callable[[Mapping[str, Array], int], Mapping[str, Array]]
"""Runs rows through the engine, behind whatever else waits for it."""
MoreMethods = Callable[[str, Prepared, int], Mapping[str, Method]]
"""Methods for a kind of input, the item as it was prepared, and the index of the target."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is explained, and how to ask about it.

    Args:
        item: as the task describes it.
        options: of the prediction.
        predictor: the version's processing.
        run: runs the engine.
        rows_at_once: rows that it takes in one run.
        columns: the columns of a version for tables, in its order.
        more: methods beside those that ask the engine alone.
        slice_s: how long a run may take, about.
    """

    item: Mapping[str, Any]
    options: Mapping[str, Any]
    predictor: Predictor
    run: Run
    rows_at_once: int
    columns: Sequence[str] = ()
    more: MoreMethods | None = None
    slice_s: float = SLICE_S


class Asking:
    """Gives scores of one target, and counts what that took.

    Args:
        subject: what is explained.
        prepared: its item, prepared; perturbed ones are of its kind.
        index: of the target's class or output.
        stop: ends the asking.
    """

    def __init__(self, subject: Subject, prepared: Prepared, index: int, stop: StopSignal) -> None:
        self.calls = 0
        self._subject = subject
        self._prepared = prepared
        self._rows = 1
        self._index = index
        self._stop = stop

    def scores(self, parts: Parts, presences: Array) -> Array:
        """The target's score for each of the presences (n, parts): (n,), or (n, targets)."""
        unique, inverse = np.unique(presences, axis=0, return_inverse=True)
        at_once = self._at_once(parts)
        blocks = [unique[start : start + at_once] for start in range(0, len(unique), at_once)]
        found = [self._of_block(parts, block) for block in blocks]
        scores: Array = np.concatenate(found)[inverse.reshape(-1)]
        return scores

    def _of_block(self, parts: Parts, presences: Array) -> Array:
        found = self._of_inputs(parts.inputs(presences))
        mean: Array = found.reshape(len(presences), -1, *found.shape[1:]).mean(axis=1)
        return mean

    def _at_once(self, parts: Parts) -> int:
        numbers = sum(array.size for array in self._prepared.inputs.values())
        return max(1, MADE_AT_ONCE_BYTES // (8 * max(1, numbers) * parts.repeats))

    def _of_inputs(self, inputs: Mapping[str, Array]) -> Array:
        total = len(next(iter(inputs.values())))
        found: list[Array] = []
        start = 0
        while start < total:
            if self._stop.is_set():
                raise Cancelled("The explanation was stopped because its caller went away.")
            end = min(total, start + self._rows)
            began = time.perf_counter()
            found.append(self._of_rows({name: one[start:end] for name, one in inputs.items()}))
            self._adapt(time.perf_counter() - began)
            start = end
        self.calls += total
        return np.concatenate(found)

    def _adapt(self, taken_s: float) -> None:
        slice_s = self._subject.slice_s
        if taken_s < slice_s / 2:
            self._rows = min(self._subject.rows_at_once, 2 * self._rows)
        elif taken_s > slice_s:
            self._rows = max(1, self._rows // 2)

    def _of_rows(self, inputs: Mapping[str, Array]) -> Array:
        rows = len(next(iter(inputs.values())))
        outputs = self._subject.run(inputs, rows)
        context = self._prepared.context.take([0] * rows)
        return self.read(
            replace(self._prepared, inputs=inputs, count=rows, context=context), outputs
        )

    def read(self, part: Prepared, outputs: Mapping[str, Array]) -> Array:
        """The target's score in each row of outputs: (rows,), or (rows, targets).

        Raises:
            ModelFailed: they hold none.
        """
        scores = self._subject.predictor.scores(part, outputs)
        if scores.shape[1] <= self._index or not np.isfinite(scores[:, self._index]).all():
            raise ModelFailed("The model gave no finite score for a changed input.")
        return scores[:, self._index].astype(np.float64)
