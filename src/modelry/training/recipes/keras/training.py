"""One run of the recipe, from the user's file to the files of a version."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelry.domain.errors import RowsInvalid, TrainingDiverged
from modelry.training.classifying import held_out_places
from modelry.training.contract import Run, Trained, TrainingData
from modelry.training.loop import prepare
from modelry.training.options import LoopParameters
from modelry.training.outcome import MODEL_FILE
from modelry.training.parity import ROWS
from modelry.training.recipes.keras.architecture import Architecture
from modelry.training.recipes.keras.archive import read_keras_file
from modelry.training.recipes.keras.building import build, load_keras, save_trained
from modelry.training.recipes.keras.exporting import export, interface_of, weights_digest
from modelry.training.recipes.keras.fitting import Fitting, evaluate
from modelry.training.recipes.keras.parameters import KerasParameters
from modelry.training.recipes.keras.recipe import BASE, KEPT, no_model
from modelry.training.recipes.keras.rows import FarRows, Rows, read_rows
from modelry.training.recipes.keras.serving import graph_for, manifest_of, pixel_scale
from modelry.training.recipes.keras.slots import Binding, bind
from modelry.training.selection import choose_splits
from modelry.training.weights import first_not_finite


def train(data: TrainingData, parameters: KerasParameters, run: Run) -> Trained:
    """See `Recipe.train`."""
    keras = load_keras()
    device = prepare(run.seed, _torch_options(parameters))
    keras.utils.set_random_seed(run.seed % 2**32)
    run.progress(0, None, "steps", "reading the model")
    file = read_keras_file(_base(run), run.scratch)
    model, architecture = build(file, parameters, device.type)
    file.weights.unlink()
    with keras.device(device.type):
        return _train(_Built(model, architecture, file.keras_version), data, parameters, run)


def _torch_options(parameters: KerasParameters) -> LoopParameters:
    return LoopParameters(device=parameters.device, deterministic=parameters.deterministic)


@dataclass(frozen=True, slots=True)
class _Built:
    """A model, and what its file says of it."""

    model: Any
    architecture: Architecture
    keras_version: str


def _train(built: _Built, data: TrainingData, parameters: KerasParameters, run: Run) -> Trained:
    keras = load_keras()
    model, architecture = built.model, built.architecture
    interface = interface_of(model)
    binding = bind(data.description.schema, interface, (architecture.compiled or {})["loss"])
    manifest = manifest_of(binding, parameters, pixel_scale(parameters, model.layers))
    rows = _read(data, parameters, binding, manifest, run)
    curves = Fitting(model, rows.learnt, rows.measured, parameters, run).run()
    if parameters.keep == "best" and rows.measured is not None:
        found = evaluate(model, rows.measured, parameters.batch_size)
        curves |= {f"val_{name}": value for name, value in found.items()}
    bad = first_not_finite({one.path: one.value for one in model.weights})
    if bad is not None:
        raise TrainingDiverged(
            f"The weights '{bad}' are no numbers any more. Take a smaller learning rate, or clip "
            "gradients."
        )
    digest = weights_digest(model)
    kept = run.scratch / KEPT
    save_trained(model, architecture, built.keras_version, kept)
    run.progress(0, None, "steps", "exporting")
    exported = run.scratch / MODEL_FILE
    model.cpu()
    with keras.device("cpu"):
        parity = export(model, binding, _some(rows.measured or rows.learnt), exported, run)
    run.log(
        f"exported; on {parity.rows} rows its answers differ from the trained model's by at most "
        f"{parity.max_abs:.2e}"
    )
    return Trained(
        manifest={**manifest, "files": {"model": MODEL_FILE}},
        files={"model": exported},
        metrics=curves,
        parity=parity,
        weights_digest=digest,
        kept={KEPT: kept},
    )


@dataclass(frozen=True, slots=True)
class _Parts:
    """Rows to learn from, and rows that are only measured on."""

    learnt: Rows | FarRows
    measured: Rows | FarRows | None


def _base(run: Run) -> Path:
    base = run.base.get(BASE)
    if base is None:
        raise no_model()
    # a work process has its files open, behind links of its own making
    return base.readlink() if base.is_symlink() else base


def _read(
    data: TrainingData,
    parameters: KerasParameters,
    binding: Binding,
    manifest: dict[str, Any],
    run: Run,
) -> _Parts:
    splits = choose_splits(data.description, parameters)
    graph = graph_for(manifest, binding)
    learnt = read_rows(data, splits.train, binding, graph, run)
    if len(learnt) != data.description.rows[splits.train]:
        raise RowsInvalid(f"The split '{splits.train}' has other rows than it declares.")
    if splits.validation is not None:
        return _Parts(learnt, read_rows(data, splits.validation, binding, graph, run))
    if not splits.held_out:
        return _Parts(learnt, None)
    places, held_out = held_out_places(len(learnt), splits.held_out, run.seed)
    return _Parts(learnt.chosen(places.numpy()), learnt.chosen(held_out.numpy()))


def _some(rows: Rows | FarRows) -> Rows:
    """Rows from all over: the first ones may all be of one class."""
    count = min(len(rows), ROWS)
    return rows.take(np.linspace(0, len(rows) - 1, count).astype(np.int64))
