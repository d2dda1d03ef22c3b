"""Conditions on metrics: `accuracy >= 0.9`, `log_loss <= champion`, `map > detector@3 + 0.01`."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelry.domain.catalog import NAME_PATTERN
from modelry.domain.errors import InvalidInput

MAX_CONDITIONS = 16
MAX_CHARS = 300
_FORM = re.compile(
    r"\s*(?P<metric>[^\s<>=]{1,100})\s*(?P<sign>>=|<=|>|<)\s*(?P<bound>[^\s<>=]{1,160})"
    r"(?:\s+(?P<way>[+-])\s*(?P<margin>[0-9.eE-]{1,20}))?\s*"
)
_SIGNS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
}
_EXPECTED = (
    "expected a metric, >=, >, <= or <, and a number or the version to compare with, such as "
    "'accuracy >= 0.9', 'accuracy >= champion' (an alias), 'log_loss < pets@3' or 'f1 >= champion "
    "- 0.01'"
)


@dataclass(frozen=True, slots=True)
class Condition:
    """What one metric must be.

    Attributes:
        metric: its name.
        sign: `>=`, `>`, `<=` or `<`.
        number: the bound, or what is added to the metric of `reference`.
        reference: an alias of the same model, or `name@3`, whose metric is the bound; empty for
            a bound that is a number.
    """

    metric: str
    sign: str
    number: float
    reference: str = ""

    def is_met(self, value: float, bound: float) -> bool:
        """Whether `value` is as it must be; never when either is no number."""
        return _SIGNS[self.sign](value, bound)

    def reference_in(self, model: str) -> str:
        """The version to compare with, as the catalogue reads it, for a version of `model`."""
        return self.reference if "@" in self.reference else f"{model}@{self.reference}"

    def __str__(self) -> str:
        if not self.reference:
            return f"{self.metric} {self.sign} {self.number!r}"
        more = f" {'-' if self.number < 0 else '+'} {abs(self.number)!r}" if self.number else ""
        return f"{self.metric} {self.sign} {self.reference}{more}"


def read_conditions(given: Any) -> tuple[Condition, ...]:
    """The conditions that a caller sent: texts, or one text.

    Raises:
        InvalidInput: they cannot be read as such.
    """
    if given is None:
        return ()
    texts: Sequence[Any] = [given] if isinstance(given, str) else given
    if not isinstance(texts, list | tuple) or len(texts) > MAX_CONDITIONS:
        raise InvalidInput(
            f"'when' should be a list of up to {MAX_CONDITIONS} conditions; {_EXPECTED}.",
            param="when",
        )
    return tuple(_condition(one) for one in texts)


def _condition(text: Any) -> Condition:
    found = _FORM.fullmatch(text) if isinstance(text, str) and len(text) <= MAX_CHARS else None
    if found is None:
        raise _unreadable(text)
    metric, sign, bound = found["metric"], found["sign"], found["bound"]
    margin = 0.0
    if found["margin"] is not None:
        margin = _number(found["margin"], text)
        margin = -margin if found["way"] == "-" else margin
    if _is_reference(bound):
        return Condition(metric, sign, margin, bound)
    return Condition(metric, sign, _number(bound, text) + margin)


def _is_reference(word: str) -> bool:
    """Whether it is an alias or a version rather than a number."""
    model, at, rest = word.partition("@")
    if at:
        return bool(NAME_PATTERN.fullmatch(model) and NAME_PATTERN.fullmatch(rest))
    try:
        float(word)
    except ValueError:
        return NAME_PATTERN.fullmatch(word) is not None
    return False


def _number(word: str, text: str) -> float:
    try:
        number = float(word)
    except ValueError:
        raise _unreadable(text) from None
    if not math.isfinite(number):
        raise _unreadable(text)
    return number


def _unreadable(text: Any) -> InvalidInput:
    return InvalidInput(
        f"The condition {str(text)[:80]!r} is not clear; {_EXPECTED}.", param="when"
    )
