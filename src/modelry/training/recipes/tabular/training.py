"""From rows of a table to a version that predicts a class or a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modelry.domain.datasets import Column
from modelry.domain.signature import DYNAMIC, Datatype, Signature, TensorSpec
from modelry.metrics import regression
from modelry.runtime_api.tensors import Array
from modelry.tasks.background_rows import BACKGROUND_ROLE, background_file
from modelry.training.checkpoints import fingerprint_of
from modelry.training.classifying import (
    ClassLoss,
    accuracy_of,
    class_steps,
    held_out_places,
    logits_spec,
    measured,
)
from modelry.training.contract import Run, Trained, TrainingData
from modelry.training.inputs import graph_of
from modelry.training.labels import Classes, balanced_weights, check_occurring, find_classes
from modelry.training.loop import Monitor, fit, prepare
from modelry.training.outcome import Exporting, Outcome, finish, finish_exported
from modelry.training.parity import ROWS, TOLERANCE
from modelry.training.recipes.tabular import TabularParameters, chosen_cells, chosen_label
from modelry.training.recipes.tabular.boosting import Boosting
from modelry.training.recipes.tabular.network import TableNetwork
from modelry.training.recipes.tabular.objectives import ClassObjective, NumberObjective
from modelry.training.recipes.tabular.table import (
    INPUT,
    TableReader,
    TableRows,
    declared_columns,
)
from modelry.training.recipes.tabular.tree_file import write_forest
from modelry.training.selection import choose_splits

VALUE = "value"
BACKGROUND_FILE = "background.json"
TASK = "tabular"

_LOSSES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "squared": torch.nn.functional.mse_loss,
    "absolute": torch.nn.functional.l1_loss,
    "huber": torch.nn.functional.huber_loss,
}


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything that is known before a model is chosen."""

    learnt: TableRows
    measured_on: TableRows | None
    classes: Classes | None
    signature: Signature
    manifest: Mapping[str, Any]
    categories: Sequence[int]
    fingerprint: str
    files: Mapping[str, Path]

    @property
    def compared(self) -> TableRows:
        """The rows of the parity check."""
        held_out = self.measured_on
        whole = self.learnt if held_out is None or len(held_out) < 2 else held_out
        return whole.take(np.arange(min(ROWS, len(whole))))

    @property
    def output(self) -> str:
        """The name of the model's output."""
        return self.signature.outputs[0].name

    def tolerance(self) -> float:
        """Of the parity check: relative to the largest target, where those are over 1."""
        if self.classes is not None:
            return TOLERANCE
        return TOLERANCE * max(1.0, float(np.abs(self.compared.targets).max()))

    def measure(self, answers: Array, rows: TableRows) -> dict[str, float]:
        """How good answers (n, outputs) are."""
        if self.classes is not None:
            return measured(answers, rows.targets)
        return regression.summary(rows.targets, answers[:, 0])

    def metric(self) -> tuple[str, Callable[[Mapping[str, Array]], float]]:
        """What the parity check tells for both models."""
        rows = self.compared
        if self.classes is not None:
            return accuracy_of(rows.targets)
        return "mean_squared_error", lambda outputs: regression.mean_squared_error(
            rows.targets, outputs[VALUE][:, 0]
        )


def train(data: TrainingData, parameters: TabularParameters, run: Run) -> Trained:
    """See `Recipe.train`."""
    prepared = _prepared(data, parameters, run)
    if parameters.model == "trees":
        return _train_trees(prepared, parameters, run)
    return _train_network(prepared, parameters, run)


def _prepared(data: TrainingData, parameters: TabularParameters, run: Run) -> Prepared:
    label, has_classes = chosen_label(data.description, parameters)
    cells = chosen_cells(data.description, parameters, label)
    splits = choose_splits(data.description, parameters)
    used = [splits.train, *([splits.validation] if splits.validation else [])]
    classes = find_classes(data, label, used) if has_classes else None
    declared = declared_columns(data, cells, used)
    spec = (
        TensorSpec(VALUE, Datatype.FP32, (DYNAMIC, 1))
        if classes is None
        else logits_spec(len(classes.names))
    )
    signature = Signature(
        (TensorSpec(INPUT, Datatype.FP32, (DYNAMIC, len(cells))),), (spec,), batched=True
    )
    manifest = _manifest(declared, classes)
    graph = graph_of(
        TASK, manifest["pre"], manifest["post"], signature, labels=manifest.get("labels")
    )
    reader = TableReader(data, cells, label, classes, graph, run)
    learnt = reader.read(splits.train)
    files = _background(reader, splits.train, parameters.background_rows)
    held_out: TableRows | None = None
    if splits.validation is not None:
        held_out = reader.read(splits.validation)
    elif splits.held_out:
        places, theirs = held_out_places(len(learnt), splits.held_out, run.seed)
        learnt, held_out = learnt.take(places.numpy()), learnt.take(theirs.numpy())
    if classes is not None:
        check_occurring(learnt.targets, classes, splits.train)
    return Prepared(
        learnt=learnt,
        measured_on=held_out,
        classes=classes,
        signature=signature,
        manifest=manifest,
        categories=[len(column.get("values", ())) for column in declared],
        fingerprint=_mark(data, cells, label),
        files=files,
    )


