"""What methods of explanation are asked, ask, and answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

import numpy as np

from modelry.domain.errors import InvalidInput
from modelry.explaining.course import Course, alone
from modelry.runtime_api.tensors import Array

MOST_CALLS = 20_000
LEAST_SECONDS, MOST_SECONDS = 0.1, 3600.0
"""That an explanation may be given."""
MOST_CHANGES = 6
"""Columns that a counterfactual may change."""
MOST_PRESENCES = 5_000_000
"""Calls times parts: what a method keeps in memory at once, as 64-bit numbers."""
TENSORS, BASELINE, OUTPUT = "tensors", "baseline", "output"
"""Fields of the item that stands for raw tensors: arrays (1, …) by name, the number that stands
where a part is away, and the output that is explained where no step after the engine tells."""
OTHERS_ARE_ASKED = "others_are_asked"
"""Tells a worker that other versions on its machine are asked, for which it stands back."""
_MOST_DIGITS = 9
Scores = Callable[[Array], Array]
"""For presences (n, parts) in 0..1, of which 1 keeps a part as it is and 0 takes it away, the
scores (n,) of the target, or (n, targets) of several."""


class Parts(Protocol):
    """One input in parts that can be taken away."""

    baseline: str
    """What stands where a part was taken away, in words."""
    repeats: int
    """Rows of the engine's inputs for each presence."""

    @property
    def count(self) -> int:
        """How many parts there are."""
        ...

    def inputs(self, presences: Array) -> Mapping[str, Array]:
        """The engine's inputs for presences (n, parts); the same number of rows for each."""
        ...

    def noisy(self, random: np.random.Generator) -> Self | None:
        """The same input, moved a little; None where nothing lies a little beside it."""
        ...

    def guess(self, random: np.random.Generator) -> Array:
        """Weights (parts,) by chance, as even among neighbours as those of explanations are."""
        ...

    def described(self, attribution: Attribution) -> dict[str, Any]:
        """Weights of the parts in the input's own terms, as JSON types."""
        ...


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caller asks for.

    Args:
        method: a name of `methods.METHODS`; None takes the usual one for the task.
        target: the label or index of the class to explain; None takes the best one.
        calls: how often the model may be asked for the explanation, without its check.
        seed: of everything that is random.
        checks: whether to measure how faithful and how stable it is.
        background: rows that stand for what is usual, for tables.
        picture: whether to draw it.
        given: weights of the parts that were found elsewhere: they are measured, and told.
        changeable: for counterfactuals: what may change, by column; see `changes`.
        goal: for counterfactuals of numbers: what is to be reached, `above` and `below`.
        most_changes: for counterfactuals: how many columns may change.
        seconds: that it may take, with its check.
        course: of the explanation that is made for it; never sent.
    """

    method: str | None = None
    target: str | int | None = None
    calls: int | None = None
    seed: int = 0
    checks: bool = True
    background: tuple[Any, ...] = ()
    picture: bool = False
    given: tuple[float, ...] = ()
    changeable: Mapping[str, Any] = field(default_factory=dict)
    goal: Mapping[str, Any] = field(default_factory=dict)
    most_changes: int | None = None
    seconds: float | None = None
    course: Course = field(default_factory=alone, compare=False, repr=False)

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Wish:
        """The wish that `to_wire` wrote."""
        rows = {name: tuple(wire.get(name) or ()) for name in ("background", "given")}
        return cls(**{**wire, **rows})

    def to_wire(self) -> dict[str, Any]:
        """This wish as JSON types."""
        return {
            "method": self.method,
            "target": self.target,
            "calls": self.calls,
            "seed": self.seed,
            "checks": self.checks,
            "background": list(self.background),
            "picture": self.picture,
            "given": list(self.given),
            "changeable": dict(self.changeable),
            "goal": dict(self.goal),
            "most_changes": self.most_changes,
            "seconds": self.seconds,
        }

    def bounded(self, usual: int, least: int, parts: int) -> int:
        """How often the model may be asked about an input of so many parts.

        Raises:
            InvalidInput: the wish leaves less than the method needs, or more than there is room
                for.
        """
        calls = usual if self.calls is None else self.calls
        if max(calls, least) * parts > MOST_PRESENCES:
            raise InvalidInput(
                f"{max(calls, least)} calls about an input of {parts} parts are too many: at most "
                f"{MOST_PRESENCES} in all, multiplied. Ask with fewer calls, about a smaller "
                "input, or with another method.",
                param="calls",
            )
        if calls < least:
            raise InvalidInput(
                f"calls is {calls}; this explanation needs at least {least}.", param="calls"
            )
        self.course.expect(calls, least)
        return calls


@dataclass(frozen=True, slots=True)
class Target:
    """What is explained: the score of a class, or the number that a model gives."""

    index: int
    label: str | None
    score: float


def index_meant(wanted: str | int | None) -> int | None:
    """The index that a target is, also written as a text; None where it is something else."""
    if isinstance(wanted, str):
        is_index = wanted.isascii() and wanted.isdigit() and len(wanted) <= _MOST_DIGITS
        return int(wanted) if is_index else None
    return wanted if type(wanted) is int else None


@dataclass(frozen=True, slots=True)
class Explained:
    """An explanation as JSON types, its picture, and what it took by unit."""

    told: dict[str, Any]
    usage: dict[str, int]
    picture: bytes = b""


@dataclass(frozen=True, slots=True)
class Attribution:
    """How much each part of the input did for the target's score.

    Args:
        weights: (parts,), or (parts, targets) where several share what was asked; above 0 for
            parts that raised the score.
        parameters: what the method did, with its numbers.
        baseline: what stands where a part was taken away, in words.
        interval: half-widths of the weights at 95 %, where the method estimates by sampling.
        remark: a sentence more, where there is something to know before it is relied on.
    """

    weights: Array
    parameters: Mapping[str, Any] = field(default_factory=dict)
    baseline: str = ""
    interval: Array | None = None
    remark: str = ""

    def of_target(self, at: int) -> Attribution:
        """That of one of several targets."""
        interval = None if self.interval is None else self.interval[:, at]
        return replace(self, weights=self.weights[:, at], interval=interval)


Method = Callable[[Scores, Any, Wish], Attribution]
"""Its second argument are the parts that it is made for."""
