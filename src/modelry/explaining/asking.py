"""Asks the engine for the target's score of perturbed inputs: each one once, in small batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from modelry.domain.errors import ModelFailed
from modelry.explaining.contract import Method, Parts
from modelry.explaining.course import Course, Tell
from modelry.explaining.faithfulness import Faithfulness
from modelry.explaining.pace import QUIET_SLICE_S, Pace
from modelry.runtime_api.tensors import Array
from modelry.tasks.prediction import Predictor, Prepared

MADE_AT_ONCE_BYTES = 2**22
"""Of perturbed inputs that are made at once, about, as 64-bit numbers: what caches hold."""
MOST_AT_ONCE = 256
"""Presences whose inputs are made at once: texts are padded to the longest of them."""

READ_AT_ONCE = 2**18
"""Numbers of outputs from which scores are read together: each time costs as much as some rows."""

Run = Callable[[Mapping[str, Array], int], Mapping[str, Array]]
"""Runs rows through the engine, behind whatever else waits for it."""
MoreMethods = Callable[[str, Prepared, int], Mapping[str, Method]]
"""Methods for a kind of input, the item as it was prepared, and the index of the target."""
Measure = Callable[[Array, int, float | None], Faithfulness | None]
"""Measures weights of parts for the target of an index, in so many seconds, or not at all where
these do not suffice; its `calls` are how often the model was asked for it."""


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
        measure: measures weights for the target of an index, where not these runs shall.
        pace: told of each run by `run`, as only that knows how long the engine took; None where
            runs take as long as the call.
        background: rows that were kept with the version, in random order.
        tell: is told how far the explanation is.
        prepared: the item, where it was prepared before.
    """

    item: Mapping[str, Any]
    options: Mapping[str, Any]
    predictor: Predictor
    run: Run
    rows_at_once: int
    columns: Sequence[str] = ()
    more: MoreMethods | None = None
    slice_s: float = QUIET_SLICE_S
    pace: Pace | None = None
    measure: Measure | None = None
    background: Sequence[Any] = ()
    tell: Tell | None = None
    prepared: Prepared | None = None


class Asking:
    """Gives scores of one target, and counts what that took.

    Args:
        subject: what is explained.
        prepared: its item, prepared; perturbed ones are of its kind.
        index: of the target's class or output.
        course: of the explanation; ends the asking.
    """

    def __init__(self, subject: Subject, prepared: Prepared, index: int, course: Course) -> None:
        self.calls = 0
        self.subject = subject
        self._prepared = prepared
        self._pace = subject.pace or Pace(subject.rows_at_once, lambda: subject.slice_s)
        self.index = index
        self._course = course
        self._repeats = 1

    def scores(self, parts: Parts, presences: Array) -> Array:
        """The target's score for each of the presences (n, parts): (n,), or (n, targets)."""
        self._repeats = parts.repeats
        unique, places = _different(presences)
        order = np.argsort(unique.sum(axis=1), kind="stable")  # texts of about a length together
        at_once = self._at_once(parts)
        blocks = [order[start : start + at_once] for start in range(0, len(order), at_once)]
        found = np.concatenate([self._of_block(parts, unique[block]) for block in blocks])
        scores: Array = np.empty_like(found)
        scores[order] = found
        return scores[places]

    def _of_block(self, parts: Parts, presences: Array) -> Array:
        found = self.of_inputs(parts.inputs(presences))
        mean: Array = found.reshape(len(presences), -1, *found.shape[1:]).mean(axis=1)
        return mean

    def _at_once(self, parts: Parts) -> int:
        numbers = sum(array.size for array in self._prepared.inputs.values())
        fitting = MADE_AT_ONCE_BYTES // (8 * max(1, numbers) * parts.repeats)
        return min(MOST_AT_ONCE, max(1, fitting))

    def of_inputs(self, inputs: Mapping[str, Array]) -> Array:
        """What `read` gives for the engine's inputs of n items (n, …)."""
        total = len(next(iter(inputs.values())))
        found: list[Array] = []
        unread: list[Mapping[str, Array]] = []
        start = read = numbers = 0
        while start < total:
            self._course.look()
            end = min(total, start + self._pace.rows)
            unread.append(self._ran({name: one[start:end] for name, one in inputs.items()}))
            self.calls += end - start
            self._course.asked((end - start) / self._repeats)
            numbers += sum(array.size for array in unread[-1].values())
            can_wait = numbers < READ_AT_ONCE and _is_by_row(unread[-1], end - start)
            if end == total or not can_wait:
                part = {name: one[read:end] for name, one in inputs.items()}
                found.append(self._of_rows(part, _joined(unread)))
                unread, read, numbers = [], end, 0
            start = end
        return np.concatenate(found)

    def _ran(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        rows = len(next(iter(inputs.values())))
        began = time.perf_counter()
        outputs = self.subject.run(inputs, rows)
        if self.subject.pace is None:
            self._pace.ran(rows, time.perf_counter() - began)
        return outputs

    def _of_rows(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> Array:
        rows = len(next(iter(inputs.values())))
        context = self._prepared.context.take([0] * rows)
        return self.read(
            replace(self._prepared, inputs=inputs, count=rows, context=context), outputs
        )

    def read(self, part: Prepared, outputs: Mapping[str, Array]) -> Array:
        """The target's score in each row of outputs: (rows,), or (rows, targets).

        Raises:
            ModelFailed: they hold none.
        """
        scores = self.subject.predictor.scores(part, outputs)
        if scores.shape[1] <= self.index or not np.isfinite(scores[:, self.index]).all():
            raise ModelFailed("The model gave no finite score for a changed input.")
        return scores[:, self.index].astype(np.float64)


def _is_by_row(outputs: Mapping[str, Array], rows: int) -> bool:
    """Whether outputs of so many rows can be read with those that follow.

    Those of one row cannot: engines that take no more may have other first dimensions.
    """
    return rows > 1 and all(array.ndim and len(array) == rows for array in outputs.values())


def _joined(outputs: Sequence[Mapping[str, Array]]) -> Mapping[str, Array]:
    """Outputs of runs as those of one."""
    if len(outputs) == 1:
        return outputs[0]
    return {name: np.concatenate([one[name] for one in outputs]) for name in outputs[0]}


def _different(presences: Array) -> tuple[Array, Array]:
    """Each different row once, and for each row which of them it is.

    By a table of hashes: sorting rows would hold the interpreter's lock for milliseconds.
    """
    rows = np.ascontiguousarray(presences, np.float64)
    data, width = rows.tobytes(), rows.itemsize * rows.shape[1]
    known: dict[bytes, int] = {}
    places = [
        known.setdefault(data[at : at + width], len(known)) for at in range(0, len(data), width)
    ]
    unique = np.frombuffer(b"".join(known), np.float64).reshape(len(known), -1)
    return unique, np.array(places)
