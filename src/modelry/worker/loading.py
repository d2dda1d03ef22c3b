"""From a LOAD frame to an engine that can answer, and the READY header that tells of it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelry.domain.sandbox import SandboxReport
from modelry.runtime_api.engine import (
    Engine,
    LoadSpec,
    SupportsChat,
    SupportsCompletion,
    SupportsTensors,
    SupportsTextEmbedding,
    SupportsTextToText,
)
from modelry.runtime_api.registry import load_runtime
from modelry.tasks.background_rows import BACKGROUND_ROLE, read_background
from modelry.tasks.prediction import Predictor, predictor_for
from modelry.worker.tuning import Tuning, tune


@dataclass(frozen=True, slots=True)
class Loaded:
    """A loaded version and how to use it."""

    engine: Engine
    predictor: Predictor | None
    tuning: Tuning
    abilities: tuple[str, ...]
    load_s: float
    sandbox: SandboxReport = field(default_factory=SandboxReport)
    mapped: Sequence[str] = ()
    """Roles of the files whose pages are in use beyond the load."""
    columns: Sequence[str] = ()
    """Of a version for tables, in its order."""
    background: Sequence[Any] = ()
    """Rows of a version for tables that stand for what is usual, in random order."""

    @property
    def capacity(self) -> int:
        """Calls that the gateway may have open at once."""
        if not {"chat", "completion", "texts"}.isdisjoint(self.abilities):
            return self.engine.capacity
        return self.tuning.calls_ahead

    def ready_header(self) -> dict[str, Any]:
        """The header of the READY frame."""
        return {
            "capacity": self.capacity,
            "abilities": list(self.abilities),
            "signature": self.engine.signature.to_wire(),
            "context_length": getattr(self.engine, "context_length", None),
            "batch_max": self.tuning.max_rows,
            "load_s": round(self.load_s, 3),
            "sandbox": self.sandbox.to_wire(),
            "mapped": list(self.mapped),
        }


def load(spec: LoadSpec) -> Loaded:
    """Load `spec` with its runtime, and measure the batch that it likes best.

    Raises:
        ModelryError: the runtime or the processing steps refuse it.
    """
    started = time.monotonic()
    engine = load_runtime(spec.runtime).load(spec)
    predictor = _predictor(spec, engine)
    fixed_rows = (spec.manifest.get("batch") or {}).get("max")
    tuning = Tuning(fixed_rows or 4)
    if isinstance(engine, SupportsTensors):
        tuning = tune(engine, engine.signature, fixed_rows)
    abilities = _abilities(spec, engine, predictor)
    taken_s = time.monotonic() - started
    return Loaded(
        engine,
        predictor,
        tuning,
        abilities,
        taken_s,
        columns=_columns(spec),
        background=read_background(spec.files[BACKGROUND_ROLE])
        if BACKGROUND_ROLE in spec.files
        else (),
    )


def _predictor(spec: LoadSpec, engine: Engine) -> Predictor | None:
    if not isinstance(engine, SupportsTensors):
        return None
    return predictor_for(spec.task, spec.manifest, spec.files, engine.signature)


def _columns(spec: LoadSpec) -> list[str]:
    steps: Sequence[Mapping[str, Any]] = spec.manifest.get("pre") or ()
    return [
        str(column["name"])
        for step in steps
        if step["step"] == "columns"
        for column in step["columns"]
    ]


def _abilities(spec: LoadSpec, engine: Engine, predictor: Predictor | None) -> tuple[str, ...]:
    embeds = isinstance(engine, SupportsTextEmbedding) or (
        predictor is not None and spec.task == "text-embedding"
    )
    found = {
        "tensors": isinstance(engine, SupportsTensors),
        "items": predictor is not None,
        "chat": isinstance(engine, SupportsChat),
        "completion": isinstance(engine, SupportsCompletion),
        "embedding": embeds,
        "texts": isinstance(engine, SupportsTextToText),
    }
    return tuple(name for name, there in found.items() if there)


def processing_threads() -> int:
    """Threads for processing steps: the cores of this process, at least 2."""
    return max(2, min(4, len(os.sched_getaffinity(0))))
