"""What may change in a row of a table, to which values, and how far those are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelry.domain.errors import InvalidInput

Value = str | int | float | bool | None
MOST_VALUES = 32
"""Of one column that are tried; numbers with more are represented by their quantiles."""
_PARAM = "changeable"
_KEYS = ("min", "max", "step", "values")


@dataclass(frozen=True, slots=True)
class Changeable:
    """A column that may change.

    Args:
        name: of the column.
        value: of the row.
        values: that are tried.
        spread: the standard deviation of its numbers among the background rows, 1 where they are
            all the same or none.
        low: the least number that may stand there.
        high: the greatest.
        step: numbers are `origin` and whole steps from it; 0 for any.
        origin: see `step`.
        is_fixed: whether no values but `values` may stand there.
    """

    name: str
    value: Value
    values: tuple[Value, ...]
    spread: float = 1.0
    low: float = -math.inf
    high: float = math.inf
    step: float = 0.0
    origin: float = 0.0
    is_fixed: bool = False

    def distance(self, value: Value) -> float:
        """How far a value is from the row's: in spreads for numbers, else 0 or 1."""
        if _is_number(value) and _is_number(self.value):
            return abs(float(value) - float(self.value)) / self.spread  # type: ignore[arg-type] # numbers
        return float(value != self.value)

    def permits(self, value: Value) -> bool:
        """Whether a value lies in the range, where there is one for it."""
        return not _is_number(value) or self.low <= value <= self.high  # type: ignore[operator] # a number

    def between(self, near: Value, far: Value) -> Value:
        """A number about half way that may stand there, None where there is none."""
        if self.is_fixed or not _is_number(near) or not _is_number(far):
            return None
        made = self.allowed(float(near) / 2 + float(far) / 2, like=far)  # type: ignore[arg-type] # numbers
        return None if made is None or made in (near, far) else made

    def allowed(self, number: float, *, like: Value) -> Value:
        """The nearest number on a step, None where it is out of range; whole as `like` is."""
        if self.step and math.isfinite(steps := (number - self.origin) / self.step):
            number = self.origin + round(steps) * self.step
        if not math.isfinite(number):
            return None
        made: int | float = round(number) if isinstance(like, int) else number
        return made if self.low <= made <= self.high else None


def changeable_columns(
    row: Mapping[str, Value],
    background: Sequence[Mapping[str, Value]],
    declared: Mapping[str, Any],
) -> list[Changeable]:
    """The columns that may change: those that are declared, or all.

    Args:
        row: cells by column.
        background: other rows, whose cells are plausible.
        declared: by column: true, false, or `{"min", "max", "step", "values"}`.

    Raises:
        InvalidInput: what is declared is none of these, or leaves nothing to change.
    """
    for name in declared:
        if name not in row:
            raise InvalidInput(
                f"{_PARAM} names '{name[:80]}', which is no column; there are: "
                f"{', '.join(row)[:1000]}.",
                param=_PARAM,
            )
    allows_others = not any(one is not False for one in declared.values())
    found = []
    for name, value in row.items():
        rule = declared.get(name, allows_others)
        if rule is not False:
            cells = [one[name] for one in background]
            found.append(_column(name, value, cells, {} if rule is True else rule))
    if not any(one.values for one in found):
        raise InvalidInput(
            f"Nothing is left that could change: the columns that may ({_shown_names(found)}) have "
            "no other value among the background rows and in their ranges.",
            param=_PARAM,
        )
    return found


def _column(name: str, value: Value, cells: Sequence[Value], rule: Any) -> Changeable:
    _check_rule(name, rule)
    numbers = [float(one) for one in cells if _is_number(one)]  # type: ignore[arg-type] # numbers
    spread = float(np.std(numbers)) if numbers else 0.0
    low, high = rule.get("min", -math.inf), rule.get("max", math.inf)
    step = rule.get("step", 0.0)
    origin = rule.get("min", float(value) if _is_number(value) else 0.0)  # type: ignore[arg-type] # a number
    draft = Changeable(
        name, value, (), spread or 1.0, low, high, step, origin, is_fixed="values" in rule
    )
    values = _values(draft, cells, rule)
    return Changeable(
        name, value, values, draft.spread, low, high, step, origin, is_fixed=draft.is_fixed
    )


def _values(
    column: Changeable, cells: Sequence[Value], rule: Mapping[str, Any]
) -> tuple[Value, ...]:
    if column.is_fixed:
        return tuple(one for one in rule["values"] if one != column.value and column.permits(one))
    plausible = list(cells)
    bounds = [rule[name] for name in ("min", "max") if name in rule]
    if _is_number(column.value):
        plausible = _representative([*(one for one in plausible if _is_number(one)), *bounds])
        plausible = [column.allowed(float(one), like=column.value if _is_whole(one) else 0.5)  # type: ignore[arg-type] # numbers
                     for one in plausible]  # fmt: skip
    seen = dict.fromkeys((type(one), one) for one in plausible if one is not None)
    values = [one for _, one in seen if one != column.value]
    return tuple(values[:MOST_VALUES])


def _representative(numbers: Sequence[Value]) -> list[Value]:
    """Numbers, or their quantiles where they are many; each one of them."""
    distinct: list[Any] = sorted(dict.fromkeys(numbers))
    if len(distinct) <= MOST_VALUES:
        return distinct
    places = np.linspace(0, len(distinct) - 1, MOST_VALUES).round().astype(int)
    return [distinct[place] for place in places]


def _check_rule(name: str, rule: Any) -> None:
    if not isinstance(rule, Mapping):
        raise _wrong(name, rule)
    numbers = [rule[key] for key in ("min", "max", "step") if key in rule]
    if set(rule) - set(_KEYS) or not all(_is_number(one) for one in numbers):
        raise _wrong(name, rule)
    is_empty = rule.get("min", -math.inf) > rule.get("max", math.inf)
    if is_empty or rule.get("step", 1) <= 0:
        raise _wrong(name, rule)
    values = rule.get("values", [0])
    if not isinstance(values, list) or not 1 <= len(values) <= MOST_VALUES:
        raise _wrong(name, rule)
    if not all(isinstance(one, str | int | float | bool) for one in values):
        raise _wrong(name, rule)


def _wrong(name: str, rule: Any) -> InvalidInput:
    return InvalidInput(
        f"{_PARAM}.{name[:80]} is {str(rule)[:100]}; expected true, false, or an object of min, "
        f"max (min <= max), step (above 0) and values (1 to {MOST_VALUES}).",
        param=_PARAM,
    )


def _shown_names(columns: Sequence[Changeable]) -> str:
    return ", ".join(one.name for one in columns)[:300] or "none"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int)
