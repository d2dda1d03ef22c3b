"""The engine as batches of tensors: cut to the cap, and outputs that line up with the inputs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from modelry.domain.errors import Cancelled, ModelFailed
from modelry.domain.signature import DYNAMIC, Signature
from modelry.runtime_api.engine import StopSignal, SupportsTensors
from modelry.runtime_api.frames import PREFIX, Kind, encode
from modelry.runtime_api.tensors import Array
from modelry.worker.engine_lane import Work
from modelry.worker.tensor_plan import AnswerWriter, TensorPlan, TensorPlanner, has_rows, merge

_RESULT = int(Kind.RESULT)
_BULK_ROWS = 1024
"""Of a run: of more rows each takes longer, as caches do not hold what is computed."""
_BULK_RUNS = 8
"""One after the other, where they are short: queueing for each costs as much as some rows."""
_BULK_NUMBERS = 2**18
"""Of the outputs of such runs together."""


class TensorEngine:
    """Runs tensors of any number of rows.

    Args:
        engine: the loaded engine.
        signature: its signature.
        max_rows: rows of one run, at most, for signatures with a batch dimension.
        is_fixed: whether the engine takes no more than that; else it is what it likes best.
    """

    def __init__(
        self,
        engine: SupportsTensors,
        signature: Signature,
        max_rows: int,
        *,
        is_fixed: bool = False,
    ) -> None:
        self.planner = TensorPlanner(signature)
        self.writer = AnswerWriter(signature)
        self.max_rows = max_rows
        self.bulk_rows = max_rows if is_fixed else max(max_rows, _BULK_ROWS)
        self.is_batched = signature.batched
        fitting = _BULK_NUMBERS // (_width(signature) or _BULK_NUMBERS)
        self._rows_in_bulk = max(self.bulk_rows, min(fitting, _BULK_RUNS * self.bulk_rows))
        self._signature = signature
        self._infer = engine.infer

    @property
    def items_at_once(self) -> int:
        """Items of one run: the cap, or what the model is fixed to when it has no open batch."""
        if self.is_batched:
            return self.max_rows
        shape = self._signature.inputs[0].shape
        return max(1, shape[0]) if shape else 1

    @property
    def items_in_bulk(self) -> int:
        """Items of one run for work that minds how long a run takes by itself."""
        return self._rows_in_bulk if self.is_batched else self.items_at_once

    def infer_bulk(
        self, inputs: Mapping[str, Array], rows: int, stop: StopSignal
    ) -> dict[str, Array]:
        """All outputs for at most `items_in_bulk` rows, in as many runs as suit the engine.

        Raises:
            ModelryError: the engine refused or broke, or its outputs have other rows.
            Cancelled: `stop` was raised.
        """
        if rows <= self.bulk_rows or not self.is_batched:
            outputs = self._infer(inputs, stop)
            if self.is_batched and rows > 1:
                self.check_rows(outputs, rows)
            return outputs
        parts: list[dict[str, Array]] = []
        for part in _cut(inputs, rows, self.bulk_rows, stop):
            parts.append(self._infer(part, stop))
            self.check_rows(parts[-1], len(next(iter(part.values()))))
        return _joined(parts)

    def infer(self, inputs: Mapping[str, Array], rows: int, stop: StopSignal) -> dict[str, Array]:
        """All outputs for `inputs`, in several runs when they have more rows than one may have.

        Raises:
            ModelryError: the engine refused or broke.
            Cancelled: `stop` was raised.
        """
        if rows <= self.max_rows or not self.is_batched:
            return self._infer(inputs, stop)
        parts: list[dict[str, Array]] = []
        for part in _cut(inputs, rows, self.max_rows, stop):
            outputs = self._infer(part, stop)
            if not has_rows(outputs, len(next(iter(part.values())))):
                self.is_batched = False
                return self._infer(inputs, stop)
            parts.append(outputs)
        return _joined(parts)

    def check_rows(self, outputs: Mapping[str, Array], rows: int) -> None:
        """See that the outputs of calls that ran together can be taken apart.

        Raises:
            ModelFailed: they cannot, against what the signature says; each call is run alone
                from now on.
        """
        if not has_rows(outputs, rows):
            self.is_batched = False
            raise ModelFailed("The model's outputs do not have the batch dimension of its inputs.")


def _width(signature: Signature) -> int | None:
    """Numbers of the outputs for one row; None where the signature leaves it open."""
    shapes = [spec.shape[1:] for spec in signature.outputs]
    is_open = any(DYNAMIC in shape for shape in shapes)
    return None if is_open else sum(math.prod(shape) for shape in shapes)


def _cut(
    inputs: Mapping[str, Array], rows: int, most: int, stop: StopSignal
) -> Iterator[dict[str, Array]]:
    """Inputs of so many rows in parts of at most `most`.

    Raises:
        Cancelled: `stop` was raised before the next part.
    """
    for start in range(0, rows, most):
        if stop.is_set():
            raise Cancelled("The run was stopped because its caller went away.")
        yield {name: array[start : start + most] for name, array in inputs.items()}


def _joined(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Outputs of parts as those of one run."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


class InferWork(Work):
    """An INFER call: raw tensors in, raw tensors out."""

    __slots__ = ("_body", "_engine", "_plan")

    def __init__(
        self, call_id: int, deadline: float, engine: TensorEngine, plan: TensorPlan, body: bytes
    ) -> None:
        key = plan.key if engine.is_batched else None
        super().__init__(call_id, deadline, key, plan.rows)
        self._engine = engine
        self._plan = plan
        self._body = body

    def run_together(self, works: Sequence[Any], stop: StopSignal) -> Sequence[bytes]:
        """Run INFER calls of the same key; gives the RESULT frames."""
        engine, plan = self._engine, self._plan
        if len(works) == 1:
            outputs = engine.infer(plan.arrays(self._body), plan.rows, stop)
            return [encode(_RESULT, self.call_id, *engine.writer.whole(outputs, plan.wanted))]
        plans = [work._plan for work in works]  # noqa: SLF001 - of this class
        bodies = [work._body for work in works]  # noqa: SLF001 - of this class
        rows = [work.rows for work in works]
        outputs = engine.infer(merge(plans, bodies), sum(rows), stop)
        engine.check_rows(outputs, sum(rows))
        answers = engine.writer.split(outputs, plan.wanted, rows)
        pack = PREFIX.pack
        return [
            pack(len(header), len(body), work.call_id, 0, _RESULT, 0, 0) + header + body
            for work, (header, body) in zip(works, answers, strict=True)
        ]


def run_arrays(
    engine: TensorEngine,
    inputs: Sequence[Mapping[str, Array]],
    rows: Sequence[int],
    stop: StopSignal,
) -> list[dict[str, Array]]:
    """Run the inputs of several calls together; gives the outputs of each.

    Raises:
        ModelryError: the run failed.
    """
    if len(inputs) == 1:
        outputs = engine.infer(inputs[0], rows[0], stop)
        return [outputs]
    merged = {name: np.concatenate([one[name] for one in inputs]) for name in inputs[0]}
    total = sum(rows)
    outputs = engine.infer(merged, total, stop)
    engine.check_rows(outputs, total)
    ends = np.cumsum(rows)
    return [
        {name: array[end - count : end] for name, array in outputs.items()}
        for end, count in zip(ends.tolist(), rows, strict=True)
    ]
