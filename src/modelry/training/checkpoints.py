"""What is kept of a run that is not finished, as one file.

Read with `weights_only`: a checkpoint holds tensors, numbers and words, and nothing that runs.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from modelry.domain.errors import DataDamaged

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a run is; `step` steps are done. Randomness is not here: it follows from the step.

    Attributes:
        fingerprint: of all that must be the same for going on: data, parameters, seed.
        step: how many steps are done, over all epochs.
        model: its `state_dict`.
        optimiser: its `state_dict`.
        losses: sum of the losses of this epoch's rows, and how many rows.
        best: weights of the best epoch so far.
        best_value: the monitored value of that epoch.
        best_epoch: which, from 1.
        epochs_since_best: for early stopping.
        best_measured: what validation told of that epoch.
        measured: what it told last.
    """

    fingerprint: str
    step: int
    model: dict[str, Any]
    optimiser: dict[str, Any]
    losses: tuple[float, int]
    best: dict[str, Any] | None
    best_value: float | None
    best_epoch: int
    epochs_since_best: int
    best_measured: dict[str, float]
    measured: dict[str, float]


def write_checkpoint(checkpoint: Checkpoint, file: Path) -> None:
    """Write it; what is at `file` is replaced."""
    held = {name: getattr(checkpoint, name) for name in Checkpoint.__slots__}
    torch.save({"format": FORMAT, **held}, file)


def read_checkpoint(file: Path) -> Checkpoint:
    """The checkpoint that `write_checkpoint` wrote, its tensors in the memory of the CPU.

    So it can be from another device; model and optimiser take what they load to their own, and the
    optimiser's counts of steps stay here: on a GPU each step would wait for every one of them.

    Raises:
        DataDamaged: the file is none, or one of a newer version of the platform.
    """
    try:
        held = torch.load(file, map_location="cpu", weights_only=True)
        if held.pop("format") != FORMAT:
            raise DataDamaged(
                "The checkpoint is of another version of the platform; start the job again."
            )
        return Checkpoint(**held)
    except DataDamaged:
        raise
    except Exception as error:  # noqa: BLE001 (torch raises many kinds for broken files)
        raise DataDamaged(
            f"The checkpoint cannot be read ({type(error).__name__}); start the job again."
        ) from None


def fingerprint_of(*parts: object) -> str:
    """One word for things that must be the same when a run goes on."""
    return hashlib.sha256("\0".join(map(repr, parts)).encode()).hexdigest()[:32]
