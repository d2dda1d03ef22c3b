"""A training run in memory, for tests of recipes and of the loop."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from modelry.runtime_api.engine import StopSignal
from modelry.training.contract import BaseVersion


class MemoryRun:
    """Implements `training.contract.Run`, and shows what a recipe told it.

    Args:
        folder: an empty one for scratch files and checkpoints.
        seed: of all randomness.
        base: files of the version that is trained further.
        base_version: what the catalogue knows of it.
        checkpoint: what an earlier attempt saved.
        stop_after: raise `stop` as soon as so many checkpoints were saved.
    """

    def __init__(
        self,
        folder: Path,
        *,
        seed: int = 0,
        base: Mapping[str, Path] | None = None,
        base_version: BaseVersion | None = None,
        checkpoint: Path | None = None,
        stop_after: int | None = None,
    ) -> None:
        self.seed = seed
        self.scratch = folder / "scratch"
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.stop = StopSignal()
        self.base: Mapping[str, Path] = dict(base or {})
        self.base_version = base_version
        self.told: list[tuple[int, int | None, str, str]] = []
        """Every progress: done, total, unit, phase."""
        self.curves: dict[int, dict[str, float]] = {}
        """Values by step."""
        self.lines: list[str] = []
        self.checkpoints: list[tuple[int, Path]] = []
        """Step and file of each checkpoint."""
        self._folder = folder
        self._checkpoint = checkpoint
        self._stop_after = stop_after

    def progress(self, done: int, total: int | None, unit: str, phase: str = "") -> None:
        """See `Run.progress`."""
        self.told.append((done, total, unit, phase))

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """See `Run.metrics`."""
        self.curves.setdefault(step, {}).update(values)

    def log(self, line: str) -> None:
        """See `Run.log`."""
        self.lines.append(line)

    def save_checkpoint(self, step: int, file: Path) -> None:
        """See `Run.save_checkpoint`."""
        kept = self._folder / f"checkpoint-{len(self.checkpoints)}"
        shutil.copyfile(file, kept)
        self.checkpoints.append((step, kept))
        self._checkpoint = kept
        if self._stop_after is not None and len(self.checkpoints) >= self._stop_after:
            self.stop.set()

    def checkpoint(self) -> Path | None:
        """See `Run.checkpoint`."""
        return self._checkpoint
