"""The end of a recipe: export, parity check, digest, manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from modelry.domain.signature import Signature
from modelry.runtime_api.tensors import Array
from modelry.training.contract import Run, Trained
from modelry.training.export import Dynamic, to_onnx
from modelry.training.parity import TOLERANCE, Exported, compare
from modelry.training.weights import digest_of

MODEL_FILE = "model.onnx"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A trained model, and what is to be said of it as a version.

    Attributes:
        model: takes the inputs and gives the outputs of `signature`, in their order.
        signature: what the processing graph was built for.
        manifest: of the version, without `files`.
        rows: input tensors of real rows by name, for the parity check, in parts where they differ
            in more than how many they are; two rows at least in the first, and no dimension of 1
            there that is open.
        metrics: final ones.
        metric: name, and how outputs are measured that `rows` led to; for the parity check.
        dynamic: open dimensions beside the rows; see `to_onnx`.
        files: further files by role, such as the tokenizer.
        tolerance: of the parity check.
        kept: further files that stay with the job.
    """

    model: torch.nn.Module
    signature: Signature
    manifest: Mapping[str, Any]
    rows: Mapping[str, Array] | Sequence[Mapping[str, Array]]
    metrics: Mapping[str, float]
    metric: tuple[str, Callable[[Mapping[str, Array]], float]] | None = None
    dynamic: Dynamic | None = None
    files: Mapping[str, Path] = field(default_factory=dict)
    tolerance: float = TOLERANCE
    kept: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Exporting:
    """Like `Outcome`, of a model that is no torch module.

    Attributes:
        write: writes the ONNX file.
        answers: what the trained model answers: outputs by name for inputs by name.
        weights_digest: of everything that it answers by.
    """

    write: Callable[[Path], None]
    answers: Callable[[Mapping[str, Array]], Mapping[str, Array]]
    weights_digest: str
    signature: Signature
    manifest: Mapping[str, Any]
    rows: Mapping[str, Array] | Sequence[Mapping[str, Array]]
    metrics: Mapping[str, float]
    metric: tuple[str, Callable[[Mapping[str, Array]], float]] | None = None
    files: Mapping[str, Path] = field(default_factory=dict)
    tolerance: float = TOLERANCE
    kept: Mapping[str, Path] = field(default_factory=dict)


def finish(outcome: Outcome, run: Run) -> Trained:
    """Export a torch model and compare what it answers with what the trained one does.

    Raises:
        NotSupported: the model cannot be exported, or not as the graph expects it.
        ModelFailed: the exported model does not run.
    """
    model, dynamic = outcome.model, outcome.dynamic
    names = [one.name for one in outcome.signature.inputs]
    outputs = [one.name for one in outcome.signature.outputs]
    first = outcome.rows if isinstance(outcome.rows, Mapping) else outcome.rows[0]
    example = {name: torch.from_numpy(first[name][:2].copy()) for name in names}
    return finish_exported(
        Exporting(
            write=lambda file: to_onnx(model, example, outputs, file, dynamic=dynamic),
            answers=lambda rows: _answers(model, names, outputs, rows),
            weights_digest=digest_of(model.state_dict()),
            signature=outcome.signature,
            manifest=outcome.manifest,
            rows=outcome.rows,
            metrics=outcome.metrics,
            metric=outcome.metric,
            files=outcome.files,
            tolerance=outcome.tolerance,
            kept=outcome.kept,
        ),
        run,
    )


def finish_exported(outcome: Exporting, run: Run) -> Trained:
    """Write the file and compare what it answers with what the trained model does.

    Raises:
        NotSupported: the file takes or gives other tensors than the graph expects.
        ModelFailed: it does not run.
    """
    run.progress(0, None, "steps", "exporting")
    file = run.scratch / MODEL_FILE
    outcome.write(file)
    exported = Exported(file)
    exported.check(outcome.signature)
    run.progress(0, None, "steps", "checking parity")
    parity = compare(
        exported,
        outcome.answers,
        outcome.rows,
        tolerance=outcome.tolerance,
        metric=outcome.metric,
    )
    run.log(
        f"exported; on {parity.rows} rows its answers differ from the trained model's by at most "
        f"{parity.max_abs:.2e}"
    )
    files = {"model": file, **outcome.files}
    return Trained(
        manifest={
            **outcome.manifest,
            "files": {role: path.name for role, path in files.items()},
        },
        files=files,
        metrics=outcome.metrics,
        parity=parity,
        weights_digest=outcome.weights_digest,
        kept=outcome.kept,
    )


def _answers(
    model: torch.nn.Module,
    names: Sequence[str],
    outputs: Sequence[str],
    rows: Mapping[str, Array],
) -> dict[str, Array]:
    with torch.no_grad():
        given = model(*(torch.from_numpy(rows[name]) for name in names))
    found = given if isinstance(given, tuple | list) else (given,)
    return {name: one.numpy() for name, one in zip(outputs, found, strict=True)}
