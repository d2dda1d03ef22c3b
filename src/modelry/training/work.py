"""The work `train`: a recipe, run where the framework may be imported."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

from modelry.datasets.reading import ShardRows
from modelry.domain.errors import Cancelled, NotFound, WorkFailed
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.work import Json, WorkHost
from modelry.training.contract import BaseVersion, Trained
from modelry.training.environment import describe_environment
from modelry.training.registry import find_recipe, read_parameters
from modelry.training.request import BASE, CHECKPOINT, FILE, KEPT, TrainRequest


class TrainWork:
    """Implements `Work`."""

    name: ClassVar[str] = "train"

    def run(self, host: WorkHost) -> Json:
        """Train as `host.request` says, and hand everything over; see `training.request`."""
        request = TrainRequest.from_wire(host.request)
        recipe = find_recipe(request.recipe)
        parameters = read_parameters(recipe, request.parameters)
        data = ShardRows(request.data, request.shards, host.open)
        with ExitStack() as opened:
            base = {
                role: opened.enter_context(host.open(f"{BASE}{role}/{name}"))
                for role, name in request.base.items()
            }
            run = HostRun(host, request.seed, base, request.base_version)
            try:
                trained = recipe.train(data, parameters, run)
            finally:
                run.close()
        if host.stop.is_set():
            raise Cancelled("The run was stopped.")
        return _handed_over(host, trained)


class HostRun:
    """Implements `training.contract.Run` on what work gets."""

    def __init__(
        self,
        host: WorkHost,
        seed: int,
        base: Mapping[str, Path],
        base_version: BaseVersion | None = None,
    ) -> None:
        self.seed = seed
        self.base = base
        self.base_version = base_version
        self.scratch = host.scratch
        self.stop: StopSignal = host.stop
        self.progress = host.progress
        self.metrics = host.metrics
        self.log = host.log
        self._host = host
        self._checkpoint = ExitStack()

    def save_checkpoint(self, step: int, file: Path) -> None:
        """See `Run.save_checkpoint`."""
        self._host.put(CHECKPOINT, file, {"step": step})

    def checkpoint(self) -> Path | None:
        """See `Run.checkpoint`."""
        self.close()
        try:
            return self._checkpoint.enter_context(self._host.open(CHECKPOINT))
        except NotFound:
            return None

    def close(self) -> None:
        """Let the checkpoint go."""
        self._checkpoint.close()


def _handed_over(host: WorkHost, trained: Trained) -> dict[str, Any]:
    total = len(trained.files) + len(trained.kept)
    names = {role: _name(path) for role, path in trained.files.items()}
    for done, (role, path) in enumerate(trained.files.items()):
        host.progress(done, total, "files", "keeping")
        host.put(f"{FILE}{role}", path, {"name": names[role]})
    for done, (name, path) in enumerate(trained.kept.items(), len(names)):
        host.progress(done, total, "files", "keeping")
        host.put(f"{KEPT}{name}", path, {"name": name})
    host.progress(total, total, "files", "keeping")
    return {
        "manifest": dict(trained.manifest),
        "reused": dict(trained.reused),
        "metrics": {name: float(value) for name, value in trained.metrics.items()},
        "parity": {**trained.parity.to_wire(), "is_met": trained.parity.is_met},
        "weights_digest": trained.weights_digest,
        "environment": describe_environment(),
    }


def _name(path: Path) -> str:
    if not path.is_file():
        raise WorkFailed(f"The recipe gave a file '{path.name}' that is not there.")
    return path.name