def _background(reader: TableReader, split: str, most: int) -> dict[str, Path]:
    """The file of rows that explanations of the version begin from, none where none are wanted."""
    if not most:
        return {}
    rows = reader.sample(split, most)
    file = reader.run.scratch / BACKGROUND_FILE
    names = [one.name for one in reader.columns]
    file.write_bytes(background_file(names, rows, f"a random sample of the split '{split}'"))
    reader.run.log(f"{len(rows)} rows of '{split}' are kept with the version for explanations")
    return {BACKGROUND_ROLE: file}


def _mark(data: TrainingData, cells: Sequence[Column], label: Column) -> str:
    return f"{data.description.digest} {[one.name for one in cells]} {label.name}"


def _manifest(declared: list[dict[str, Any]], classes: Classes | None) -> dict[str, Any]:
    pre = [{"columns": declared}]
    if classes is None:
        return {"task": TASK, "pre": pre, "post": [{"output": VALUE}]}
    post = class_steps(len(classes.names))
    return {"task": TASK, "pre": pre, "post": post, "labels": list(classes.names)}


def _train_trees(prepared: Prepared, parameters: TabularParameters, run: Run) -> Trained:
    learnt = prepared.learnt
    objective: ClassObjective | NumberObjective
    if prepared.classes is not None:
        count = len(prepared.classes.names)
        weights = np.ones(count, np.float32)
        if parameters.class_weights == "balanced":
            weights = balanced_weights(learnt.targets, count)
        objective = ClassObjective(learnt.targets, count, weights)
    else:
        objective = NumberObjective(learnt.targets, parameters.loss)
    forest = Boosting(
        learnt=learnt,
        measured_on=prepared.measured_on,
        objective=objective,
        parameters=parameters,
        run=run,
        fingerprint=fingerprint_of(
            prepared.fingerprint,
            run.seed,
            len(learnt),
            parameters.model_dump(exclude={"checkpoint_every_s"}),
        ),
    ).go()
    run.log(f"{len(forest.rounds)} rounds of trees are kept")
    rows = prepared.measured_on or learnt
    metrics = prepared.measure(forest.answers(rows.cells), rows)
    name = prepared.output
    return finish_exported(
        Exporting(
            write=lambda file: write_forest(forest, learnt.cells.shape[1], INPUT, name, file),
            answers=lambda inputs: {name: forest.answers(inputs[INPUT])},
            weights_digest=forest.digest(),
            signature=prepared.signature,
            manifest=prepared.manifest,
            rows={INPUT: prepared.compared.cells},
            metrics=metrics if prepared.measured_on else {"loss": _loss(metrics)},
            metric=prepared.metric(),
            tolerance=prepared.tolerance(),
            files=prepared.files,
        ),
        run,
    )


def _loss(metrics: Mapping[str, float]) -> float:
    return metrics["loss"] if "loss" in metrics else metrics["mean_squared_error"]


class Examples:
    """Implements `loop.Examples`: cells and targets, scaled if they are numbers."""

    def __init__(self, cells: torch.Tensor, targets: torch.Tensor) -> None:
        self._cells, self._targets = cells, targets

    def __len__(self) -> int:
        return len(self._cells)

    def batch(self, places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `loop.Examples.batch`."""
        places = places.to(self._cells.device)
        return self._cells[places], self._targets[places]


def _train_network(prepared: Prepared, parameters: TabularParameters, run: Run) -> Trained:
    device = prepare(run.seed, parameters)
    learnt, held_out = prepared.learnt, prepared.measured_on
    outputs = prepared.signature.outputs[0].shape[1]
    model = TableNetwork(
        learnt.cells, prepared.categories, outputs, parameters.layers, parameters.dropout
    )
    loss: Callable[[Any], torch.Tensor]
    if prepared.classes is not None:
        measure = ClassLoss(learnt.targets, outputs, parameters.class_weights).to(device)
        targets = torch.from_numpy(learnt.targets)
        loss = lambda batch: measure(model.standard(batch[0]), batch[1])  # noqa: E731
    else:
        model.scale_outputs(learnt.targets)
        scaled = (learnt.targets - learnt.targets.mean()) / (learnt.targets.std() or 1.0)
        targets = torch.from_numpy(scaled.astype(np.float32))[:, None]
        error = _LOSSES[parameters.loss]
        loss = lambda batch: error(model.standard(batch[0]), batch[1])  # noqa: E731
    model.to(device)
    fitted = fit(
        model,
        Examples(torch.from_numpy(learnt.cells).to(device), targets.to(device)),
        loss,
        parameters,
        run,
        validate=_measuring(model, prepared, held_out, device) if held_out else None,
        monitor=Monitor("loss" if prepared.classes else "mean_squared_error"),
        fingerprint=prepared.fingerprint,
    )
    return finish(
        Outcome(
            model=model,
            signature=prepared.signature,
            manifest=prepared.manifest,
            rows={INPUT: prepared.compared.cells},
            metrics=fitted.measured or {"loss": fitted.loss},
            metric=prepared.metric(),
            tolerance=prepared.tolerance(),
            files=prepared.files,
        ),
        run,
    )


def _measuring(
    model: torch.nn.Module, prepared: Prepared, rows: TableRows, device: torch.device
) -> Callable[[], dict[str, float]]:
    cells = torch.from_numpy(rows.cells).to(device)
    return lambda: prepared.measure(model(cells).float().cpu().numpy(), rows)
