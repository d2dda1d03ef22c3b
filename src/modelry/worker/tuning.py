"""Measures at load how many rows an engine likes best in one run."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import numpy as np

from modelry.domain.signature import DYNAMIC, Datatype, Signature
from modelry.runtime_api.engine import StopSignal, SupportsTensors
from modelry.runtime_api.tensors import NUMPY_TYPES, Array

BUDGET_S = 0.5
"""Time that measuring may take, about."""
SLOW_RUN_S = 0.25
"""An engine that takes longer than this for one row is not measured further."""
LARGEST = 64
GUESSED_ROWS = 8
"""Cap for engines that cannot be measured."""
_ENOUGH = 0.95
_RUN_OVERHEAD_S = 30e-6
"""What a batch costs beside the engine: system calls, taking it together and apart."""
_MEASURED_S = 0.03
_FEWEST_RUNS, _MOST_RUNS = 3, 1000
_OPEN_SIZE = 32
"""Size given to open dimensions other than the batch."""
_QUEUED_AHEAD_S = 0.02
_LEAST_CALLS, _MOST_CALLS = 4, 256


@dataclass(frozen=True, slots=True)
class Tuning:
    """What was measured: rows of one run, and seconds per row at that size (None: unknown).

    `is_fixed` says that the manifest allows no more rows, whatever they take.
    """

    max_rows: int
    row_s: float | None = None
    is_fixed: bool = False

    @property
    def calls_ahead(self) -> int:
        """How many calls the gateway should send without waiting for answers.

        Enough to fill the next batch and to keep the engine busy for 20 ms; what is beyond that
        waits in the gateway, where it can go to another replica.
        """
        wanted = 2 * self.max_rows
        if self.row_s:
            wanted = max(wanted, int(_QUEUED_AHEAD_S / self.row_s))
        return min(max(wanted, _LEAST_CALLS), _MOST_CALLS)


def tune(engine: SupportsTensors, signature: Signature, fixed_rows: int | None) -> Tuning:
    """The smallest batch within 5 % of the best throughput, in about half a second at most.

    Args:
        engine: the loaded engine.
        signature: its signature.
        fixed_rows: the manifest's `batch.max`, which is taken as it is.
    """
    if not signature.batched or not signature.inputs:
        return Tuning(1)
    is_fixed = fixed_rows is not None
    if any(spec.datatype is Datatype.BYTES for spec in signature.inputs):
        return Tuning(fixed_rows or GUESSED_ROWS, is_fixed=is_fixed)
    stop = StopSignal()
    timer = threading.Timer(BUDGET_S, stop.set)
    timer.start()
    try:
        return _Measurement(engine, signature, stop).tuning(fixed_rows)
    except Exception:  # noqa: BLE001 - made-up inputs may be nothing that this engine takes
        # a run that had to be stopped was one row that takes longer than all the time there is
        rows = fixed_rows or (1 if stop.is_set() else GUESSED_ROWS)
        return Tuning(rows, is_fixed=is_fixed)
    finally:
        timer.cancel()


class _Measurement:
    """Runs an engine with made-up inputs until `stop` is raised."""

    def __init__(self, engine: SupportsTensors, signature: Signature, stop: StopSignal) -> None:
        self._engine = engine
        self._signature = signature
        self._stop = stop

    def tuning(self, fixed_rows: int | None) -> Tuning:
        """What to use; `fixed_rows` is only timed."""
        self._engine.infer(_inputs(self._signature, 1), self._stop)
        if fixed_rows is not None:
            return Tuning(fixed_rows, self._run_s(fixed_rows) / fixed_rows, is_fixed=True)
        measured: dict[int, float] = {}
        rows = 1
        while rows <= LARGEST and not self._stop.is_set():
            try:
                took = self._run_s(rows)
            except Exception:
                if measured:
                    break
                raise
            measured[rows] = (took + _RUN_OVERHEAD_S) / rows
            # twice in a row: one bad measurement may be the noise of a busy machine
            is_worse = all(
                measured.get(one, 0.0) > 1.2 * min(measured.values()) for one in (rows, rows // 2)
            )
            if took > SLOW_RUN_S or is_worse:
                break
            rows *= 2
        best = min(measured.values())
        chosen = min(rows for rows, row_s in measured.items() if row_s * _ENOUGH <= best)
        return Tuning(chosen, measured[chosen])

    def _run_s(self, rows: int) -> float:
        """Seconds of one run: the best of several, as others use the machine too.

        Raises:
            ModelryError: the engine refused, or was stopped because the time is over.
        """
        inputs = _inputs(self._signature, rows)
        best = float("inf")
        until = time.perf_counter() + _MEASURED_S
        for run in range(_MOST_RUNS):
            started = time.perf_counter()
            self._engine.infer(inputs, self._stop)
            ended = time.perf_counter()
            best = min(best, ended - started)
            if ended - started > SLOW_RUN_S or (run + 1 >= _FEWEST_RUNS and ended > until):
                break
        return best


def _inputs(signature: Signature, rows: int) -> dict[str, Array]:
    """Ones: a token that every vocabulary has, a mask that hides nothing."""
    return {
        spec.name: np.ones(
            (rows, *(_OPEN_SIZE if size == DYNAMIC else size for size in spec.shape[1:])),
            NUMPY_TYPES[spec.datatype],
        )
        for spec in signature.inputs
    }
