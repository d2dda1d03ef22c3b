"""Which values of which parameters a search may try."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelry.domain.errors import InvalidInput
from modelry.training.contract import Recipe
from modelry.training.registry import read_parameters

MAX_PARAMETERS = 32
MAX_CHOICES = 100
_KEYS = frozenset({"low", "high", "log", "step"})


@dataclass(frozen=True, slots=True)
class Choices:
    """One of some values."""

    values: tuple[Any, ...]

    def samples(self) -> Sequence[Any]:
        """Values that must all be possible."""
        return self.values

    def distribution(self, optuna: Any) -> Any:
        """As Optuna has it: by number, since it takes plain values only."""
        return optuna.distributions.CategoricalDistribution(tuple(range(len(self.values))))

    def value(self, chosen: Any) -> Any:
        """The value that Optuna chose."""
        return self.values[int(chosen)]


@dataclass(frozen=True, slots=True)
class Span:
    """A number between two, both included; whole ones when both are.

    `log` looks as closely at small values as at large ones; `step` is between values.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it is of integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def samples(self) -> Sequence[Any]:
        """Values that must all be possible."""
        return (self.low, self.high)

    def distribution(self, optuna: Any) -> Any:
        """As Optuna has it."""
        kinds = optuna.distributions
        if self.is_whole:
            step = 1 if self.step is None else int(self.step)
            return kinds.IntDistribution(self.low, self.high, log=self.log, step=step)
        return kinds.FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def value(self, chosen: Any) -> Any:
        """The value that Optuna chose."""
        return chosen


Space = Mapping[str, Choices | Span]


def read_space(given: Any, recipe: Recipe, fixed: Mapping[str, Any]) -> dict[str, Choices | Span]:
    """The space that a caller sent.

    Args:
        given: by parameter: a list of choices, or `{"low": 1e-4, "high": 0.1, "log": true}`.
        recipe: whose parameters they are.
        fixed: parameters that are given already.

    Raises:
        InvalidInput: it is empty, or has a parameter or a value that the recipe does not take.
    """
    if not isinstance(given, Mapping) or not 0 < len(given) <= MAX_PARAMETERS:
        raise InvalidInput(
            f"'space' should be an object of 1 to {MAX_PARAMETERS} parameters to try, such as "
            '{"learning_rate": {"low": 1e-4, "high": 0.1, "log": true}, "batch_size": [16, 32]}.',
            param="space",
        )
    space = {str(name): _axis(str(name), value) for name, value in given.items()}
    both = sorted(space.keys() & fixed.keys())
    if both:
        raise InvalidInput(
            f"'{both[0]}' is in 'space' and given as a parameter too; leave it out of one.",
            param=f"space.{both[0]}",
        )
    first = {name: axis.samples()[0] for name, axis in space.items()}
    for name, axis in space.items():
        for value in axis.samples():
            read_parameters(recipe, {**fixed, **first, name: value})
    return space


def _axis(name: str, value: Any) -> Choices | Span:
    where = f"space.{name[:64]}"
    if isinstance(value, list | tuple):
        if not 0 < len(value) <= MAX_CHOICES:
            raise InvalidInput(
                f"'{where}' has {len(value)} choices; 1 to {MAX_CHOICES} are possible.", param=where
            )
        return Choices(tuple(value))
    if not isinstance(value, Mapping) or not {"low", "high"} <= value.keys() <= _KEYS:
        raise InvalidInput(
            f"'{where}' should be a list of choices, or an object with 'low' and 'high', and maybe "
            "'log' or 'step'.",
            param=where,
        )
    span = Span(
        _number(where, value["low"]),
        _number(where, value["high"]),
        log=value.get("log") is True,
        step=None if value.get("step") is None else _number(where, value["step"]),
    )
    _check_span(where, span)
    return span


def _check_span(where: str, span: Span) -> None:
    is_sound = (
        span.low < span.high
        and not (span.log and (span.low <= 0 or span.step is not None))
        and (span.step is None or 0 < span.step <= span.high - span.low)
        and not (span.is_whole and span.step is not None and span.step != int(span.step))
    )
    if not is_sound:
        raise InvalidInput(
            f"'{where}' goes from {span.low} to {span.high}"
            f"{' by ' + str(span.step) if span.step is not None else ''}; 'low' must be below "
            "'high', above 0 with 'log', and 'log' goes without 'step'.",
            param=where,
        )


def _number(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidInput(f"'{where}' has {str(value)[:40]!r}; expected a number.", param=where)
    return value
