"""How many rows of work in the background an engine is given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.support.worker_harness import Doubling

from modelry.domain.errors import Cancelled, ModelFailed
from modelry.domain.signature import Datatype, Signature, TensorSpec
from modelry.runtime_api.engine import StopSignal
from modelry.worker.tensor_engine import TensorEngine


def signature(width: int) -> Signature:
    """Of rows of two numbers, and outputs of `width`; -1 leaves that open."""
    return Signature(
        (TensorSpec("x", Datatype.FP32, (-1, 2)),),
        (TensorSpec("y", Datatype.FP32, (-1, width)),),
        batched=True,
    )


def engine(
    width: int = 2, *, is_fixed: bool = False, kind: type[Doubling] = Doubling
) -> tuple[TensorEngine, Doubling]:
    """Tuned to 16 rows, and what runs them."""
    inner = kind(signature(width))
    return TensorEngine(inner, inner.signature, 16, is_fixed=is_fixed), inner


def rows(count: int) -> dict[str, Any]:
    return {"x": np.arange(2.0 * count, dtype="f4").reshape(count, 2)}


@pytest.mark.parametrize(("is_fixed", "at_once"), [(False, 1024), (True, 16)])
def test_many_rows_are_run_one_part_after_the_other(is_fixed: bool, at_once: int) -> None:
    tensors, inner = engine(is_fixed=is_fixed)
    count = tensors.items_in_bulk - at_once // 2
    found = tensors.infer_bulk(rows(count), count, StopSignal())
    assert (found["y"] == 2 * rows(count)["x"]).all()
    assert inner.runs == [at_once] * 7 + [at_once // 2]


@pytest.mark.parametrize(("width", "expected"), [(2, 8192), (100, 2621), (1000, 1024), (-1, 1024)])
def test_wide_outputs_are_not_kept_of_many_rows(width: int, expected: int) -> None:
    assert engine(width)[0].items_in_bulk == expected


class Stopping(Doubling):
    """Its caller goes away while it runs for the second time."""

    stop = StopSignal()

    def infer(self, inputs: Any, stop: StopSignal) -> Any:
        if self.runs:
            self.stop.set()
        return super().infer(inputs, stop)


def test_between_the_parts_a_caller_that_went_away_is_noticed() -> None:
    tensors, inner = engine(kind=Stopping)
    with pytest.raises(Cancelled):
        tensors.infer_bulk(rows(4096), 4096, Stopping.stop)
    assert inner.runs == [1024, 1024]


class Summing(Doubling):
    """Has one row for all rows, against what its signature says."""

    def infer(self, inputs: Any, stop: StopSignal) -> Any:
        return {name: one.sum(axis=0) for name, one in super().infer(inputs, stop).items()}


def test_parts_whose_outputs_have_other_rows_are_refused() -> None:
    tensors, _ = engine(kind=Summing)
    with pytest.raises(ModelFailed, match="do not have the batch dimension"):
        tensors.infer_bulk(rows(2048), 2048, StopSignal())
