"""Gradient descent over examples: the loop that recipes share.

Everything random follows from the run's seed and the number of the step, never from what happened
before: the order of an epoch from its number, what a step draws (dropout, augmentation) from
torch's own generator, which is seeded anew for every step. So a checkpoint holds no generator's
state, and a run that goes on from one ends in the same weights, to the bit on a CPU.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from modelry.domain.errors import Cancelled, Conflict, InvalidInput, TrainingDiverged
from modelry.training.checkpoints import (
    Checkpoint,
    fingerprint_of,
    read_checkpoint,
    write_checkpoint,
)
from modelry.training.contract import Run
from modelry.training.devices import chosen_device, computes_in_bfloat16, told
from modelry.training.options import LoopParameters
from modelry.training.schedules import rate_factor
from modelry.training.weights import copy_of, first_not_finite

POINTS_PER_RUN = 500
"""About how many points of the live curves a run tells, beside one per epoch."""
STEPS_IN_FLIGHT = 20
"""After how many steps a GPU is asked for its losses: each question waits for it."""
PROGRESS_EVERY_S = 0.2

Plan = Callable[[torch.Generator], Sequence[torch.Tensor]]
"""The batches of an epoch, each the places of its rows, from a generator seeded for it.

Every epoch must have as many batches: a run that goes on finds its place by counting steps."""


class Examples(Protocol):
    """Rows that are ready to be learnt from."""

    def __len__(self) -> int:
        """How many."""
        ...

    def batch(self, places: torch.Tensor) -> Any:
        """What the loss takes, of the rows at `places` (int64).

        Called once per step; randomness comes from torch's own generator.
        """
        ...


@dataclass(frozen=True, slots=True)
class Monitor:
    """Which of the values of `validate` tells a good epoch."""

    name: str = "loss"
    larger_is_better: bool = False

    def is_better(self, value: float, than: float | None) -> bool:
        """Whether an epoch with this value is better; NaN never is."""
        if than is None:
            return not math.isnan(value)
        return value > than if self.larger_is_better else value < than

    def is_as_good(self, value: float, than: float | None) -> bool:
        """Whether it is at least as good: of equal epochs the later one has learnt more."""
        return value == than or self.is_better(value, than)


@dataclass(frozen=True, slots=True)
class Fitted:
    """How a run went; the model has the weights that are kept.

    Attributes:
        steps: that were done, over all attempts.
        epochs: that were begun.
        kept_epoch: whose weights the model has, from 1.
        loss: mean over the last epoch's training rows.
        measured: what `validate` told of the kept epoch; empty without.
    """

    steps: int
    epochs: int
    kept_epoch: int
    loss: float
    measured: Mapping[str, float] = field(default_factory=dict)


def prepare(seed: int, options: LoopParameters) -> torch.device:
    """Seed torch and choose the device; before the model is made.

    Raises:
        NotSupported: a GPU is asked for and there is none, or it does not compute.
    """
    if options.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read as a GPU is first used
    device = chosen_device(options.device)
    if options.deterministic:
        # every tensor would be filled before it is written, which finds defects and costs time
        setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010
    # operations that have no deterministic way exist on GPUs only; there torch warns of them
    torch.use_deterministic_algorithms(options.deterministic, warn_only=device.type == "cuda")
    torch.backends.cudnn.benchmark = not options.deterministic
    torch.manual_seed(_mixed(seed, 0))
    return device


def fit(
    model: torch.nn.Module,
    examples: Examples,
    loss: Callable[[Any], torch.Tensor],
    options: LoopParameters,
    run: Run,
    *,
    validate: Callable[[], Mapping[str, float]] | None = None,
    monitor: Monitor | None = None,
    plan: Plan | None = None,
    optimiser: torch.optim.Optimizer | None = None,
    fingerprint: str = "",
) -> Fitted:
    """Change the model's weights so that the loss gets small.

    Goes on from `run.checkpoint()` where there is one.

    Args:
        model: on its device already; left in evaluation mode, with the weights that are kept.
        examples: what it learns from.
        loss: of a batch that `examples.batch` gave: its mean, as a scalar tensor that gradients
            flow back from.
        options: epochs, batches, optimiser, schedule, ...
        run: told how it goes.
        validate: measures the model, in evaluation mode and without gradients, after each epoch.
        monitor: which of its values decides; the loss by default.
        plan: how an epoch is cut into batches; shuffled rows, `batch_size` each, by default.
        optimiser: instead of the one that `options` name; a group's `rate` multiplies its
            learning rate, and a group with `after` stays as it is for so many steps.
        fingerprint: of what else must be the same for going on from a checkpoint.

    Raises:
        InvalidInput: there is nothing to learn from.
        TrainingDiverged: a loss or a weight is no number any more.
        Cancelled: `run.stop` was raised; a checkpoint was saved.
        Conflict: the checkpoint is of a run with other data, parameters or seed.
    """
    if len(examples) == 0:
        raise InvalidInput("There are no rows to learn from; see which split has some.")
    mark = fingerprint_of(
        fingerprint, run.seed, len(examples), options.model_dump(exclude={"checkpoint_every_s"})
    )
    chosen = optimiser or make_optimiser(model.parameters(), options)
    loop = _Loop(
        model=model,
        examples=examples,
        loss=loss,
        options=options,
        run=run,
        validate=validate,
        monitor=monitor or Monitor(),
        optimiser=chosen,
        fingerprint=mark,
    )
    return loop.go(plan or shuffled(len(examples), options.batch_size))


def shuffled(count: int, batch_size: int) -> Plan:
    """A plan of `count` rows in an order of its own each epoch, `batch_size` at a time."""

    def plan(generator: torch.Generator) -> Sequence[torch.Tensor]:
        return torch.split(torch.randperm(count, generator=generator), batch_size)

    return plan


def make_optimiser(parameters: Any, options: LoopParameters) -> torch.optim.Optimizer:
    """The optimiser that `options` name, for parameters or groups of them."""
    rate, decay = options.learning_rate, options.weight_decay
    held = [_listed(one) for one in parameters]
    # one kernel for all weights, where dozens would be waited for; a CPU has nothing to gain
    fused = True if _is_on_gpu(held) else None
    if options.optimiser == "sgd":
        return torch.optim.SGD(
            held,
            lr=rate,
            momentum=options.momentum,
            weight_decay=decay,
            nesterov=options.momentum > 0,
            fused=fused,
        )
    kind = torch.optim.AdamW if options.optimiser == "adamw" else torch.optim.Adam
    return kind(held, lr=rate, weight_decay=decay, fused=fused)


def _listed(one: Any) -> Any:
    return {**one, "params": list(one["params"])} if isinstance(one, Mapping) else one


def _is_on_gpu(held: Sequence[Any]) -> bool:
    """Whether all of these parameters, or of these groups of them, are."""
    groups = (one["params"] if isinstance(one, Mapping) else [one] for one in held)
    return all(one.is_cuda for group in groups for one in group)


def _mixed(seed: int, number: int) -> int:
    """A seed for one step or epoch: far from those of its neighbours (splitmix64)."""
    mixed = (seed * 0x9E3779B97F4A7C15 + number * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) % 2**64
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB % 2**64
    return (mixed ^ (mixed >> 31)) % 2**63


@dataclass(slots=True)
class _Loop:
    """One run of `fit`."""

    model: torch.nn.Module
    examples: Examples
    loss: Callable[[Any], torch.Tensor]
    options: LoopParameters
    run: Run
    validate: Callable[[], Mapping[str, float]] | None
    monitor: Monitor
    optimiser: torch.optim.Optimizer
    fingerprint: str
    step: int = 0
    total: int = 0
    pending: list[tuple[torch.Tensor, int]] = field(default_factory=list)
    losses: tuple[float, int] = (0.0, 0)
    best: dict[str, torch.Tensor] | None = None
    best_value: float | None = None
    best_epoch: int = 0
    epochs_since_best: int = 0
    best_measured: dict[str, float] = field(default_factory=dict)
    measured: dict[str, float] = field(default_factory=dict)
    saved_step: int = -1
    saved_at: float = field(default_factory=time.monotonic)
    told_at: float = field(default_factory=time.monotonic)
    weights: list[torch.nn.Parameter] = field(init=False)
    device: torch.device = field(init=False)
    is_mixed: bool = field(init=False)

    def __post_init__(self) -> None:
        self.weights = [one for one in self.model.parameters() if one.requires_grad]
        self.device = self.weights[0].device if self.weights else torch.device("cpu")
        self.is_mixed = self._has_mixed_precision()

    def go(self, plan: Plan) -> Fitted:
        """All epochs."""
        per_epoch = len(self._batches(plan, 0))
        self.total = per_epoch * self.options.epochs
        tell_every = max(1, self.total // POINTS_PER_RUN)
        if line := told(self.device, self.options.device, in_bfloat16=self.is_mixed):
            self.run.log(line)
        self._resume()
        self.model.train()
        epoch = self.step // per_epoch
        mean = math.nan
        while self.step < self.total and not self._is_enough():
            batches = self._batches(plan, epoch)
            for places in batches[self.step % per_epoch :]:
                self._one_step(places, epoch)
                is_last = self.step % per_epoch == 0
                if is_last or self.step % tell_every == 0:
                    mean = self._tell_curves()
                if is_last:
                    self._end_epoch(epoch + 1, mean)
                self._look_around()
            epoch += 1
        return self._finish(epoch, mean)

    def _batches(self, plan: Plan, epoch: int) -> Sequence[torch.Tensor]:
        generator = torch.Generator().manual_seed(_mixed(self.run.seed, 2 * epoch + 1))
        return plan(generator)

    def _one_step(self, places: torch.Tensor, epoch: int) -> None:
        options = self.options
        factor = rate_factor(options.schedule, self.step, self.total, options.warm_up)
        for group in self.optimiser.param_groups:
            share = group.get("rate", 1.0) if self.step >= group.get("after", 0) else 0.0
            group["lr"] = options.learning_rate * factor * share
        seed = _mixed(self.run.seed, 2 * self.step + 2)
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        batch = self.examples.batch(places)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.is_mixed):
            loss = self.loss(batch)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if options.clip_gradient is not None:
            torch.nn.utils.clip_grad_norm_(self.weights, options.clip_gradient)
        self.optimiser.step()
        self.step += 1
        self.pending.append((loss.detach(), len(places)))
        if self.device.type == "cpu" or len(self.pending) >= STEPS_IN_FLIGHT:
            self._take_losses()
        now = time.monotonic()
        if now - self.told_at >= PROGRESS_EVERY_S or self.step == self.total:
            self.told_at = now
            phase = f"epoch {epoch + 1} of {options.epochs}"
            self.run.progress(self.step, self.total, "steps", phase)

    def _has_mixed_precision(self) -> bool:
        if self.device.type == "cpu":
            return self.options.cpu_bfloat16
        return self.options.mixed_precision and computes_in_bfloat16(self.device)

    def _take_losses(self) -> None:
        """Add up the losses of the steps since the last call."""
        total, rows = self.losses
        first = self.step - len(self.pending) + 1
        values = [loss for loss, _ in self.pending]
        found = values[0].reshape(1).tolist() if len(values) == 1 else torch.stack(values).tolist()
        for at, (value, (_, count)) in enumerate(zip(found, self.pending, strict=True)):
            if not math.isfinite(value):
                raise self._diverged(f"the loss of step {first + at} is {value}")
            total, rows = total + value * count, rows + count
        self.losses = (total, rows)
        self.pending.clear()

    def _diverged(self, what: str) -> TrainingDiverged:
        return TrainingDiverged(
            f"Training diverged: {what}, at a learning rate of up to "
            f"{self.options.learning_rate:g}. Choose a smaller 'learning_rate', set "
            "'clip_gradient' (1.0 is usual), or look for extreme values in the data."
        )

    def _tell_curves(self) -> float:
        """The mean loss of this epoch's rows so far, as Keras shows it."""
        if self.pending:
            self._take_losses()
        mean = self.losses[0] / max(1, self.losses[1])
        rate = float(self.optimiser.param_groups[0]["lr"])
        self.run.metrics(self.step, {"loss": mean, "learning_rate": rate})
        return mean

    def _end_epoch(self, epoch: int, mean: float) -> None:
        self.losses = (0.0, 0)
        told = f"epoch {epoch} of {self.options.epochs}: loss {mean:.4f}"
        if self.validate is not None:
            self.model.eval()
            with torch.no_grad():
                self.measured = dict(self.validate())
            self.model.train()
            values = {f"validation_{name}": value for name, value in self.measured.items()}
            self.run.metrics(self.step, {"epoch": float(epoch), **values})
            told += "".join(f", {name} {value:.4f}" for name, value in values.items())
            self._keep_if_better(epoch)
        self.run.log(told)

    def _keep_if_better(self, epoch: int) -> None:
        value = self.measured[self.monitor.name]
        is_better = self.monitor.is_better(value, self.best_value)
        self.epochs_since_best = 0 if is_better else self.epochs_since_best + 1
        if self.monitor.is_as_good(value, self.best_value):
            self.best_value, self.best_epoch = value, epoch
            self.best_measured = self.measured
            if self.options.keep == "best":
                self.best = copy_of(self.model.state_dict())

    def _is_enough(self) -> bool:
        patience = self.options.early_stopping
        return patience is not None and self.epochs_since_best >= patience

    def _look_around(self) -> None:
        """Between two steps: save now and then, end when asked to."""
        is_due = time.monotonic() - self.saved_at >= self.options.checkpoint_every_s
        if is_due or self.run.stop.is_set():
            self._save()
        if self.run.stop.is_set():
            raise Cancelled(f"Training was stopped after step {self.step} of {self.total}.")

    def _save(self) -> None:
        if self.saved_step == self.step:
            return
        if self.pending:
            self._take_losses()
        weights = self.model.state_dict()
        broken = first_not_finite(weights)
        if broken is not None:  # going on from such a checkpoint would be in vain
            raise self._diverged(f"after step {self.step} the weight '{broken}' is no number")
        file = self.run.scratch / "checkpoint.pt"
        write_checkpoint(
            Checkpoint(
                fingerprint=self.fingerprint,
                step=self.step,
                model=weights,
                optimiser=self.optimiser.state_dict(),
                losses=self.losses,
                best=self.best,
                best_value=self.best_value,
                best_epoch=self.best_epoch,
                epochs_since_best=self.epochs_since_best,
                best_measured=self.best_measured,
                measured=self.measured,
            ),
            file,
        )
        self.run.save_checkpoint(self.step, file)
        file.unlink(missing_ok=True)
        self.saved_at, self.saved_step = time.monotonic(), self.step

    def _resume(self) -> None:
        file = self.run.checkpoint()
        if file is None:
            return
        found = read_checkpoint(file)
        if found.fingerprint != self.fingerprint:
            raise Conflict(
                "The checkpoint is of a run with other data, parameters or seed; start a new job."
            )
        self.model.load_state_dict(found.model)
        self.optimiser.load_state_dict(found.optimiser)
        self.step, self.losses = found.step, found.losses
        self.saved_step = found.step
        self.best, self.best_value = found.best, found.best_value
        self.best_epoch, self.epochs_since_best = found.best_epoch, found.epochs_since_best
        self.best_measured, self.measured = found.best_measured, found.measured
        self.run.log(f"going on after step {self.step} of {self.total}")

    def _finish(self, epochs: int, mean: float) -> Fitted:
        kept, measured = epochs, self.measured
        if self.best is not None:
            self.model.load_state_dict(self.best)
            kept, measured = self.best_epoch, self.best_measured
        broken = first_not_finite(self.model.state_dict())
        if broken is not None:
            raise self._diverged(f"after step {self.step} the weight '{broken}' is no number")
        self.model.eval()
        return Fitted(self.step, epochs, kept, mean, measured)
