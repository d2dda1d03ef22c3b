"""What a check found, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_NAMED = 10
"""How many rows of a finding are named."""


class Severity(StrEnum):
    """How bad it is: `ERROR` spoils training or measuring, `WARNING` may, `INFO` is to be known."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class RowName:
    """A row: its split, and its number in it from 1."""

    split: str
    row: int

    def to_wire(self) -> dict[str, Any]:
        """As JSON types."""
        return {"split": self.split, "row": self.row}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    Attributes:
        severity: how bad it is.
        code: what it is, for programs.
        message: what it is, for people, and what to do.
        column: of which column, if of one.
        count: how many rows (or boxes) it concerns.
        first: the first of them.
        is_estimated: whether `count` was estimated from a part of the rows.
    """

    severity: Severity
    code: str
    message: str
    column: str = ""
    count: int = 0
    first: Sequence[RowName] = ()
    is_estimated: bool = False

    def to_wire(self) -> dict[str, Any]:
        """As JSON types; what is not said is left out."""
        told: dict[str, Any] = {
            "severity": self.severity.value,
            "code": self.code,
            "message": self.message,
            "count": self.count,
        }
        if self.column:
            told["column"] = self.column
        if self.first:
            told["first"] = [one.to_wire() for one in self.first]
        if self.is_estimated:
            told["is_estimated"] = True
        return told


@dataclass(slots=True)
class Tally:
    """Counts rows, and keeps the names of the first."""

    count: int = 0
    first: list[RowName] = field(default_factory=list)

    def add(self, split: str, row: int, mask: npt.NDArray[np.bool_]) -> None:
        """Take the rows for which `mask` holds; its first row is number `row` of `split`."""
        found = int(np.count_nonzero(mask))
        if not found:
            return
        self.count += found
        if len(self.first) < MAX_NAMED:
            places = np.flatnonzero(mask)[: MAX_NAMED - len(self.first)]
            self.first += [RowName(split, row + int(place)) for place in places]

    def finding(
        self, severity: Severity, code: str, message: str, column: str = ""
    ) -> list[Finding]:
        """What to tell: nothing when there was no row."""
        if not self.count:
            return []
        return [Finding(severity, code, message, column, self.count, tuple(self.first))]
