"""Gradient descent on a Keras model, step by step, as `Model.fit` does it.

Each step is the model's own `train_step`, so that losses, metrics, regularisers, masks and layers
that act in training only are Keras'. The loop is ours because `fit` can neither stop within an
epoch nor go on from there: here the order of rows follows from seed and epoch alone, and everything
else that a step depends on is in the checkpoint.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from modelry.domain.errors import Cancelled, InvalidInput, TrainingDiverged
from modelry.runtime_api.tensors import Array
from modelry.training.contract import Run
from modelry.training.devices import CPU, told
from modelry.training.recipes.keras.arrays import slices
from modelry.training.recipes.keras.parameters import KerasParameters
from modelry.training.recipes.keras.rows import FarRows, Rows
from modelry.training.recipes.keras.state import (
    Standing,
    load_state,
    save_state,
    set_values,
    values_of,
)

POINTS_PER_EPOCH = 20
"""How often the curves get a point within an epoch."""
_RISING = (
    "acc",
    "auc",
    "precision",
    "recall",
    "f1",
    "fbeta",
    "iou",
    "r2",
    "true",
    "cosine",
    "pearson",
)
"""How curves are called of which more is better."""


class Fitting:
    """One run of training.

    Args:
        model: compiled, with its first weights.
        train: rows to learn from.
        validation: rows to look at after each epoch; None for none.
        parameters: of the recipe.
        run: what it tells and where it saves.
    """

    def __init__(
        self,
        model: Any,
        train: Rows | FarRows,
        validation: Rows | FarRows | None,
        parameters: KerasParameters,
        run: Run,
    ) -> None:
        self._model, self._train, self._validation = model, train, validation
        self._parameters, self._run = parameters, run
        self._steps = math.ceil(len(train) / parameters.batch_size)
        self._standing = Standing()
        self._best: list[Array] | None = None
        self._monitor = parameters.monitor or ("loss" if validation is None else "val_loss")
        self._saved_at = time.monotonic()
        self._row_weights = _row_weights(train, parameters, run)

    def run(self) -> dict[str, float]:
        """Train; the result is the curves' last values.

        Raises:
            TrainingDiverged: the loss is no number any more.
            Cancelled: the run was stopped; a checkpoint was saved.
        """
        # metrics get their variables when they first see answers; a checkpoint has them
        evaluate(self._model, self._train.take(slice(0, 2)), 2)
        self._model.reset_metrics()
        kept = self._run.checkpoint()
        if kept is not None:
            self._standing, self._best = load_state(kept, self._model)
            self._run.log(
                f"going on after step {self._standing.step} of epoch {self._standing.epoch + 1}"
            )
        standing = self._standing
        if line := told(device_of(self._model), self._parameters.device):
            self._run.log(line)
        began, first = time.monotonic(), self._steps * standing.epoch + standing.step
        while standing.epoch < self._parameters.epochs and not standing.stopped:
            self._one_epoch(standing)
        done = self._steps * standing.epoch + standing.step - first
        self._run.log(f"trained {done} steps in {time.monotonic() - began:.2f} s")
        if self._parameters.keep == "best" and self._best is not None:
            set_values(self._model.weights, self._best)
        elif getattr(self._model.optimizer, "use_ema", False):
            self._model.optimizer.finalize_variable_values(self._model.trainable_weights)
        return standing.curves

    def _one_epoch(self, standing: Standing) -> None:
        order = self._order(standing.epoch)
        size = self._parameters.batch_size
        if standing.step == 0:
            self._model.reset_metrics()
        for step in range(standing.step, self._steps):
            at: Any = slice(step * size, (step + 1) * size)
            logs = self._step(at if order is None else order[at])
            standing.step = step + 1
            self._tell(standing, logs)
            if standing.step == self._steps:
                self._finish_epoch(standing, logs)
            self._look_around()

    def _order(self, epoch: int) -> Array | None:
        if not self._parameters.shuffle:
            return None
        random = np.random.default_rng([self._run.seed, epoch])
        return self._train.order(random)

    def _step(self, at: Any) -> Mapping[str, Any]:
        weights = None if self._row_weights is None else self._row_weights[at]
        fed = _fed(self._model, self._train.take(at), weights)
        logs: Mapping[str, Any] = self._model.train_step(fed)
        return logs

    def _tell(self, standing: Standing, logs: Mapping[str, Any]) -> None:
        loss = float(logs["loss"])
        step = standing.epoch * self._steps + standing.step
        if not math.isfinite(loss):
            raise TrainingDiverged(
                f"The loss is {loss} at step {standing.step} of epoch {standing.epoch + 1} (step "
                f"{step} in all). Take a smaller learning rate, clip gradients ('clipnorm' of the "
                "optimiser), or bring the features into a range such as 0 to 1."
            )
        total = self._parameters.epochs * self._steps
        phase = f"epoch {standing.epoch + 1} of {self._parameters.epochs}"
        self._run.progress(step, total, "steps", phase)
        if standing.step % max(1, self._steps // POINTS_PER_EPOCH) == 0:
            self._run.metrics(step, numbers(logs))

    def _finish_epoch(self, standing: Standing, logs: Mapping[str, Any]) -> None:
        standing.curves = numbers(logs)
        if self._validation is not None:
            found = evaluate(self._model, self._validation, self._parameters.batch_size)
            standing.curves |= {f"val_{name}": value for name, value in found.items()}
        step = (standing.epoch + 1) * self._steps
        self._run.metrics(step, standing.curves)
        told = " ".join(f"{name} {value:.4f}" for name, value in standing.curves.items())
        self._run.log(f"epoch {standing.epoch + 1}: {told}")
        self._watch(standing)
        standing.epoch, standing.step = standing.epoch + 1, 0

    def _watch(self, standing: Standing) -> None:
        """Keep the best weights, and see whether patience is at its end."""
        if self._parameters.early_stopping is None and self._parameters.keep == "last":
            return
        value = standing.curves.get(self._monitor)
        if value is None:
            raise InvalidInput(
                f"There is no curve '{self._monitor}' to watch; there are "
                f"{', '.join(standing.curves)}.",
                param="monitor",
            )
        rising = any(word in self._monitor for word in _RISING)
        best = standing.best
        if best is None or (value > best if rising else value < best):
            standing.best, standing.waited = value, 0
            if self._parameters.keep == "best":
                self._best = values_of(self._model.weights)
            return
        standing.waited += 1
        patience = self._parameters.early_stopping
        if patience is not None and standing.waited >= patience:
            standing.stopped = True
            self._run.log(f"{self._monitor} was not better for {patience} epochs: stopped early")

    def _look_around(self) -> None:
        """Between two steps: save now and then, end when asked to."""
        is_due = time.monotonic() - self._saved_at >= self._parameters.checkpoint_every_s
        is_stopped = self._run.stop.is_set()
        if is_due or is_stopped:
            self._save()
        # saving itself may have been what the stop waited for
        if is_stopped or self._run.stop.is_set():
            raise Cancelled("The training was stopped; where it was is saved.")

    def _save(self) -> None:
        standing = self._standing
        file = self._run.scratch / "checkpoint.npz"
        save_state(file, self._model, standing, self._best)
        self._run.save_checkpoint(standing.epoch * self._steps + standing.step, file)
        file.unlink(missing_ok=True)
        self._saved_at = time.monotonic()


def evaluate(model: Any, rows: Rows | FarRows, size: int) -> dict[str, float]:
    """Loss and metrics of a model on rows."""
    model.reset_metrics()
    logs: Mapping[str, Any] = {}
    with torch.no_grad():
        for at in slices(len(rows), max(size, 256)):
            part = rows.take(at)
            logs = model.test_step(_fed(model, part, part.weights))
    return numbers(logs)


def predict(model: Any, rows: Rows, size: int = 256) -> list[Array]:
    """What a model answers, per output."""
    answers: list[list[Array]] = []
    with torch.no_grad():
        for at in slices(len(rows), size):
            made = model(as_taken(model, as_inputs(rows.take(at))), training=False)
            answers.append([one.cpu().numpy() for one in outputs_of(made)])
    return [np.concatenate(parts) for parts in zip(*answers, strict=True)]


def outputs_of(made: Any) -> list[Any]:
    """Tensors in the order of the model's outputs, whatever structure it gives them in."""
    import keras

    found: list[Any] = keras.tree.flatten(made)
    return found


