"""Measures at load how many rows an engine likes best in one run."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from modelry.domain.signature import DYNAMIC, Datatype, Signature
from modelry.runtime_api.engine import StopSignal, SupportsTensors
from modelry.runtime_api.tensors import NUMPY_TYPES, Array

BUDGET_S = 1.0
"""Time that measuring may take, about."""
SLOW_RUN_S = 0.25
"""An engine that takes longer than this for one row is not measured further."""
LARGEST = 64
GUESSED_ROWS = 8
"""Cap for engines that cannot be measured."""
_ENOUGH = 0.95
_OPEN_SIZE = 32
"""Size given to open dimensions other than the batch."""
_QUEUED_AHEAD_S = 0.02
_LEAST_CALLS, _MOST_CALLS = 4, 256


@dataclass(frozen=True, slots=True)
class Tuning:
    """What was measured: rows of one run, and seconds per row at that size (None: unknown)."""

    max_rows: int
    row_s: float | None = None

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
    """The smallest batch within 5 % of the best throughput, in at most about a second.

    Args:
        engine: the loaded engine.
        signature: its signature.
        fixed_rows: the manifest's `batch.max`, which is taken as it is.
    """
    if not signature.batched or not signature.inputs:
        return Tuning(1)
    if any(spec.datatype is Datatype.BYTES for spec in signature.inputs):
        return Tuning(fixed_rows or GUESSED_ROWS)
    try:
        return _measure(engine, signature, fixed_rows)
    except Exception:  # noqa: BLE001 - made-up inputs may be nothing that this engine takes
        return Tuning(fixed_rows or GUESSED_ROWS)


def _measure(engine: SupportsTensors, signature: Signature, fixed_rows: int | None) -> Tuning:
    give_up = time.perf_counter() + BUDGET_S
    engine.infer(_inputs(signature, 1), StopSignal())
    if fixed_rows is not None:
        return Tuning(fixed_rows, _run_s(engine, signature, fixed_rows, give_up) / fixed_rows)
    measured: dict[int, float] = {}
    rows = 1
    while rows <= LARGEST and time.perf_counter() < give_up:
        measured[rows] = row_s = _run_s(engine, signature, rows, give_up) / rows
        if row_s * rows > SLOW_RUN_S or row_s > 1.2 * min(measured.values()):
            break
        rows *= 2
    best = min(measured.values())
    chosen = min(rows for rows, row_s in measured.items() if row_s * _ENOUGH <= best)
    return Tuning(chosen, measured[chosen])


def _run_s(engine: SupportsTensors, signature: Signature, rows: int, give_up: float) -> float:
    """Seconds of one run: the best of several, as others use the machine too."""
    inputs, stop = _inputs(signature, rows), StopSignal()
    best = float("inf")
    runs, until = 0, min(give_up, time.perf_counter() + BUDGET_S / 10)
    while runs < 2 or time.perf_counter() < until:
        started = time.perf_counter()
        engine.infer(inputs, stop)
        took = time.perf_counter() - started
        best = min(best, took)
        runs += 1
        if took > SLOW_RUN_S or runs >= 50:
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
