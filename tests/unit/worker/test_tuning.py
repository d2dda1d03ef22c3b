import time

import pytest

from modelry.domain.signature import Datatype, Signature, TensorSpec
from modelry.worker.tuning import BUDGET_S, Tuning, tune


def signature(batched=True, datatype=Datatype.FP32):
    shape = (-1 if batched else 1, 2)
    return Signature(
        (TensorSpec("x", datatype, shape),), (TensorSpec("y", Datatype.FP32, shape),), batched
    )


class Timed:
    """A run takes `fixed_s` and `row_s` for each row; from `crowded` rows on, twice as much."""

    def __init__(self, fixed_s, row_s, crowded=1000):
        self.fixed_s, self.row_s, self.crowded = fixed_s, row_s, crowded

    def infer(self, inputs, stop):
        rows = len(inputs["x"])
        factor = 2 if rows >= self.crowded else 1
        until = time.perf_counter() + self.fixed_s + self.row_s * rows * factor
        while time.perf_counter() < until:
            pass
        return {"y": inputs["x"]}


def test_an_engine_that_gains_nothing_from_batches_runs_rows_alone():
    assert tune(Timed(0, 0.001), signature(), None).max_rows == 1


def test_the_smallest_batch_near_the_best_throughput_is_taken():
    found = tune(Timed(0.0004, 0.00002, crowded=33), signature(), None)
    assert found.max_rows == 32
    assert found.row_s == pytest.approx(0.00002 + 0.0004 / 32, rel=0.5)


def test_the_manifest_decides_if_it_says_so():
    assert tune(Timed(0, 0.0001), signature(), 5).max_rows == 5


def test_measuring_a_slow_engine_is_bounded():
    started = time.monotonic()
    tune(Timed(0.3, 0.0), signature(), None)
    assert time.monotonic() - started < 2 * BUDGET_S


def test_what_cannot_be_measured_is_guessed():
    class Picky:
        def infer(self, inputs, stop):
            raise ValueError("not these inputs")

    assert tune(Picky(), signature(), None).max_rows == 8
    assert tune(Picky(), signature(datatype=Datatype.BYTES), None).max_rows == 8
    assert tune(Picky(), signature(batched=False), None).max_rows == 1


@pytest.mark.parametrize(
    ("tuning", "calls"),
    [(Tuning(16, 0.00001), 256), (Tuning(4, 0.01), 8), (Tuning(1), 4), (Tuning(1, 0.001), 20)],
)
def test_the_gateway_sends_ahead_what_takes_20_ms(tuning, calls):
    assert tuning.calls_ahead == calls