def as_taken(model: Any, flat: Sequence[Any]) -> Any:
    """Tensors of all inputs in the structure in which a model takes them."""
    return _packed(getattr(model, "input", None), flat)


def _packed(structure: Any, flat: Sequence[Any]) -> Any:
    import keras

    # a Sequential tells no structure: it has one input and one output
    return flat[0] if len(flat) == 1 else keras.tree.pack_sequence_as(structure, list(flat))


def as_inputs(rows: Rows) -> list[torch.Tensor]:
    """Tensors of the model's own types."""
    return [
        torch.from_numpy(np.ascontiguousarray(one.astype(dtype, copy=False)))
        for one, dtype in zip(rows.inputs, rows.dtypes, strict=True)
    ]


def as_targets(rows: Rows) -> list[torch.Tensor]:
    """Tensors of the targets; numbers that are not whole are float32."""
    made = []
    for one in rows.targets:
        values = one.astype(np.float32, copy=False) if one.dtype.kind == "f" else one
        made.append(torch.from_numpy(np.ascontiguousarray(values)))
    return made


def _fed(model: Any, rows: Rows, weights: Array | None) -> tuple[Any, Any, Any]:
    """Inputs, targets and weights of rows as the model's own steps take them, where it is.

    Keras would bring them there by itself: each again for the loss and for every metric.
    """
    device = device_of(model)
    inputs = [one.to(device) for one in as_inputs(rows)]
    targets = [one.to(device) for one in as_targets(rows)]
    weighed = None if weights is None else torch.from_numpy(weights).to(device)
    outputs = getattr(model, "output", None)
    return as_taken(model, inputs), _packed(outputs, targets), weighed


