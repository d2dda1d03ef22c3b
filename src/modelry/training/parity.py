"""Whether the exported model answers as the trained one, on real rows through the real steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from modelry.domain.errors import ModelFailed, NotSupported
from modelry.domain.signature import DYNAMIC, Signature
from modelry.runtime_api.tensors import Array
from modelry.training.contract import Parity

TOLERANCE = 1e-4
ROWS = 512
"""How many rows are compared, where there are so many."""
BATCHES = (1, 2, 7, 32)
"""Sizes of the batches that they are compared in, in turn: no size may be baked into the file."""

Tensors = Mapping[str, Array]
_TYPES = {
    "tensor(float)": "FP32", "tensor(double)": "FP64", "tensor(float16)": "FP16",
    "tensor(int64)": "INT64", "tensor(int32)": "INT32", "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8", "tensor(string)": "BYTES",
}  # fmt: skip


class Exported:
    """An exported model, loaded as serving loads it: ONNX Runtime on the CPU.

    Raises:
        ModelFailed: it cannot be loaded.
    """

    def __init__(self, file: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(
                file.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # noqa: BLE001 (ONNX Runtime's own classes are not public)
            raise ModelFailed(f"The exported model cannot be loaded: {str(error)[:500]}") from None
        self.outputs = [one.name for one in self._session.get_outputs()]

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """Its outputs, by name.

        Raises:
            ModelFailed: it cannot answer.
        """
        try:
            answers = self._session.run(self.outputs, dict(inputs))
        except Exception as error:  # noqa: BLE001 (as above)
            raise ModelFailed(f"The exported model failed: {str(error)[:500]}") from None
        return dict(zip(self.outputs, answers, strict=True))

    def check(self, signature: Signature) -> None:
        """See that it takes and gives what the processing graph was built for.

        Raises:
            NotSupported: it does not; says which tensor differs.
        """
        sides = (
            ("input", self._session.get_inputs(), signature.inputs),
            ("output", self._session.get_outputs(), signature.outputs),
        )
        for what, has, wants in sides:
            found = {
                one.name: (
                    _TYPES.get(one.type, one.type),
                    tuple(size if isinstance(size, int) else DYNAMIC for size in one.shape),
                )
                for one in has
            }
            declared = {one.name: (one.datatype.value, one.shape) for one in wants}
            if found != declared:
                raise NotSupported(
                    f"The exported model's {what}s are {found}; the recipe declares {declared}."
                )


def compare(
    exported: Exported,
    trained: Callable[[Tensors], Tensors],
    rows: Tensors | Sequence[Tensors],
    *,
    tolerance: float = TOLERANCE,
    metric: tuple[str, Callable[[Tensors], float]] | None = None,
) -> Parity:
    """Ask both models the same.

    Args:
        exported: the file.
        trained: outputs by name for inputs by name; may give fewer outputs than the file.
        rows: input tensors of real rows, as the processing graph made them; dimension 0 counts.
            Several parts where other dimensions differ, such as texts of other lengths.
        tolerance: the largest absolute difference of any output that is accepted.
        metric: name, and the function that measures all outputs; told for both.

    Returns:
        The largest differences. `max_rel` is relative to the larger of both magnitudes, where
        that is over 1e-6; NaN on one side alone counts as infinitely far.
    """
    ours: list[Tensors] = []
    theirs: list[Tensors] = []
    for part in _batches([rows] if isinstance(rows, Mapping) else rows):
        mine = trained(part)
        answers = exported(part)
        ours.append(mine)
        theirs.append({name: answers[name] for name in mine})
    whole = _joined(ours), _joined(theirs)
    far = [_distance(whole[0][name], whole[1][name]) for name in whole[0]]
    told: dict[str, Any] = {}
    if metric is not None:
        name, measure = metric
        told = {
            "metric": name,
            "trained_metric": measure(whole[0]),
            "exported_metric": measure(whole[1]),
        }
    return Parity(
        rows=len(next(iter(whole[0].values()))),
        max_abs=max(one for one, _ in far),
        max_rel=max(one for _, one in far),
        tolerance=tolerance,
        **told,
    )


def _batches(parts: Sequence[Tensors]) -> Iterator[Tensors]:
    turn = 0
    for part in parts:
        start, count = 0, len(next(iter(part.values())))
        while start < count:
            end = start + BATCHES[turn % len(BATCHES)]
            yield {name: array[start:end] for name, array in part.items()}
            start, turn = end, turn + 1


def _joined(parts: Sequence[Tensors]) -> dict[str, Array]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _distance(one: Array, other: Array) -> tuple[float, float]:
    """Largest absolute and relative difference."""
    if one.shape != other.shape:
        return float("inf"), float("inf")
    if one.size == 0:
        return 0.0, 0.0
    a, b = one.astype(np.float64), other.astype(np.float64)
    with np.errstate(invalid="ignore"):  # infinities may meet; what comes of it is NaN
        apart = np.abs(a - b)
        apart[(np.isnan(a) & np.isnan(b)) | (a == b)] = 0.0  # equal infinities too
        apart[np.isnan(apart)] = np.inf
        size = np.maximum(np.abs(a), np.abs(b))
        relative = np.where(size > 1e-6, apart / np.maximum(size, 1e-6), 0.0)
    relative[np.isnan(relative)] = np.inf
    return float(apart.max()), float(relative.max())
