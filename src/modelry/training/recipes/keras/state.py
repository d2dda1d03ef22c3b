"""All that a run of training is made of, as one file, so that it can go on from there."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modelry.domain.errors import DataDamaged
from modelry.runtime_api.tensors import Array

_HEAD, _RANDOM, _GPU_RANDOM = "state", "random", "gpu_random"


@dataclass(slots=True)
class Standing:
    """Where a run stands.

    Attributes:
        epoch: the one that is being done, from 0.
        step: steps of it that are done.
        best: value of what is watched in the best epoch; None before the first.
        waited: epochs since then.
        curves: what is told of the last epoch that was finished.
        stopped: whether patience ended the run.
    """

    epoch: int = 0
    step: int = 0
    best: float | None = None
    waited: int = 0
    curves: dict[str, float] = field(default_factory=dict)
    stopped: bool = False


def variables_of(model: Any) -> list[Any]:
    """Everything of a model that training changes, in a stable order."""
    return [*model.variables, *model.optimizer.variables, *model.metrics_variables]


def values_of(variables: Sequence[Any]) -> list[Array]:
    """Copies of variables' values."""
    return [one.value.detach().cpu().numpy().copy() for one in variables]


def set_values(variables: Sequence[Any], values: Sequence[Array]) -> None:
    """Put values into variables."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _uses_gpu() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def save_state(file: Path, model: Any, standing: Standing, best: Sequence[Array] | None) -> None:
    """Write everything that the next step depends on."""
    arrays = {f"v{at}": one for at, one in enumerate(values_of(variables_of(model)))}
    arrays |= {f"b{at}": one for at, one in enumerate(best or ())}
    arrays[_RANDOM] = torch.get_rng_state().numpy()
    if _uses_gpu():
        arrays[_GPU_RANDOM] = torch.cuda.get_rng_state().numpy()
    arrays[_HEAD] = np.frombuffer(json.dumps(asdict(standing)).encode(), np.uint8)
    np.savez(file, allow_pickle=False, **arrays)


def load_state(file: Path, model: Any) -> tuple[Standing, list[Array] | None]:
    """Set a model to what `save_state` wrote.

    Returns:
        Where the run stands, and the best weights so far.

    Raises:
        DataDamaged: the file is not of this model.
    """
    variables = variables_of(model)
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as kept:
            values = [kept[f"v{at}"] for at in range(len(variables))]
            count = sum(name.startswith("b") for name in kept.files)
            best = [kept[f"b{at}"] for at in range(count)]
            standing = Standing(**json.loads(kept[_HEAD].tobytes()))
            random = torch.from_numpy(kept[_RANDOM])
            on_gpu = torch.from_numpy(kept[_GPU_RANDOM]) if _GPU_RANDOM in kept.files else None
        if any(tuple(one.shape) != value.shape
               for one, value in zip(variables, values, strict=True)):  # fmt: skip
            raise ValueError("other shapes")
        set_values(variables, values)
        torch.set_rng_state(random)
        if on_gpu is not None and _uses_gpu():
            torch.cuda.set_rng_state(on_gpu)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise DataDamaged(
            "The checkpoint is not one of this model's training; start the job anew."
        ) from error
    return standing, best or None