def device_of(model: Any) -> torch.device:
    """Where a model's weights are."""
    device: torch.device = model.weights[0].value.device if model.weights else CPU
    return device


def numbers(logs: Mapping[str, Any]) -> dict[str, float]:
    """Curves as floats; metrics that are arrays are left out."""
    found: dict[str, float] = {}
    for name, value in logs.items():
        array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
        if array.size == 1 and np.isfinite(array).all():
            found[str(name)] = float(array.reshape(()))
    return found


def _row_weights(train: Rows | FarRows, parameters: KerasParameters, run: Run) -> Array | None:
    wanted = parameters.class_weights
    if wanted is None:
        return train.weights
    labels = train.targets[0]
    if len(train.targets) != 1:
        raise InvalidInput("'class_weights' is for models with one output.", param="class_weights")
    classes = labels.argmax(axis=1) if labels.ndim > 1 else labels.astype(np.int64)
    if wanted == "balanced":
        found, counts = np.unique(classes, return_counts=True)
        by_class = {
            int(one): float(len(classes) / (len(found) * count))
            for one, count in zip(found, counts, strict=True)
        }
        run.log(f"class weights: { {one: round(value, 4) for one, value in by_class.items()} }")
    else:
        by_class = wanted
    table = np.ones(int(classes.max(initial=0)) + 1, np.float32)
    for one, value in by_class.items():
        if 0 <= one < len(table):
            table[one] = value
    made: Array = table[classes]
    return made if train.weights is None else made * train.weights
