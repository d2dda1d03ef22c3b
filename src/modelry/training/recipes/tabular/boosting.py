"""Gradient boosting (Friedman, 2001): each round's trees go down the slope of the loss so far.

What a round draws follows from the seed and its number, and answers are added up in one order: a
run that goes on from a checkpoint ends in the same forest, to the bit.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from modelry.domain.errors import Cancelled, Conflict, TrainingDiverged
from modelry.training.contract import Run
from modelry.training.loop import POINTS_PER_RUN
from modelry.training.recipes.tabular import TabularParameters
from modelry.training.recipes.tabular.growing import Binned, Growth, Slopes, grow
from modelry.training.recipes.tabular.table import TableRows
from modelry.training.recipes.tabular.trees import (
    Floats,
    Forest,
    Tree,
    add_round,
    load_rounds,
    save_rounds,
)


class Objective(Protocol):
    """What is made small, of answers (n, outputs)."""

    @property
    def base(self) -> Floats:
        """What every row's answer begins with, per output."""
        ...

    @property
    def first_output(self) -> int:
        """The first output that has trees."""
        ...

    def slopes(self, answers: Floats) -> tuple[Floats, Floats]:
        """First and second derivatives of the training rows' losses by each output with trees."""
        ...

    def loss(self, answers: Floats, targets: npt.NDArray[np.float64]) -> float:
        """The mean loss of answers."""
        ...


@dataclass(slots=True)
class Boosting:
    """One run of `boost`."""

    learnt: TableRows
    measured_on: TableRows | None
    objective: Objective
    parameters: TabularParameters
    run: Run
    fingerprint: str
    rounds: list[list[Tree]] = field(default_factory=list)
    saved_at: float = field(default_factory=time.monotonic)
    best_loss: float = np.inf
    best_rounds: int = 0

    def go(self) -> Forest:
        """All rounds; the forest of the best one where some rows are held out.

        Raises:
            TrainingDiverged: the loss is no number any more.
            Cancelled: the run was stopped; a checkpoint was saved.
            Conflict: the checkpoint is of another run.
        """
        parameters, objective = self.parameters, self.objective
        self._resume()
        forest = Forest(objective.base, self.rounds, objective.first_output)
        binned = Binned.of(self.learnt.cells)
        answers = np.repeat(objective.base[None], len(self.learnt), axis=0)
        held_out = self.measured_on
        theirs = None if held_out is None else np.repeat(objective.base[None], len(held_out), 0)
        growth = Growth(
            parameters.depth, parameters.least_rows, parameters.leaf_penalty, parameters.tree_rate
        )
        for number in range(parameters.trees):
            if number >= len(self.rounds):
                if self._is_enough(number):
                    break
                self.rounds.append(self._grow_round(number, binned, answers, growth))
            trees = self.rounds[number]
            add_round(answers, trees, self.learnt.cells, objective.first_output)
            if held_out is not None and theirs is not None:
                add_round(theirs, trees, held_out.cells, objective.first_output)
            self._measure(number + 1, answers, theirs)
            self._look_around(number + 1)
        kept = self.best_rounds if parameters.keep == "best" and self.best_rounds else None
        return forest if kept is None else forest.first(kept)

    def _grow_round(
        self, number: int, binned: Binned, answers: Floats, growth: Growth
    ) -> list[Tree]:
        randomness = np.random.default_rng([self.run.seed % 2**63, number])
        slopes, curvatures = self.objective.slopes(answers)
        count, columns = binned.places.shape
        rows = _drawn(randomness, count, self.parameters.row_share)
        asked = _drawn(randomness, columns, self.parameters.column_share)
        return [
            grow(binned, Slopes(slopes[:, at], curvatures[:, at]), rows, asked, growth)
            for at in range(slopes.shape[1])
        ]

    def _measure(self, done: int, answers: Floats, theirs: Floats | None) -> None:
        loss = self.objective.loss(answers, self.learnt.targets)
        if not np.isfinite(loss):
            raise TrainingDiverged(
                f"Training diverged: the loss after {done} trees is {loss}. Choose a smaller "
                "'tree_rate', or look for extreme values in the label."
            )
        values = {"loss": loss}
        if theirs is not None and self.measured_on is not None:
            held_out = self.objective.loss(theirs, self.measured_on.targets)
            values["validation_loss"] = held_out
            if held_out < self.best_loss:
                self.best_loss, self.best_rounds = held_out, done
        total = self.parameters.trees
        if done % max(1, total // POINTS_PER_RUN) == 0:
            self.run.metrics(done, values)
        self.run.progress(done, total, "trees", "growing trees")

    def _is_enough(self, done: int) -> bool:
        patience = self.parameters.early_stopping
        return patience is not None and 0 < self.best_rounds <= done - patience

    def _look_around(self, done: int) -> None:
        is_new = done == len(self.rounds)
        is_due = time.monotonic() - self.saved_at >= self.parameters.checkpoint_every_s
        if is_new and (is_due or self.run.stop.is_set()):
            self._save()
        if self.run.stop.is_set():
            raise Cancelled(f"Training was stopped after {len(self.rounds)} trees.")

    def _save(self) -> None:
        file = self.run.scratch / "checkpoint.npz"
        save_rounds(self.rounds, file, {"fingerprint": self.fingerprint})
        self.run.save_checkpoint(len(self.rounds), file)
        file.unlink(missing_ok=True)
        self.saved_at = time.monotonic()

    def _resume(self) -> None:
        file = self.run.checkpoint()
        if file is None:
            return
        rounds, about = load_rounds(file)
        if about.get("fingerprint") != self.fingerprint:
            raise Conflict(
                "The checkpoint is of a run with other data, parameters or seed; start a new job."
            )
        self.rounds.extend(rounds)
        self.run.log(f"going on after {len(rounds)} of {self.parameters.trees} trees")


def _drawn(randomness: np.random.Generator, count: int, share: float) -> npt.NDArray[np.int64]:
    """Some of the numbers under `count`, in order; at least one."""
    if share >= 1.0:
        return np.arange(count)
    chosen = randomness.permutation(count)[: max(1, round(count * share))]
    found: npt.NDArray[np.int64] = np.sort(chosen)
    return found
